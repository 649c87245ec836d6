"""The servers that llmtp runs, as a table, or as blocks where that is too wide."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console

from llmtp.server.standing import Known, Standing
from llmtp.text import clean
from llmtp.units import format_duration

_COLUMNS = ("ID", "STATE", "UP", "MTP", "URL", "MODEL")
_GAP = "  "


def render(console: Console, known: Sequence[Known]) -> None:
    """A row a server."""
    if not known:
        console.print("no server runs; start one with: llmtp run MODEL --detach", soft_wrap=True)
        return
    clash = len({one.entry.main for one in known}) > len({one.entry.model for one in known})
    rows = [_row(one, names_file=clash) for one in known]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    if console.is_terminal and sum(widths) + len(_GAP) * (len(widths) - 1) > console.width:
        for row in rows:
            _block(console, row)
        return
    for row in (_COLUMNS, *rows):
        line = _GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        console.print(line.rstrip(), style="dim" if row is _COLUMNS else None, soft_wrap=True)


def _block(console: Console, row: Sequence[str]) -> None:
    name, state, up, mtp, url, model = row
    console.print(f"{name}{_GAP}{state}", style="bold", soft_wrap=True)
    for line in (url, f"up {up}, {mtp}", model):
        console.print(f"{_GAP}{line}", soft_wrap=True)


def _row(known: Known, *, names_file: bool) -> tuple[str, ...]:
    entry = known.entry
    mtp = "-" if entry.mtp is None else f"n-max {entry.n_max}" if entry.mtp else "MTP off"
    until = entry.ended_at or time.time()
    up = format_duration(max(until - entry.started_at, 0))
    url = f"{clean(entry.url, 80)}/v1" if entry.url and known.standing is not Standing.OVER else "-"
    state = known.state if entry.exit_code is None else f"{known.state} ({entry.exit_code})"
    if entry.restarts:
        state += f", {entry.restarts} restart{'s' if entry.restarts > 1 else ''}"
    model = entry.main if names_file and entry.main else entry.model
    return entry.id, state, up if entry.url else "-", mtp, url, clean(model, 200)
