"""Numbers that a server tells, which may be of any type and size. Pure."""

from __future__ import annotations

from typing import Any

#: No server counts further; a larger number, or one that is none, is not told at all.
_MOST = 1 << 53


def number(value: Any) -> float | None:
    """One from 0 up; None for text, a truth value, NaN, infinity and what is below 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < _MOST else None


def count(value: Any) -> int | None:
    """A whole one."""
    known = number(value)
    return None if known is None else int(known)
