"""What runs have taught of this machine's devices: the driver's own share of their memory.

A cache: the next run teaches it again. A record that cannot be used is as good as none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from llmtp import paths
from llmtp.units import GiB

#: More than any driver was seen to take; another program came or went while it was measured.
_MOST = 2 * GiB


@dataclass(frozen=True, slots=True)
class Learned:
    """The last start on a device: what it took, and `overhead_bytes` above the default of a plan.

    `at` is a date, `2026-11-25`.
    """

    extra_overhead_bytes: int
    planned_bytes: int
    taken_bytes: int
    at: str


def recall(name: str, backend: str | None) -> Learned | None:
    """What was learned of a device by the name and the back end that the engine gives it."""
    try:
        learned = Learned(**_read()[_key(name, backend)])
        numbers = (learned.extra_overhead_bytes, learned.planned_bytes, learned.taken_bytes)
        usable = all(type(number) is int for number in numbers) and isinstance(learned.at, str)
    except (KeyError, TypeError):
        return None
    return learned if usable and is_credible(learned.extra_overhead_bytes) else None


def remember(name: str, backend: str | None, learned: Learned) -> None:
    """Keep it instead of what was known before."""
    known = _read() | {_key(name, backend): asdict(learned)}
    paths.write_cache(paths.cache_dir() / "devices.json", json.dumps(known))


def is_credible(overhead_bytes: int) -> bool:
    """Can a driver take so much?"""
    return abs(overhead_bytes) <= _MOST


def _key(name: str, backend: str | None) -> str:
    return f"{backend}: {name}"


def _read() -> dict[str, Any]:
    try:
        known = json.loads((paths.cache_dir() / "devices.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
