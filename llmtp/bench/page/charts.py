"""The charts of the page: from numbers to SVG, pure. A number that is not known is None."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from llmtp.bench.page.markup import Markup, tag
from llmtp.bench.page.svg import (
    CHARACTER,
    WIDTH,
    Scale,
    frame,
    label,
    line,
    next_round,
    path,
    rect,
    ticks,
    whisker_across,
    whisker_up,
)
from llmtp.units import format_percent

_ROW, _BAR, _BAR_AT = 42.0, 12.0, 19.0
_AXIS = 18.0
#: An interval may make the scale so many times as long as the values do; beyond, it is cut.
_MOST_INTERVAL = 2.0
_LEAST_SPAN = 0.2
_LEFT, _TOP, _PLOT = 40.0, 20.0, 108.0
_STRIP = 76.0


@dataclass(frozen=True, slots=True)
class Measure:
    """A value with its interval."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Of the interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True, slots=True)
class Row:
    """One bar. `told` is its value in words."""

    name: str
    measure: Measure
    told: str


@dataclass(frozen=True, slots=True)
class Point:
    """The speed of one arm, in tokens per second; `expected` counts where nothing was measured.
    `is_best` is marked."""

    name: str
    measure: Measure
    is_best: bool = False
    expected: float | None = None

    @property
    def is_measured(self) -> bool:
        return self.measure.value is not None

    @property
    def value(self) -> float | None:
        """What is drawn."""
        return self.measure.value if self.is_measured else self.expected


