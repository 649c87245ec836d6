"""Files on their way, in at most as many columns as the terminal has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from llmtp.cli.render.bars import bar
from llmtp.cli.words import progress_figures
from llmtp.text import clean
from llmtp.units import format_bytes

if TYPE_CHECKING:
    from llmtp.hub.download import Transfer
    from llmtp.hub.fetch import Progress

_BAR = 12
_NARROW = 70


def downloads(progress: Progress, width: int) -> RenderableType:
    """A line for each file, and one for all of them."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(overflow="ellipsis", no_wrap=True, max_width=max(width - 44, 12))
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True, overflow="ellipsis")
    for file in progress.files:
        share = file.done / file.total if file.total else 1.0
        cells = _BAR if width >= _NARROW else _BAR // 2
        rows.add_row(
            Text(clean(file.name.rpartition("/")[2], 80)), bar(share, cells), Text(_state(file))
        )
    done, total = format_bytes(progress.done_bytes), format_bytes(progress.total_bytes)
    figures = "  ".join([f"{done} of {total}", *progress_figures(progress)])
    notes = [Text(f"{file.note}", style="yellow") for file in progress.files if file.note]
    return Group(Text(), rows, Text(figures, style="bold"), *notes)


def _state(file: Transfer) -> str:
    if file.state == "done":
        return f"{format_bytes(file.total)}"
    sizes = f"{format_bytes(file.done)} of {format_bytes(file.total)}"
    return sizes if file.state == "downloading" else f"{sizes}, {file.state}"
