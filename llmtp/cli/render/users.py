"""A sizing: the verdict, what each engine takes, where MTP ends, and the formulas."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtp.plan.at_once import AtOnce
from llmtp.plan.speed import LEAST_GAIN, PROSE
from llmtp.plan.ways import LLAMA, Way
from llmtp.text import clean
from llmtp.units import format_bytes, format_count, format_percent
from llmtp.users import Sizing

_WIDE = 90
_NAMES = {LLAMA: "llama-server", "vllm": "vLLM"}


def render(console: Console, name: str, sizing: Sizing) -> None:
    """First the answer, last what to type."""
    demand = sizing.demand
    console.print(
        Text(
            f"{name} for {format_count(demand.users)} users with {format_count(demand.ctx_size)} "
            f"tokens each: {_verdict(sizing)}",
            style="bold",
        ),
        soft_wrap=True,
    )
    console.print()
    console.print(_ways(sizing))
    console.print()
    for reason in sizing.why:
        console.print(f"• {clean(reason, 400)}", soft_wrap=True)
    if sizing.speeds is not None:
        console.print()
        _print_speeds(console, sizing.speeds)
    console.print()
    for formula in sizing.formulas:
        console.print(f"• {formula}", soft_wrap=True)
    console.print()
    for assumption in sizing.assumptions:
        console.print(f"• assumed: {assumption}", soft_wrap=True, style="dim")
    console.print()
    if sizing.engine_args:
        console.print(f"vLLM is told: {' '.join(sizing.engine_args)}", soft_wrap=True)
    console.print(f"next: {sizing.command}", soft_wrap=True)


def _verdict(sizing: Sizing) -> str:
    """`vLLM on 4 cards of 80.00 GiB`."""
    way = sizing.way
    engine = _NAMES[way.engine]
    if way.cards is None:
        return f"{engine}, {format_bytes(way.total_bytes)} and what it works in"
    if way.cards == 0:
        return f"{engine} on the CPU, {format_bytes(way.total_bytes)} of RAM"
    cards = "1 card" if way.cards == 1 else f"{format_count(way.cards)} cards"
    size = format_bytes(sizing.card.total_bytes if sizing.card else None)
    nodes = f" in {format_count(way.nodes)} machines" if (way.nodes or 1) > 1 else ""
    return f"{engine} on {cards} of {size}{nodes}"


def _ways(sizing: Sizing) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for way in sizing.ways:
        mark = " (chosen)" if way is sizing.way else ""
        table.add_column(f"{_NAMES[way.engine]}{mark}", justify="right")
    users = format_count(sizing.demand.users)
    rows = [
        ("weights", [_weights(way) for way in sizing.ways]),
        ("drafter", [format_bytes(way.draft_bytes) for way in sizing.ways]),
        ("KV of a user", [format_bytes(way.kv_per_user_bytes) for way in sizing.ways]),
        (f"KV of {users}", [format_bytes(way.kv_bytes) for way in sizing.ways]),
        ("scratch, spare", [format_bytes(way.other_bytes) for way in sizing.ways]),
    ]
    for label, cells in rows:
        table.add_row(label, *cells)
    totals = (format_bytes(way.total_bytes) for way in sizing.ways)
    table.add_row("total", *totals, style="bold")
    table.add_row("cards", *(_cards(way) for way in sizing.ways))
    table.add_row("slots", *(_slots(way) for way in sizing.ways))
    return table


def _weights(way: Way) -> str:
    return f"{way.quant or ''} {format_bytes(way.weights_bytes)}".strip()


def _cards(way: Way) -> str:
    if way.fits is False:
        return "will not do"
    if way.cards is None:
        return "?"
    if way.cards == 0:
        return "CPU"
    if way.replicas > 1:
        return f"{way.replicas} x {way.cards // way.replicas}"
    return format_count(way.cards)


def _slots(way: Way) -> str:
    return f"{way.replicas} x {way.slots}" if way.replicas > 1 else format_count(way.slots)


def _print_speeds(console: Console, speeds: AtOnce) -> None:
    """Times as fast as without MTP, by how many ask at once; prose where there is room for it."""
    is_wide = console.width >= _WIDE
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("at once", justify="right")
    for one in speeds.break_even:
        table.add_column(f"n-max {one.n_max}", justify="right")
        if is_wide:
            table.add_column("prose", justify="right")
    table.add_column("", overflow="fold")
    marked: set[int] = set()
    for row in speeds.rows:
        cells = []
        for arm in row.arms:
            cells += [arm.speedup, arm.speedup_prose] if is_wide else [arm.speedup]
        ends = {
            one.n_max
            for one in speeds.break_even
            if one.users is not None and one.users <= row.users
        }
        notes = [f"n-max {n_max} ends" for n_max in sorted(ends - marked)]
        marked |= ends
        if row.users == speeds.users:
            notes.insert(0, "all of a server")
        table.add_row(format_count(row.users), *map(_times, cells), ", ".join(notes))
    console.print(table)
    for one in speeds.break_even:
        prose = f"with prose ({format_percent(PROSE)}) {_up_to(one.users_prose)}"
        same = one.users == one.users_prose
        line = f"n-max {one.n_max} pays {_up_to(one.users)}{'' if same else f', {prose}'}"
        console.print(f"• {line}", soft_wrap=True)


def _times(speedup: float) -> Text:
    return Text(f"{speedup:.2f}x", style="" if speedup >= LEAST_GAIN else "dim")


def _up_to(users: int | None) -> str:
    if users is None:
        return "with any number at once"
    return f"up to {format_count(users - 1)} at once" if users > 1 else "never"
