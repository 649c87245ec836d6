"""What the engine says that it allocates: the `buffer size` lines of its log at `-lv 4`. Pure.

As llama-model.cpp, llama-kv-cache.cpp and llama-context.cpp of llama.cpp print them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Owner = Literal["main", "draft"]
Part = Literal["weights", "kv", "output", "compute"]
Place = Literal["device", "host"]

#: Copies of weights in an order that a CPU's own instructions want.
_COPIES = {"CPU_REPACK", "AMX"}
_NAMES_A_BUFFER = " buffer size = "
_BUFFER = re.compile(r": +(\S{1,80}) +(model|KV|output|compute) buffer size = +(\d{1,9}\.\d\d) MiB")
_PARTS: Mapping[str, Part] = {
    "model": "weights", "KV": "kv", "output": "output", "compute": "compute",
}  # fmt: skip
_DRAFT_BEGINS = re.compile(r"loading draft model|arch +(?:str )?= gemma4-assistant")
_ON_HOST = re.compile(r"CPU|AMX|\w+_Host")
_MiB = 1 << 20
_MOST_BUFFERS = 256


@dataclass(frozen=True, slots=True)
class Allocations:
    """Bytes of each buffer by owner, part and its name in the engine."""

    buffers: Mapping[tuple[Owner, Part, str], int] = field(default_factory=dict)
    owner: Owner = "main"

    def add(self, line: str) -> Allocations:
        """The allocations with one more line of the log.

        A compute buffer is reserved several times, and only the last one stays.
        """
        found = _BUFFER.search(line) if _NAMES_A_BUFFER in line else None
        if found is None:
            return replace(self, owner="draft") if _DRAFT_BEGINS.search(line) else self
        name, what, mib = found.groups()
        key = (self.owner, _PARTS[what], name)
        if key not in self.buffers and len(self.buffers) >= _MOST_BUFFERS:
            return self
        before = 0 if what == "compute" else self.buffers.get(key, 0)
        return replace(self, buffers={**self.buffers, key: before + round(float(mib) * _MiB)})

    def total(self, owner: Owner, part: Part, place: Place) -> int | None:
        """Bytes of one part, without copies of repacked weights; None where no line names it."""
        sizes = [
            size
            for (whose, what, name), size in self.buffers.items()
            if (whose, what) == (owner, part)
            and name not in _COPIES
            and bool(_ON_HOST.match(name)) is (place == "host")
        ]
        return sum(sizes) if sizes else None

    @property
    def repacked(self) -> int | None:
        """Copies of weights in the order that the CPU wants; None where none are made."""
        sizes = [size for (_, _, name), size in self.buffers.items() if name in _COPIES]
        return sum(sizes) if sizes else None
