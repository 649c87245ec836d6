"""The servers that llmtp runs, as a table, or as blocks where that is too wide."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from llmtp.server.standing import Known, Standing
from llmtp.text import clean
from llmtp.units import format_duration

_WIDE = 76
_COLUMNS = ("ID", "STATE", "URL", "MTP", "UP", "RESTARTS", "MODEL")


def render(console: Console, known: Sequence[Known]) -> None:
    """A row a server."""
    if not known:
        console.print("no server runs; start one with: llmtp run MODEL --detach", soft_wrap=True)
        return
    rows = [_row(one) for one in known]
    if console.width < _WIDE:
        for row in rows:
            console.print(f"{row[0]}  {row[1]}", style="bold", soft_wrap=True)
            console.print(f"  {row[2]}", soft_wrap=True)
            console.print(f"  {row[3]}, up {row[4]}, {row[5]} restarts, {row[6]}", soft_wrap=True)
        return
    table = Table.grid(padding=(0, 2))
    for name in _COLUMNS:
        table.add_column(no_wrap=name != "MODEL", overflow="fold")
    table.add_row(*_COLUMNS, style="dim")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _row(known: Known) -> tuple[str, ...]:
    entry = known.entry
    mtp = "-" if entry.mtp is None else f"n-max {entry.n_max}" if entry.mtp else "off"
    until = entry.ended_at or time.time()
    up = format_duration(max(until - entry.started_at, 0))
    url = f"{clean(entry.url, 80)}/v1" if entry.url and known.standing is not Standing.OVER else "-"
    state = known.state if entry.exit_code is None else f"{known.state} ({entry.exit_code})"
    return entry.id, state, url, mtp, up, str(entry.restarts), clean(entry.model, 120)
