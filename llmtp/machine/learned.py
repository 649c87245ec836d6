"""What starts have taught of this machine's devices: the driver's own share of their memory.

A cache: the next start teaches it again. A record that cannot be used is as good as none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from llmtp import paths
from llmtp.units import GiB

#: More than any driver was seen to take; another program came while it was measured.
_MOST_OVERHEAD = 4 * GiB
_MOST = 1 << 50
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Learned:
    """The last start of its kind on a device: the driver's share, and all that was planned and
    taken. `at` is a date, `2026-11-25`."""

    overhead_bytes: int
    planned_bytes: int
    taken_bytes: int
    at: str

    @property
    def is_credible(self) -> bool:
        """Can it be true?"""
        counts = (self.overhead_bytes, self.planned_bytes, self.taken_bytes)
        return (
            all(type(count) is int and 0 <= count <= _MOST for count in counts)
            and self.overhead_bytes <= _MOST_OVERHEAD
            and type(self.at) is str
            and _DATE.fullmatch(self.at) is not None
        )


def recall(name: str, backend: str | None) -> Mapping[str, Learned]:
    """What was learned of a device, by kind of start; `name` and `backend` as the engine has it."""
    records, found = _read().get(_key(name, backend)), {}
    for kind, record in records.items() if isinstance(records, dict) else ():
        try:
            learned = Learned(**record)
        except TypeError:
            continue
        if learned.is_credible:
            found[kind] = learned
    return found


def remember(name: str, backend: str | None, kind: str, learned: Learned) -> None:
    """Keep it instead of what was known of that kind of start, if it can be true."""
    if learned.is_credible:
        of_device = {known: asdict(one) for known, one in recall(name, backend).items()}
        known = _read() | {_key(name, backend): of_device | {kind: asdict(learned)}}
        paths.write_cache(paths.cache_dir() / "devices.json", json.dumps(known))


def _key(name: str, backend: str | None) -> str:
    return f"{backend}: {name}"


def _read() -> dict[str, Any]:
    return paths.read_cache(paths.cache_dir() / "devices.json")
