"""A run of the bench in a terminal: speeds with bars, what stands behind them, the verdict."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from llmtp.bench.compare import Arm, Compared
from llmtp.bench.conduct import Done
from llmtp.bench.result import Figures
from llmtp.bench.scheme import arm_name
from llmtp.bench.verdict import choose, is_sure
from llmtp.cli.render.bars import bar, glyphs_for
from llmtp.cli.render.columns import Column, print_columns
from llmtp.errors import Finding
from llmtp.text import clean
from llmtp.units import format_bytes, format_count, format_percent, format_rate

_BAR = 12
_POSITIONS = 4
_TICK: dict[object, str] = {True: "yes", False: "no:", None: "not known:"}


def render(console: Console, done: Done) -> None:
    """Cells by arms, arms by figures, answers, and what to do."""
    _cells(console, done)
    console.print()
    _arms(console, done)
    console.print()
    _answers(console, done)
    style = "bold green" if done.verdict.n_max and done.verdict.is_sure else "bold yellow"
    console.print(Text(done.verdict.first, style=style))
    for sentence in _more(done):
        console.print(f"• {sentence}")


def _cells(console: Console, done: Done) -> None:
    """Tokens per second, and the speed-up of the best n-max overall."""
    result, best = done.result, done.result.best.n_max
    rows = [(clean(one.cell.name, 30), one.arms) for one in result.cells]
    if len(rows) > 1:
        rows.append(("all", result.overall))
    mine = [next(one for one in arms if one.n_max == best) for _, arms in rows]
    most = max((one.speedup.value for one in mine if one.speedup), default=1.0)
    bars = [
        bar(one.speedup.value / most, _BAR, glyphs_for(sys.stdout)) if one.speedup else ""
        for one in mine
    ]
    columns = [Column("tokens/s", [name for name, _ in rows], left=True)]
    for place, figures in enumerate(result.overall):
        speeds = [format_rate(arms[place].tokens_per_s) for _, arms in rows]
        columns.append(Column(arm_name(figures.n_max), speeds, style=_style(figures.n_max, done)))
    columns += [
        Column(f"{arm_name(best)} is", [_times(one) for one in mine], rank=1),
        Column("", bars, rank=5, left=True),
        Column("interval", [_interval(one) for one in mine], rank=4, left=True),
        Column("accepted", [format_percent(one.acceptance) for one in mine], rank=3),
        Column("use", [_use(arms) for _, arms in rows], rank=2),
    ]
    print_columns(console, columns, ["bold" if name == "all" else "" for name, _ in rows])


def _use(arms: Sequence[Figures]) -> str:
    """The n-max for this text, with a question mark where that may be chance."""
    n_max = choose(arms)
    if n_max is None:
        return "-"
    return _short(n_max) if is_sure(n_max, arms) else f"{_short(n_max)}?"


def _arms(console: Console, done: Done) -> None:
    arms = done.result.overall
    first = [one.first_token_s for one in arms]
    columns = [
        Column("", [arm_name(one.n_max) for one in arms], left=True),
        Column("speed-up", [_times(one) for one in arms]),
        Column("interval", [_interval(one) for one in arms], rank=3, left=True),
        Column("accepted", [format_percent(one.acceptance) for one in arms], rank=1),
        Column("by position", [_positions(one.acceptance_per_position) for one in arms], rank=6),
        Column("pays above", [_percent_above(one.break_even) for one in arms]),
        Column("a step costs", [_step(one) for one in arms], rank=5),
        Column("first token", ["-" if s is None else f"{1000 * s:.0f} ms" for s in first], rank=4),
        Column("memory", [_memory(done, one.n_max) for one in arms], rank=2),
    ]
    print_columns(console, columns, [_style(one.n_max, done) for one in arms])


def _answers(console: Console, done: Done) -> None:
    record = done.record
    if record["compared_answers"]:
        text = (
            f"answers: {format_count(record['equal_answers'])} of "
            f"{format_count(record['compared_answers'])} the same as without MTP"
        )
        if record["near_ties"]:
            text += f"; {record['near_ties']} kinds of difference begin at a near tie"
        console.print(text)
    by_prompt: dict[str, list[dict[str, object]]] = {}
    for row in record["checks"]:
        by_prompt.setdefault(f"{row['prompt']}: {row['asked']}", []).append(row)
    for what, rows in by_prompt.items():
        console.print(f"{what}: {_form(rows)}")


def _form(rows: Sequence[dict[str, object]]) -> str:
    """What a check said, once where it said the same of all arms."""
    told: dict[str, list[str]] = {}
    for row in rows:
        word = f"{_TICK[row['ok']]} {clean(str(row['why']), 80)}" if row["why"] else _TICK[True]
        told.setdefault(word, []).append(_short(int(str(row["n_max"]))))
    if len(told) == 1:
        return f"{next(iter(told))} (all)"
    return "; ".join(f"{word} ({', '.join(arms)})" for word, arms in told.items())


def _more(done: Done) -> Iterable[str]:
    yield from done.verdict.more
    off = done.result.arm(0).tokens_per_s
    if off is not None:
        yield done.bound_words(off)


def _memory(done: Done, n_max: int) -> str:
    visit = [one for one in done.measured.visits if one.n_max == n_max][-1]
    taken = visit.memory.device_bytes
    return format_bytes(visit.memory.rss_bytes if taken is None else taken)


def _short(n_max: int) -> str:
    return str(n_max) if n_max else "off"


def _style(n_max: int, done: Done) -> str:
    return "bold" if n_max == done.verdict.n_max else ""


def _times(figures: Figures) -> str:
    if figures.n_max == 0:
        return ""
    return "-" if figures.speedup is None else f"{figures.speedup.value:.2f}x"


def _interval(figures: Figures) -> str:
    speedup = figures.speedup
    if figures.n_max == 0 or speedup is None or speedup.low is None or speedup.high is None:
        return ""
    return f"{speedup.low:.2f}-{speedup.high:.2f}"


def _step(figures: Figures) -> str:
    return "" if figures.step_cost is None else f"{figures.step_cost:.2f}x"


def _positions(shares: Sequence[float]) -> str:
    """In percent, the first ones."""
    shown = " ".join(f"{100 * share:.0f}" for share in shares[:_POSITIONS])
    return f"{shown} …" if len(shares) > _POSITIONS else shown


def _percent_above(share: float | None) -> str:
    if share is None:
        return ""
    return "never" if share > 1 else format_percent(share)


def comparison(console: Console, compared: Compared) -> None:
    """What changed, then the second record as a multiple of the first."""
    for change in compared.changes:
        what, before, after = (
            clean(text, 100) for text in (change.what, change.before, change.after)
        )
        console.print(f"{what}: {before} → {after}", soft_wrap=True)
    if not compared.changes:
        console.print("the same files, engine, machine and settings")
    console.print()
    names = list(dict.fromkeys(str(one.cell) for one in compared.cells))
    columns = [Column("B against A", [*(clean(name, 30) for name in names), "all"], left=True)]
    for arm in compared.arms:
        of_arm = {one.cell: one for one in compared.cells if one.n_max == arm.n_max}
        told = [*(of_arm.get(name) for name in names), arm]
        columns.append(Column(arm_name(arm.n_max), [_against(one) for one in told]))
        columns.append(Column("", [_bounds(one) for one in told], rank=1, left=True))
    print_columns(console, columns, [*[""] * len(names), "bold"])
    console.print()
    console.print(_conclusion(compared))


def _against(arm: Arm | None) -> str:
    return "-" if arm is None else f"{arm.ratio.value:.2f}x"


def _bounds(arm: Arm | None) -> str:
    if arm is None or arm.ratio.low is None or arm.ratio.high is None:
        return ""
    return f"{arm.ratio.low:.2f}-{arm.ratio.high:.2f}"


def _conclusion(compared: Compared) -> str:
    if compared.slower:
        return f"slower by more than the noise: {_names(compared.slower)}"
    faster = [arm for arm in compared.arms if arm.n_max in compared.decisive and arm.is_faster]
    return f"faster: {_names(faster)}" if faster else "no slower than the noise explains"


def _names(arms: Iterable[Arm]) -> str:
    return ", ".join(f"{arm_name(arm.n_max)} at {arm.ratio.value:.2f} of its speed" for arm in arms)


def comparison_findings(compared: Compared) -> list[Finding]:
    """The error that goes with exit code 10, and what makes a comparison doubtful."""
    doubts = []
    if compared.is_loaded:
        doubts.append(
            Finding(
                "other-load",
                "warning",
                "other programs computed during one of the two: only a great difference counts",
                expected="two runs on an idle machine",
                fix="measure both again with nothing else to do",
            )
        )
    if not compared.slower:
        return doubts
    changed = ", ".join(clean(change.what, 40) for change in compared.changes[:4])
    return [
        *doubts,
        Finding(
            "slower",
            "error",
            f"the second record is slower: {_names(compared.slower)}",
            expected="at least as fast, but for noise",
            observed=f"changed meanwhile: {changed}" if changed else "nothing changed that is told",
            fix="measure once more on an idle machine; then go back with what changed",
        ),
    ]