@dataclass(frozen=True, slots=True)
class Strip:
    """Of one arm, the share of drafts that were right by position. `told` sums it up."""

    name: str
    shares: Sequence[float | None]
    told: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Memory of one arm, in bytes."""

    name: str
    taken: float | None
    planned: float | None
    told: str


def ratios(title: str, rows: Sequence[Row], span: tuple[float, float]) -> Markup:
    """Bars from 1 to the right and to the left, with whiskers, on a scale of that span."""
    scale = Scale(*span, 0.0, WIDTH)
    marks = ticks(scale.low, scale.high, 5)
    parts: list[Markup] = []
    for number, row in enumerate(rows):
        y = number * _ROW
        parts += _names(y, row.name, row.told)
        parts += [_upright(scale.at(mark), y, "grid") for mark in marks]
        parts += [*_bar(scale, 1.0, row.measure, y + _BAR_AT), _upright(scale.at(1), y, "base")]
    bottom = _ROW * len(rows)
    parts += [_mark(scale, mark, bottom + 12) for mark in marks]
    return frame(title, bottom + _AXIS, parts)


def ratio_span(measures: Sequence[Measure]) -> tuple[float, float]:
    """From below 1 to above it, so that all values and most of the intervals are inside."""
    values = [1.0, *(one.value for one in measures if one.value is not None)]
    reach = max(max(values) - 1, 1 - min(values), 0.1) * _MOST_INTERVAL
    ends = [end for one in measures for end in one.ends or ()]
    low, high = min(values + ends), max(values + ends)
    low, high = max(low, min(values) - reach, 0.0), min(high, max(values) + reach)
    margin = max((high - low) * 0.06, (_LEAST_SPAN - high + low) / 2)
    return max(low - margin, 0.0), high + margin


def speeds(title: str, points: Sequence[Point]) -> Markup:
    """Tokens per second by n-max, from 0, with a dashed line at the first arm, MTP off."""
    measures = [one.measure if one.is_measured else Measure(one.expected) for one in points]
    scale = Scale(0.0, speed_top(measures), _TOP + _PLOT, _TOP)
    step = (WIDTH - _LEFT) / max(len(points), 1)
    places = [_LEFT + (number + 0.5) * step for number in range(len(points))]
    parts = []
    for tick in ticks(0, scale.high, 4):
        y = scale.at(tick)
        parts.append(line(_LEFT, y, WIDTH, y, "grid"))
        parts.append(label(_LEFT - 6, y + 4, f"{tick:,.4g}", "tick end"))
    off = points[0].measure.value if points else None
    if off is not None:
        parts.append(line(_LEFT, scale.at(off), WIDTH, scale.at(off), "off"))
    parts += [path(run, class_) for run, class_ in _runs(points, places, scale)]
    for point, x in zip(points, places, strict=True):
        parts += [*_point(point, x, scale), label(x, _TOP + _PLOT + 16, point.name, "tick middle")]
    return frame(title, _TOP + _PLOT + 22, parts)


def speed_top(measures: Sequence[Measure]) -> float:
    """A round number above all values and most of the intervals."""
    most = max((one.value for one in measures if one.value is not None), default=0.0)
    if most <= 0:
        return 1.0
    ends = [one.high for one in measures if one.high is not None]
    most = min(max([most, *ends]), 1.5 * most)
    step = next_round(most / 4)
    return step * max(-(-most // step), 1)


def positions(title: str, strips: Sequence[Strip]) -> Markup:
    """A strip of bars for each arm, the same position below the same position."""
    count = max((len(one.shares) for one in strips), default=0)
    pitch = min(WIDTH / max(count, 1), 64.0)
    parts: list[Markup] = []
    for number, strip in enumerate(strips):
        top = number * _STRIP
        scale = Scale(0.0, 1.0, top + _STRIP - 8, top + 30)
        parts += _names(top, strip.name, strip.told)
        for place, share in enumerate(strip.shares):
            parts += _share(scale, place * pitch, pitch, share)
        if strip.shares:
            end = len(strip.shares) * pitch
            parts.append(line(0, scale.at(0), end, scale.at(0), "base"))
    bottom = _STRIP * len(strips)
    for place in range(count):
        x = (place + 0.5) * pitch
        parts.append(label(x, bottom + 8, str(place + 1), "tick middle"))
    return frame(title, bottom + 14, parts)


def memory(title: str, rows: Sequence[Taken]) -> Markup:
    """Bars of what is taken, from 0, each with an upright line at what was planned."""
    most = max((v for row in rows for v in (row.taken, row.planned) if v is not None), default=0.0)
    scale = Scale(0.0, most if most > 0 else 1.0, 0.0, WIDTH)
    parts: list[Markup] = []
    for number, row in enumerate(rows):
        y = number * _ROW
        parts += _names(y, row.name, row.told)
        if row.taken is not None:
            parts.append(rect(0, y + _BAR_AT, scale.at(row.taken), _BAR, "bar"))
        if row.planned is not None:
            parts.append(_upright(scale.at(row.planned), y, "planned"))
    return frame(title, _ROW * len(rows), parts)


def _names(y: float, name: str, told: str) -> Iterator[Markup]:
    """What a bar is of at the left, its value at the right, above the bar."""
    room = int(WIDTH / CHARACTER) - len(told) - 1
    shown = name if len(name) <= room else name[: max(room - 1, 1)] + "…"
    yield label(0, y + 13, shown, "name")
    yield label(WIDTH, y + 13, told, "value end")


def _bar(scale: Scale, base: float, measure: Measure, y: float) -> Iterator[Markup]:
    if measure.value is None:
        return
    start, end = sorted((scale.at(base), scale.at(measure.value)))
    kind = "bar" if measure.value >= base else "bar loss"
    yield rect(start, y, end - start, _BAR, kind)
    if measure.ends:
        yield whisker_across(scale, *measure.ends, y + _BAR / 2, 4)


def _upright(x: float, y: float, class_: str) -> Markup:
    """Beside the bar of the row at `y`, so that nothing crosses the words above it."""
    return line(x, y + _BAR_AT - 3, x, y + _BAR_AT + _BAR + 3, class_)


def _mark(scale: Scale, mark: float, y: float) -> Markup:
    x, told = scale.at(mark), f"{mark:.4g}×"
    half = len(told) * CHARACTER / 2
    where = "start" if x < half else "end" if x > WIDTH - half else "middle"
    return label(x, y, told, f"tick {where}")


def _runs(
    points: Sequence[Point], places: Sequence[float], scale: Scale
) -> Iterator[tuple[list[tuple[float, float]], str]]:
    """Lines from point to point, each with its class; an unknown one parts them."""
    at = [(x, scale.at(point.value or 0.0)) for point, x in zip(points, places, strict=True)]
    for class_, numbers in groupby(range(1, len(points)), lambda n: _class_to(points, n)):
        if class_ is not None:
            ends = list(numbers)
            yield at[ends[0] - 1 : ends[-1] + 1], class_


def _class_to(points: Sequence[Point], number: int) -> str | None:
    """Of the line to a point from the one before it; None where one of them is unknown."""
    ends = points[number - 1 : number + 1]
    if any(end.value is None for end in ends):
        return None
    return "curve" if all(end.is_measured for end in ends) else "curve expected"


def _point(point: Point, x: float, scale: Scale) -> Iterator[Markup]:
    value = point.value
    if value is None:
        yield label(x, scale.at(0) - 4, "–", "tick middle")
        return
    if point.measure.ends:
        yield whisker_up(scale, *point.measure.ends, x, 4)
    y = scale.at(value)
    if point.is_best:
        yield tag("path", d=f"M{x:.2f} {y - 6:.2f}l6 6l-6 6l-6 -6z", class_="point best")
    else:
        class_ = "point" if point.is_measured else "point expected"
        yield tag("circle", cx=x, cy=y, r=3.5, class_=class_)


def _share(scale: Scale, x: float, pitch: float, share: float | None) -> Iterator[Markup]:
    gap = min(pitch * 0.15, 4.0)
    top = scale.at(share or 0.0)
    told = "–" if share is None else format_percent(share).rstrip("%")
    yield rect(x + gap, top, pitch - 2 * gap, scale.at(0) - top, "bar")
    yield label(x + pitch / 2, top - 3, told, "tick middle")
