"""What cards can do at best by their data sheets: memory, bandwidth, and computing in bf16."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmtp.units import MiB


@dataclass(frozen=True, slots=True)
class Peak:
    """`flops_per_s` is dense bf16 that adds up in fp32; `memory_bytes` is what the driver shows.
    Of an unknown card there is only the relation of the two rates, which is an assumption."""

    name: str
    backend: str
    memory_bytes: int | None
    bytes_per_s: float | None
    flops_per_s: float | None
    flops_per_byte: float

    @property
    def is_known(self) -> bool:
        return self.flops_per_s is not None


#: Name, MiB, TB/s, dense bf16 TFLOPS: the makers' data sheets (half of what they print with
#: sparsity). The more telling name stands first. GB10 is a quarter of its dense FP4.
_SHEETS = (
    ("B200", 183_359, 8.0, 2250),
    ("H200", 143_771, 4.8, 989),
    ("H100 PCIe", 81_559, 2.0, 756),
    ("H100", 81_559, 3.35, 989),
    ("A100 40GB", 40_960, 1.555, 312),
    ("A100", 81_920, 2.039, 312),
    ("L40S", 46_068, 0.864, 362),
    ("RTX PRO 6000 Server", 97_887, 1.597, 504),
    ("RTX PRO 6000", 97_887, 1.792, 504),
    ("RTX 6000 Ada", 49_140, 0.96, 364),
    ("RTX 5090", 32_607, 1.792, 210),
    ("RTX 4090", 24_564, 1.008, 165),
    ("RTX 3090", 24_576, 0.936, 71),
    ("MI300X", 196_592, 5.3, 1307),
    ("GB10", 124_518, 0.273, 125),
)
#: Between an RTX 3090 (76) and an L40S (419); most that are bought to serve have 150 to 300.
_ASSUMED = 200.0
_AMD = "MI"
#: Words of other cards than those that the rest of their name says.
_OTHERS = ("laptop", "mobile", "max-q", "mig", "nvl")


def peak_of(name: str) -> Peak:
    """Of a card by the name that its driver or its buyer gives it."""
    said = set(re.findall(r"[a-z0-9]+", name.lower()))
    if not any(other in name.lower() for other in _OTHERS):
        for sheet, mib, tera_bytes, tera_flops in _SHEETS:
            if set(sheet.lower().split()) <= said:
                rates = (tera_bytes * 1e12, tera_flops * 1e12)
                backend = "rocm" if sheet.startswith(_AMD) else "cuda"
                return Peak(sheet, backend, mib * MiB, *rates, rates[1] / rates[0])
    return Peak(name, "cuda", None, None, None, _ASSUMED)


def known_cards() -> tuple[str, ...]:
    """The names in the table."""
    return tuple(name for name, *_ in _SHEETS)
