"""What is on disk, as a table by repository."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtp.config import hub_cache
from llmtp.hub.shelf import Stored
from llmtp.hubname import PREFIX
from llmtp.text import clean
from llmtp.units import format_bytes

_MOST_PAIRS = 3


def render(console: Console, shelf: Sequence[Stored], total: int, free: int) -> None:
    """A block for each repository, then the sum."""
    for repository in dict.fromkeys(stored.repository for stored in shelf):
        console.print(Text(PREFIX + clean(repository, 200), style="bold"))
        console.print(_table([s for s in shelf if s.repository == repository]))
        console.print()
    place, unused = clean(str(hub_cache()), 300), sum(s.is_unused for s in shelf)
    count = f"{len(shelf)} file{'' if len(shelf) == 1 else 's'}"
    console.print(
        f"{count}, {format_bytes(total)} ({unused} unused) in {place}; {format_bytes(free)} free",
        soft_wrap=True,
    )


def _table(stored: Sequence[Stored]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True, min_width=10)
    table.add_column(no_wrap=True, min_width=13)
    table.add_column(overflow="fold")
    for one in stored:
        kind = " ".join(filter(None, [one.kind, clean(one.quant or "", 12)]))
        text = Text(clean(one.shown, 200))
        for note in _notes(one):
            text.append(f"\n{note}", style="dim")
        table.add_row(format_bytes(one.file_bytes), kind, text)
    return table


def _notes(stored: Stored) -> list[str]:
    outdated = [f"outdated commit {stored.commit[:8]}"] if stored.outdated and stored.commit else []
    pairs = list(dict.fromkeys(clean(path.name, 100) for path in stored.pairs_with))
    more = f" and {len(pairs) - _MOST_PAIRS} more" if len(pairs) > _MOST_PAIRS else ""
    return [
        ", ".join([*outdated, _use(stored)]),
        *([f"fits {', '.join(pairs[:_MOST_PAIRS])}{more}"] if pairs else []),
    ]


def _use(stored: Stored) -> str:
    if stored.used_at is None:
        return "unused"
    days = int((time.time() - stored.used_at) // 86400)
    when = "today" if days < 1 else f"{days} day{'' if days == 1 else 's'} ago"
    return f"used {when} by {', '.join(clean(model, 120) for model in stored.used_by)}"
