"""Figures of a record in words; None where nothing is known, for the page to say so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmtp.bench.page.markup import number
from llmtp.units import format_bytes, format_duration, format_percent, format_rate

UNKNOWN = "–"
NOT_TOLD = "not told"


def arm_of(arms: Iterable[dict[str, Any]], n_max: Any) -> dict[str, Any]:
    """The one of that n-max; empty where there is none."""
    return next((arm for arm in arms if arm["n_max"] == n_max), {})


def cells_of(record: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Names and arms; all of them together too where there are several."""
    cells = [(cell["name"], cell["arms"]) for cell in record["cells"]]
    return cells if len(cells) == 1 else [*cells, ("all", record["arms"])]


def ends_of(arm: dict[str, Any]) -> tuple[float, float] | None:
    """Of the interval of the speed-up; MTP off has none."""
    low, high = (number(end) for end in arm.get("speedup_interval") or (None, None))
    return None if low is None or high is None or arm["n_max"] == 0 else (low, high)


def bytes_of(arm: dict[str, Any]) -> float | None:
    """What an arm took: on the cards where they tell, else in RAM."""
    on_cards = number(arm["memory"]["device_bytes"])
    return number(arm["memory"]["rss_bytes"]) if on_cards is None else on_cards


def place_of(arm: dict[str, Any]) -> str:
    """Where that is."""
    return "in RAM" if number(arm["memory"]["device_bytes"]) is None else "on the cards"


def times(value: Any) -> str | None:
    """As a factor."""
    known = number(value)
    return None if known is None else f"{known:,.2f}×"


def percent(value: Any) -> str | None:
    """A share of 1."""
    known = number(value)
    return None if known is None else format_percent(known)


def milliseconds(seconds: Any) -> str | None:
    """`32 ms`, `1.4 s`."""
    known = number(seconds)
    if known is None:
        return None
    return f"{1000 * known:,.0f} ms" if known < 1 else f"{known:,.1f} s"


def duration(seconds: Any) -> str | None:
    """`0:03:53`."""
    known = number(seconds)
    return None if known is None else format_duration(known)


def some_cores(count: Any) -> str | None:
    """What other programs computed."""
    known = number(count)
    return None if known is None else f"{known:,.1f} cores at most"


def size(count: Any) -> str | None:
    """Of bytes."""
    known = number(count)
    return None if known is None else format_bytes(int(known))


def rate(per_s: Any) -> str | None:
    """Of tokens per second."""
    known = number(per_s)
    return None if known is None else format_rate(known)


def decimal(value: Any) -> str | None:
    """`2.84`."""
    known = number(value)
    return None if known is None else f"{known:,.2f}"


def plain(value: Any) -> str | None:
    """`4,096`, `0.5`."""
    known = number(value)
    if known is None:
        return None
    return f"{known:,.0f}" if known == int(known) or known >= 100 else f"{known:,.2g}"


def between(arm: dict[str, Any], joint: str) -> str | None:
    """The ends of the interval."""
    ends = ends_of(arm)
    return None if ends is None else f"{ends[0]:,.2f}{joint}{ends[1]:,.2f}"


def pays_above(break_even: Any) -> str:
    """`pays above 73%`."""
    known = number(break_even)
    if known is None:
        return "break-even not told"
    return "never pays" if known > 1 else f"pays above {format_percent(known)}"
