"""What `tune` found in a terminal: speed by n-max, measured and expected, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from llmtp.cli.render.bars import bar, glyphs_for
from llmtp.cli.render.columns import Column, print_columns
from llmtp.machine.tuned import ALL_WORK
from llmtp.plan.tuned import LEAST_BAND
from llmtp.tune.result import Found, Row
from llmtp.tune.search import Arm
from llmtp.units import format_percent, format_rate

_BAR = 30


def render(console: Console, found: Found) -> None:
    """A row an arm, what was only expected dim; then the sentence, and who uses it."""
    rows = found.rows
    most = max(row.judged_per_s for row in rows)
    glyphs = glyphs_for(sys.stdout)
    bars = [bar(row.judged_per_s / most, _BAR, glyphs).rstrip(glyphs.empty) for row in rows]
    columns = [
        Column("", [row.arm.name for row in rows], left=True),
        Column("tokens/s", [format_rate(row.judged_per_s) for row in rows]),
        Column("", bars, rank=2, left=True),
        Column("", [_how(row, found.best) for row in rows], left=True),
        Column("own answers", [_own(row) for row in rows], rank=4),
        Column("accepted", [_accepted(row) for row in rows], rank=1),
        Column("a step", [_step(row) for row in rows], rank=3),
    ]
    print_columns(console, columns, [_style(row, found.best) for row in rows])
    console.print()
    _positions(console, found)
    style = "bold green" if found.best.n_max else "bold yellow"
    console.print(Text(found.sentence, style=style))
    if found.is_kept and not any(one.rule == "pinned" for one in found.findings):
        console.print(_use(found))


def _use(found: Found) -> str:
    tuned = found.tuned
    most = tuned.setting.ctx_band // 1024
    contexts = (
        f"contexts of {most // 2}k to {most}k"
        if tuned.setting.ctx_band > LEAST_BAND
        else (f"contexts up to {most}k")
    )
    work = "" if tuned.workload == ALL_WORK else f", for {tuned.workload} or not"
    text = f"run and plan use it from now on, with {contexts}{work}"
    if not tuned.n_max:
        text += f"; with --draft FILE they insist on MTP, at n-max {tuned.insisted_n_max}"
    return text


def _how(row: Row, best: Arm) -> str:
    if row.tokens_per_s is None:
        return "expected"
    return "measured, the best" if row.arm == best else "measured"


def _own(row: Row) -> str:
    return "" if row.tokens_per_s is None else format_rate(row.tokens_per_s)


def _style(row: Row, best: Arm) -> str:
    if row.arm == best:
        return "bold"
    return "dim" if row.tokens_per_s is None else ""


def _accepted(row: Row) -> str:
    return "" if row.acceptance is None or not row.arm.n_max else format_percent(row.acceptance)


def _step(row: Row) -> str:
    return "" if row.step_s is None else f"{1000 * row.step_s:.1f} ms"


def _positions(console: Console, found: Found) -> None:
    shares: Sequence[float] = found.to_dict()["acceptance_per_position"]
    shown = " ".join(f"{100 * share:.0f}" for share in shares)
    console.print(f"drafts that were right, by position, in percent: {shown}")
