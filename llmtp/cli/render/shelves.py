"""What is on disk, as a table by repository."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtp.hub.shelf import Stored
from llmtp.text import clean
from llmtp.units import format_bytes

_WIDE = 90


def render(console: Console, shelf: Sequence[Stored], total: int, free: int) -> None:
    """A block for each repository, then the sum."""
    for repository in dict.fromkeys(stored.repository for stored in shelf):
        console.print(Text(clean(repository, 120), style="bold"))
        console.print(_table([s for s in shelf if s.repository == repository], console.width))
        console.print()
    unused = sum(1 for stored in shelf if stored.is_unused)
    count = f"{len(shelf)} file{'' if len(shelf) == 1 else 's'}"
    console.print(
        f"{count}, {format_bytes(total)} ({unused} unused); {format_bytes(free)} free",
        soft_wrap=True,
    )


def _table(stored: Sequence[Stored], width: int) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=max(width - 50, 16))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    if width >= _WIDE:
        table.add_column(overflow="fold", style="dim")
    for one in stored:
        kind = " ".join(filter(None, [one.kind, one.quant, "outdated" if one.outdated else None]))
        cells = [f"  {clean(one.file, 100)}", kind, format_bytes(one.file_bytes), _use(one)]
        pairs = ", ".join(clean(name.rpartition("/")[2], 60) for name in one.pairs_with)
        table.add_row(*cells, *([f"with {pairs}" if pairs else ""] if width >= _WIDE else []))
    return table


def _use(stored: Stored) -> str:
    if not stored.used_by:
        return "unused"
    when = ""
    if stored.used_at is not None:
        days = int((time.time() - stored.used_at) // 86400)
        when = " today" if days < 1 else f" {days} day{'' if days == 1 else 's'} ago"
    return ", ".join(stored.used_by) + when
