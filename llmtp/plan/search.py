"""The largest that still fits, with few questions: each one may be a dry run of the engine."""

from __future__ import annotations

from collections.abc import Callable


def largest(low: int, high: int, missing: Callable[[int], int]) -> int | None:
    """From `low` to `high`; `missing` bytes grow about evenly, and 0 or less fits. None where
    nothing fits."""
    too_much = missing(high)
    if too_much <= 0:
        return high
    if low == high:
        return None
    spare = -missing(low)
    if spare < 0:
        return None
    while high - low > 1:
        guess = low + (high - low) * spare // max(spare + too_much, 1)
        middle = min(max(guess, low + 1), high - 1)
        found = missing(middle)
        if found > 0:
            high, too_much = middle, found
        else:
            low, spare = middle, -found
    return low
