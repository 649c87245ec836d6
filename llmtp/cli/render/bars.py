"""Bars of block characters."""

from __future__ import annotations

from collections.abc import Sequence


def bar(share: float, width: int) -> str:
    """A bar of `width` cells; eighths of a cell are drawn."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    partial = " ▏▎▍▌▋▊▉"[rest] if rest else ""
    return ("█" * full + partial).ljust(width, "·")


def stacked(sizes: Sequence[int], glyphs: str, total: int, width: int) -> list[tuple[str, int]]:
    """A bar of parts: glyphs with their numbers of cells, `·` for what `total` has beyond them.

    What is there has a cell at least, and all of them are no more than `width`.
    """
    scale = width / max(total, sum(sizes), 1)
    cells = [max(round(size * scale), 1) if size else 0 for size in sizes]
    while sum(cells) > width:
        cells[cells.index(max(cells))] -= 1
    return [*zip(glyphs, cells, strict=True), ("·", width - sum(cells))]
