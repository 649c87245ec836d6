"""The plan against what engine and driver say after its start. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmtp.metrics.allocations import Allocations, Owner, Part, Place
from llmtp.plan.memory import Parts


@dataclass(frozen=True, slots=True)
class Compared:
    """One part; `engine_bytes` is None where the log names none."""

    part: str
    planned_bytes: int
    engine_bytes: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One place, a device or RAM, part by part.

    `taken_bytes` is what the driver shows for it, None where it shows nothing.
    """

    parts: tuple[Compared, ...]
    planned: Parts
    taken_bytes: int | None

    @property
    def overhead_bytes(self) -> int | None:
        """What the driver shows and no line of the engine names."""
        told = [one.engine_bytes for one in self.parts if one.engine_bytes is not None]
        untold = len(told) < len(self.parts) or self.planned.mmproj
        if self.taken_bytes is None or untold:
            return None
        return self.taken_bytes - sum(told)

    @property
    def difference_bytes(self) -> int | None:
        """More than was planned, or less."""
        return None if self.taken_bytes is None else self.taken_bytes - self.planned.total

    def to_dict(self) -> dict[str, Any]:
        """The fields of the event `memory`."""
        parts = [
            {"part": p.part, "planned_bytes": p.planned_bytes, "engine_bytes": p.engine_bytes}
            for p in self.parts
        ]
        return {
            "parts": parts,
            "planned_bytes": self.planned.total,
            "taken_bytes": self.taken_bytes,
            "overhead_planned_bytes": self.planned.overhead,
            "overhead_bytes": self.overhead_bytes,
            "difference_bytes": self.difference_bytes,
        }


def compare(
    planned: Parts, said: Allocations, place: Place, taken_bytes: int | None, *, drafts: bool
) -> Comparison:
    """What was planned for a place and what the engine allocated there."""
    rows = [
        Compared("weights", planned.weights, said.total("main", "weights", place)),
        Compared("kv", planned.kv, said.total("main", "kv", place)),
        Compared("compute", planned.compute, _sum(said, "main", ("compute", "output"), place)),
    ]
    if drafts:
        told = _sum(said, "draft", ("weights", "compute", "output"), place)
        rows.append(Compared("draft", planned.draft, told))
    return Comparison(tuple(rows), planned, taken_bytes)


def _sum(said: Allocations, owner: Owner, parts: Sequence[Part], place: Place) -> int | None:
    """Of all parts together; None where no line names one of them."""
    sizes = [said.total(owner, part, place) for part in parts]
    known = [size for size in sizes if size is not None]
    return sum(known) if known else None
