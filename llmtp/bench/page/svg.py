"""What charts are made of: scales, ticks and a frame. Pure; lengths are units of the viewBox."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from llmtp.bench.page.markup import Child, Markup, joined, tag

#: About as many pixels as a phone has, so that 12 units of text are about 12 pixels there.
WIDTH = 320.0
#: Of a character of 12 units, for what must not overlap.
CHARACTER = 6.6


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value is; one beyond an end is at that end."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def frame(title: str, height: float, parts: Iterable[Markup]) -> Markup:
    """The whole chart. What it shows is told in a table too, so that a title is enough."""
    return tag(
        "svg",
        tag("title", title),
        *parts,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight one."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str) -> Markup:
    """Its left upper corner first."""
    return tag("rect", x=x, y=y, width=width, height=height, class_=class_)


def label(x: float, y: float, text: Child, class_: str = "label") -> Markup:
    """On the baseline `y`; classes `end` and `middle` say what of it is at `x`."""
    return tag("text", text, x=x, y=y, class_=class_)


def path(points: Iterable[tuple[float, float]], class_: str) -> Markup:
    """Straight from point to point."""
    return tag("polyline", points=" ".join(f"{x:.2f},{y:.2f}" for x, y in points), class_=class_)


def whisker_across(scale: Scale, low: float, high: float, y: float, half: float) -> Markup:
    """Horizontal, with a cap at each end; an end beyond the scale has none."""
    start, end = scale.at(low), scale.at(high)
    caps = [
        line(x, y - half, x, y + half, "whisker")
        for x, value in ((start, low), (end, high))
        if scale.holds(value)
    ]
    return joined(line(start, y, end, y, "whisker"), *caps)


def whisker_up(scale: Scale, low: float, high: float, x: float, half: float) -> Markup:
    """Vertical, with a cap at each end; an end beyond the scale has none."""
    start, end = scale.at(low), scale.at(high)
    caps = [
        line(x - half, y, x + half, y, "whisker")
        for y, value in ((start, low), (end, high))
        if scale.holds(value)
    ]
    return joined(line(x, start, x, end, "whisker"), *caps)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from `low` to `high`, as many as `most` or fewer; none of an empty range."""
    if not high > low:
        return []
    step = next_round((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [count * step for count in range(first, last + 1)]


def next_round(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten; `value` is above 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= value * (1 - 1e-9))
