"""The text of `/metrics`, bounded. Pure.

Series that differ in their labels are added up, as those of several engines of one vLLM are; only
`position` is kept apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from llmtp.told import number

_LINE = re.compile(
    r"([A-Za-z_:][\w:]{0,127})(?:\{(.{0,4096})\})? ([0-9.eE+-]{1,40})(?: -?\d{1,20})?"
)
_POSITION = re.compile(r"(?:^|,)position=\"(\d{1,3})\"")
_MOST_LINES = 1 << 16
_MOST_POSITIONS = 64


@dataclass(frozen=True, slots=True)
class Page:
    """Values by name, and by name and position. What is no number from 0 up is left out."""

    values: Mapping[str, float] = field(default_factory=dict)
    at_position: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def positions(self, name: str) -> tuple[float, ...]:
        """From the first to the last that is there, 0 for one between them that is not."""
        found = self.at_position.get(name, {})
        return tuple(found.get(i, 0.0) for i in range(max(found, default=-1) + 1))


def parse_page(text: str) -> Page:
    """What can be read of it; other lines are passed over."""
    values: dict[str, float] = {}
    at_position: dict[str, dict[int, float]] = {}
    for line in text.splitlines()[:_MOST_LINES]:
        match = _LINE.fullmatch(line)
        value = None if match is None else _value(match[3])
        if match is None or value is None:
            continue
        name, position = match[1], _POSITION.search(match[2] or "")
        if position is None:
            values[name] = values.get(name, 0.0) + value
        elif int(position[1]) < _MOST_POSITIONS:
            series = at_position.setdefault(name, {})
            series[int(position[1])] = series.get(int(position[1]), 0.0) + value
    return Page(values, at_position)


def _value(text: str) -> float | None:
    try:
        return number(float(text))
    except ValueError:
        return None
