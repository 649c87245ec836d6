"""What doctor found: a line a check, below it what to type, then the profiles and the next step."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from llmtp.cli.render.columns import Column, print_columns
from llmtp.doctor.check import Check, Status
from llmtp.doctor.examine import Report
from llmtp.doctor.fitting import Fit
from llmtp.engine.command import quote
from llmtp.text import clean
from llmtp.units import format_bytes, format_count

_STYLES: dict[Status, str] = {"pass": "green", "warn": "yellow", "fail": "bold red"}
_LEAST_ROOM = 30
_MOST_WIDTH = 110
_LONGEST = 600


def render(console: Console, report: Report, rpc: str) -> None:
    """Everything, in the order in which a model needs it; `rpc` is how workers were named."""
    width = max(len(check.id) for check in report.checks)
    for area in dict.fromkeys(check.area for check in report.checks):
        console.print(Text(area, style="bold"))
        for check in report.checks:
            if check.area == area:
                _line(console, check, width)
    console.print(Text("profiles", style="bold"))
    _profiles(console, report.profiles)
    console.print(_end(report, rpc), soft_wrap=True)


def _line(console: Console, check: Check, width: int) -> None:
    head = f"  {check.status}  {check.id.ljust(width)}  "
    room = min(console.width, _MOST_WIDTH) - len(head)
    if room < _LEAST_ROOM:
        head, room = f"  {check.status}  {check.id}: ", _MOST_WIDTH
    words = textwrap.wrap(
        clean(check.summary, _LONGEST), room, break_on_hyphens=False, break_long_words=False
    )
    for number, line in enumerate(words):
        text = Text(head + line if number == 0 else " " * len(head) + line)
        if number == 0:
            text.stylize(_STYLES[check.status], 2, 2 + len(check.status))
        console.print(text, soft_wrap=True)
    if check.fix:
        text = Text("        → ", style="dim")
        # It is to be copied, so it is never cut.
        fix = clean(check.fix, len(check.fix))
        console.print(text + Text(fix, style="cyan"), soft_wrap=True)


def _profiles(console: Console, fits: Sequence[Fit]) -> None:
    def cells(of: str) -> list[str]:
        return [_cell(fit, of) for fit in fits]

    print_columns(
        console,
        [
            Column("", ["  pass" if fit.fits else "  no" for fit in fits], left=True),
            Column("profile", cells("name"), left=True),
            Column("quant", cells("quant"), left=True),
            Column("context", cells("ctx"), rank=1),
            Column("n-max", cells("n_max"), rank=2),
            Column("download", cells("download"), rank=3),
            Column("on", cells("device"), rank=4, left=True),
        ],
    )


def _cell(fit: Fit, of: str) -> str:
    if of == "name":
        return clean(fit.name, 40)
    if not fit.fits:
        return clean(fit.reason or "", 60) if of == "device" else "-"
    match of:
        case "quant":
            return clean(fit.quant or "-", 30)
        case "ctx":
            return format_count(fit.ctx_size)
        case "n_max":
            return str(fit.n_max) if fit.n_max else "off"
        case "download":
            return "here" if fit.on_disk else format_bytes(fit.download_bytes)
    return clean(fit.device or "", 60)


def _end(report: Report, rpc: str) -> Text:
    fails = sum(check.status == "fail" for check in report.checks)
    warns = sum(check.status == "warn" for check in report.checks)
    counted = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((fails, "failure"), (warns, "warning"))
        if count
    ]
    told = " and ".join(counted) or "all is well"
    first = report.best
    if first is None:
        return Text(
            f"{told}; nothing can run yet: type what stands behind an arrow, then doctor again"
        )
    lend = all(one.status == "pass" for one in report.checks if one.id.startswith("worker"))
    with_workers = f" --rpc {quote(rpc)}" if rpc and lend else ""
    return Text(f"{told}; run it: llmtp run {first.name}{with_workers}")
