"""A table that leaves out what a narrow terminal has no room for, and cuts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """`rank` says what goes first where room is short: all columns of the highest; 0 stays."""

    heading: str
    cells: Sequence[str]
    rank: int = 0
    left: bool = False
    style: str = ""

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))

    def line(self, text: str) -> Text:
        placed = text.ljust(self.width) if self.left else text.rjust(self.width)
        return Text(placed, style=self.style)


def print_columns(
    console: Console, columns: Sequence[Column], row_styles: Sequence[str] | None = None
) -> None:
    """With a dim heading, then a row a line."""
    columns = _fitting(columns, console.width)
    heads = [Text(one.line(one.heading).plain, style="dim") for one in columns]
    console.print(_joined(heads), soft_wrap=True)
    for number in range(len(columns[0].cells)):
        row = _joined([one.line(one.cells[number]) for one in columns])
        if row_styles is not None and row_styles[number]:
            row.stylize(row_styles[number])
        console.print(row, soft_wrap=True)


def _fitting(columns: Sequence[Column], width: int) -> Sequence[Column]:
    while sum(one.width + len(_GAP) for one in columns) - len(_GAP) > width:
        rank = max(one.rank for one in columns)
        if rank == 0:
            break
        columns = [one for one in columns if one.rank < rank]
    return columns


def _joined(parts: Sequence[Text]) -> Text:
    line = Text(_GAP).join(parts)
    line.rstrip()
    return line
