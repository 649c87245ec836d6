"""Bars of block characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What bars are drawn with: a whole cell, parts of one by size, no cell, and heights."""

    full: str
    parts: str
    empty: str
    heights: str


BLOCKS = Glyphs("█", " ▏▎▍▌▋▊▉", "·", "▁▂▃▄▅▆▇█")
ASCII = Glyphs("#", " ", ".", "_.:-=+*#")


def glyphs_for(stream: TextIO) -> Glyphs:
    """Those that its encoding has."""
    try:
        (BLOCKS.parts + BLOCKS.heights).encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def bar(share: float, width: int, glyphs: Glyphs = BLOCKS) -> str:
    """A bar of `width` cells; eighths of a cell are drawn where there are glyphs for them."""
    fine = len(glyphs.parts)
    full, rest = divmod(round(max(0.0, min(share, 1.0)) * width * fine), fine)
    partial = glyphs.parts[rest] if rest else ""
    return (glyphs.full * full + partial).ljust(width, glyphs.empty)


def sparkline(values: Sequence[float], glyphs: Glyphs = BLOCKS) -> str:
    """A cell a value, as high as it is against the largest."""
    most = max(values, default=0.0)
    top = len(glyphs.heights) - 1
    return "".join(glyphs.heights[round(value / most * top) if most else 0] for value in values)


def stacked(sizes: Sequence[int], glyphs: str, total: int, width: int) -> list[tuple[str, int]]:
    """A bar of parts: glyphs with their numbers of cells, `·` for what `total` has beyond them.

    What is there has a cell at least, and all of them are no more than `width`.
    """
    scale = width / max(total, sum(sizes), 1)
    cells = [max(round(size * scale), 1) if size else 0 for size in sizes]
    while sum(cells) > width:
        cells[cells.index(max(cells))] -= 1
    return [*zip(glyphs, cells, strict=True), ("·", width - sum(cells))]
