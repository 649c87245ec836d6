"""How near plain decoding is to what the memory's bandwidth allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtp.machine.bandwidth import cards_bytes_per_s, ram_bytes_per_s
from llmtp.plan.build import is_small
from llmtp.plan.result import Plan
from llmtp.units import format_percent


@dataclass(frozen=True, slots=True)
class Bound:
    """`token_bytes` of weights are read for a token; at full bandwidth that gives `tokens_per_s`.
    The other rates are bytes a second, None of a place that is not read."""

    token_bytes: int
    gpu_bytes_per_s: float | None
    ram_bytes_per_s: float | None
    source: str
    tokens_per_s: float

    def words(self, measured_per_s: float) -> str:
        """How far a speed without MTP is from it."""
        share = format_percent(measured_per_s / self.tokens_per_s)
        return (
            f"without MTP a token reads {self.token_bytes / 1e9:.2f} GB of weights: at "
            f"{share} of what the memory's bandwidth allows ({self.source})"
        )

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def memory_bound(plan: Plan) -> Bound | None:
    """Of a plan on this machine; None where it is not told, or the model fits into a cache.

    RAM is measured, so nothing else should run meanwhile.
    """
    reads = plan.reads
    in_ram = reads.ram + reads.experts_ram
    if is_small(plan.main):
        return None
    gpu = cards_bytes_per_s(plan.gpus) if reads.gpu else None
    ram = ram_bytes_per_s() if in_ram else None
    if (reads.gpu and not gpu) or (in_ram and not ram):
        return None
    least_s = (reads.gpu / gpu if gpu else 0.0) + (in_ram / ram if ram else 0.0)
    sources = [
        "bus and clock of the card" if gpu else "",
        "copying in RAM, measured" if ram else "",
    ]
    return Bound(int(reads.total), gpu, ram, ", ".join(filter(None, sources)), 1 / least_s)
