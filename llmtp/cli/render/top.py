"""The view of `top`, in place or once."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from llmtp.cli.output import Out, console
from llmtp.cli.render.bars import Glyphs, bar, glyphs_for, sparkline
from llmtp.cli.render.frames import between_frames
from llmtp.cli.words import context_words, drafts_words
from llmtp.metrics.report import Lent, Report
from llmtp.metrics.totals import Totals
from llmtp.text import clean
from llmtp.units import format_bytes, format_count, format_duration, format_percent, format_rate

_BAR = 10
_LABEL = 9
_KEPT = 60
_AT_WORK = ("busy", "idle", "answers")


class LiveTop:
    """Redraws a few lines in place; the last ones stay."""

    def __init__(self, out: Out) -> None:
        self._console = console(out.stdout)
        self._glyphs = glyphs_for(out.stdout)
        self._live = Live(console=self._console, auto_refresh=False)
        self._speeds: deque[float] = deque(maxlen=_KEPT)

    def __enter__(self) -> LiveTop:
        self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        with contextlib.suppress(OSError):
            self._live.stop()

    def show(self, report: Report) -> None:
        if report.look.tokens_per_s is not None:
            self._speeds.append(report.look.tokens_per_s)
        with between_frames():
            drawn = panel(report, self._speeds, self._console.width, self._glyphs)
            self._live.update(drawn, refresh=True)


def panel(report: Report, speeds: Sequence[float], width: int, glyphs: Glyphs) -> RenderableType:
    """Everything about a server in at most `width` columns; `speeds` are the last ones."""
    rows = Table.grid(padding=(0, 1))
    rows.add_column(width=_LABEL, style="dim")
    rows.add_column(overflow="fold")
    room = max(width - _LABEL - 1, 10)
    for label, text in _rows(report, speeds, room, glyphs):
        rows.add_row(label, text)
    return Group(_head(report), rows)


def _head(report: Report) -> Text:
    server = report.server
    word, at_work = report.state, report.state in _AT_WORK
    head = Text.assemble(
        (f" {word} ", "black on green" if at_work else "reverse"),
        f" {clean(server.id, 60)}  " if server.id else "  ",
        (f"{server.url}/v1", "underline"),
    )
    if report.uptime_s is not None:
        head.append(f"  up {format_duration(max(report.uptime_s, 0))}", "dim")
    return head


def _rows(
    report: Report, speeds: Sequence[float], room: int, glyphs: Glyphs
) -> list[tuple[str, str | Text]]:
    use = report.use
    rows: list[tuple[str, str | Text]] = [("model", _model(report))]
    share, words = context_words(report)
    rows.append(("context", f"{bar(share, _BAR, glyphs)} {words}" if share is not None else words))
    rows.append(("tokens/s", _speed(report, speeds, room, glyphs)))
    rows.append(("prompt", f"{format_rate(report.best.prompt_tokens_per_s)} tokens/s"))
    rows.append(("requests", _requests(report)))
    rows.append(("drafts", drafts_words(report, "window")))
    if report.total.drafting is not None:
        rows.append(("in all", drafts_words(report, "total")))
        rows.append(("position", _positions(report.shown[1], room, glyphs)))
    memory = [f"RAM {format_bytes(use.rss_bytes)}"]
    if use.device_used_bytes is not None:
        of = f" of {format_bytes(use.device_total_bytes)}" if use.device_total_bytes else ""
        memory.append(f"GPU {format_bytes(use.device_used_bytes)}{of}")
    if use.power_w is not None:
        memory.append(f"{use.power_w:,.0f} W")
    rows.append(("memory", "  ".join(memory)))
    if use.workers:
        rows.append(("workers", "  ".join(map(_lent, use.workers))))
    for finding in report.findings():
        style = "yellow" if finding.level == "warning" else "cyan"
        fix = f"; {finding.fix}" if finding.fix else ""
        rows.append((finding.rule, Text(f"{finding.message}{fix}", style)))
    return rows


def _lent(worker: Lent) -> str:
    """What it has, and whether the server still holds its connection."""
    there = {True: "connected", False: "not connected", None: "connection unknown"}
    planned = format_bytes(worker.planned_bytes)
    return f"{worker.endpoint} {planned} planned, {there[worker.connected]}"


def _model(report: Report) -> str:
    server, n_max = report.server, report.n_max
    mtp = "" if n_max is None else f", n-max {n_max}" if n_max else ", MTP off"
    build = f" {server.build}" if server.build else ""
    engine = f" on {server.engine}{build}" if server.id is None else ""
    return f"{clean(server.model or '?', 60)}{mtp}{engine}"


def _speed(report: Report, speeds: Sequence[float], room: int, glyphs: Glyphs) -> str:
    now, mean = report.look.tokens_per_s, report.best.tokens_per_s
    words = f"{format_rate(now)} now  {format_rate(mean)} a request"
    left = room - len(words) - 2
    line = sparkline(list(speeds)[-left:], glyphs) if left > 0 else ""
    return f"{words}  {line}".rstrip()


def _requests(report: Report) -> str:
    look = report.look
    parts = []
    if report.total.requests is not None:
        recent = format_count(report.window.requests)
        last = format_duration(report.window_s)
        parts.append(f"{format_count(report.total.requests)} in all, {recent} in the last {last}")
    if look.busy is not None:
        of = f" of {look.slots} slots" if look.slots is not None else " running"
        parts.append(f"{look.busy}{of}{' busy' if look.slots is not None else ''}")
    if look.waiting is not None:
        parts.append(f"{format_count(look.waiting)} waiting")
    return "  ".join(parts) or "?"


def _positions(totals: Totals, room: int, glyphs: Glyphs) -> str:
    """One bar a position, narrower where there are many."""
    shares = totals.drafting.acceptance_per_position if totals.drafting else ()
    if not shares:
        return "no request yet"
    each = max(2, min(_BAR, room // len(shares) - 9))
    return "  ".join(
        f"{i} {bar(share, each, glyphs)} {format_percent(share)}"
        for i, share in enumerate(shares, 1)
    )
