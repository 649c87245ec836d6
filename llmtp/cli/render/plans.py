"""A plan as a table of memory by part, the reasons, and the command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtp.chain import Prepared
from llmtp.cli.render.bars import stacked
from llmtp.cli.words import summary
from llmtp.hubname import PREFIX
from llmtp.machine.devices import Device
from llmtp.plan.fit import USEFUL_CONTEXT
from llmtp.plan.grid import Cell
from llmtp.plan.ladder import next_steps
from llmtp.plan.memory import Parts
from llmtp.plan.result import Plan
from llmtp.text import clean
from llmtp.tried import Alternative
from llmtp.units import GiB, format_bytes, format_count, format_mib

#: Label, name in `Parts`, glyph and colour of each part, in the order of the bar.
_ROWS = (
    ("weights", "weights", "█", "blue"),
    ("KV cache", "kv", "▓", "cyan"),
    ("compute", "compute", "▒", "magenta"),
    ("drafter", "draft", "░", "green"),
    ("mmproj", "mmproj", "▚", "yellow"),
    ("overhead", "overhead", "╱", "red"),
)
_GLYPHS = "".join(glyph for _, _, glyph, _ in _ROWS)
_COLOURS = {glyph: colour for _, _, glyph, colour in _ROWS}
_WIDEST_BAR = 64
_UNBOUND = 1000
#: Columns of 128k only where a terminal is so wide, and without the drafter only from there on.
_WIDE, _MIDDLE, _NARROW = 110, 32 * 1024, 76


@dataclass(frozen=True, slots=True)
class _Place:
    """A device or RAM: its name, what the plan puts there, what it has free, and whether that is
    where the layers are."""

    name: str
    device: str | None
    parts: Parts
    free: int | None
    has_layers: bool

    @property
    def title(self) -> str:
        return f"{self.name} ({self.device})" if self.device else self.name


def render(console: Console, prepared: Prepared, *, verbose: bool) -> None:
    """The verdict, parts of memory by device as bar and table, then why."""
    plan = prepared.plan
    console.print(Text(summary(plan), style="bold"))
    places = [
        _Place(one.device.name, _id(one.device), one.parts,
               one.device.free_bytes, one in plan.used_devices)
        for one in plan.devices
    ]  # fmt: skip
    host = plan.host.available_bytes
    places.append(_Place("RAM", None, plan.host_parts, host, not plan.gpus))
    console.print(_verdict(places, plan.margin_bytes))
    console.print()
    used = [place for place in places if place.parts.total and place.free]
    console.print(_bars(used, console.width))
    console.print()
    _print_table(console, places, prepared.kind.sources(plan))
    console.print()
    for reason in _reasons(prepared, verbose=verbose):
        console.print(f"• {reason}", soft_wrap=True)
    console.print(
        f"• engine {prepared.engine.path} ({prepared.engine.source})", soft_wrap=True, style="dim"
    )
    if prepared.alternatives:
        console.print()
        console.print(grid_table(prepared.alternatives, console.width))
        console.print("(in brackets: does not fit with nothing else given up)", style="dim")
    if not plan.main.is_published:
        local = prepared.reference.profile is None and not plan.name.startswith(PREFIX)
        model = shlex.quote(clean(str(plan.main.path))) if local else plan.name
        line = f"\nllmtp run {model} --dry-run, with the same options, prints the command."
        console.print(line, style="dim", soft_wrap=True)


def _id(device: Device) -> str:
    return device.id or ("not seen by the engine" if device.worker is None else "not used")


def _verdict(places: Sequence[_Place], margin_bytes: int) -> Text:
    """What is used of the places where the layers are, and what is left of them."""
    words = []
    for place in (place for place in places if place.has_layers):
        used, free = place.parts.total, place.free or 0
        words.append(
            f"{format_bytes(used)} of {format_bytes(free)} in {place.title}, "
            f"{format_bytes(free - used)} to spare"
        )
    margin = f" (margin {format_bytes(margin_bytes)})"
    return Text.assemble(("fits: ", "green"), "; ".join(words) + margin)


def _reasons(prepared: Prepared, *, verbose: bool) -> Iterator[str]:
    plan = prepared.plan
    yield from plan.why
    yield _ladder(plan)
    if not plan.gpus:
        anonymous = format_bytes(plan.host_parts.total - plan.mapped_bytes)
        yield f"{anonymous} of the RAM cannot be dropped; the rest are pages of the files"
    kept = plan.checkpoints * plan.checkpoint_bytes * plan.parallel + plan.prompt_cache_bytes
    if kept:
        each = format_bytes(plan.checkpoint_bytes)
        yield (
            f"up to {format_bytes(kept)} of the RAM that is left keep prompts: "
            f"{plan.checkpoints} checkpoints of {each} a slot, and whole ones"
        )
    if prepared.download_bytes:
        yield f"{format_bytes(prepared.download_bytes)} to download"
    learned = plan.learned
    if verbose and learned is not None:
        yield (
            f"the last start here, on {learned.at}, took {format_mib(learned.taken_bytes)} MiB "
            f"where {format_mib(learned.planned_bytes)} were planned"
        )


def _ladder(plan: Plan) -> str:
    """What was given up, and what would go next, in that order."""
    gone = ", ".join(one.words() for one in plan.given_up)
    is_long = plan.ctx_size > USEFUL_CONTEXT
    following = ", ".join(
        next_steps(plan.ladder, plan.given_up, has_gpu=bool(plan.gpus), is_long=is_long)
    )
    if not gone:
        return f"nothing is given up; for lack of memory would go, in this order: {following}"
    return f"given up: {gone}; next would go: {following or 'more of the same'}"


def _bars(places: Sequence[_Place], width: int) -> Table:
    """One bar a place, as long as what is free there."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    longest = max((len(place.title) for place in places), default=0)
    cells = max(min(width - longest - 3, _WIDEST_BAR), len(_ROWS))
    for place in places:
        sizes = [getattr(place.parts, field) for _, field, _, _ in _ROWS]
        bar = Text()
        for glyph, count in stacked(sizes, _GLYPHS, place.free or 0, cells):
            bar.append(glyph * count, style=_COLOURS.get(glyph, "dim"))
        grid.add_row(place.title, bar)
    return grid


def grid_table(alternatives: Sequence[Alternative], width: int) -> Table:
    """Every quant on offer, best quality first: what it takes by context, with the drafter and
    without, in brackets where that does not fit, and what would come of it on this machine."""
    longest = max((one.cells for one in alternatives), key=len)
    columns = [
        (cell.drafts, cell.ctx_size)
        for cell in longest
        if (width >= _WIDE or cell.ctx_size <= _MIDDLE)
        and (width >= _NARROW or cell.drafts == longest[0].drafts)
    ]
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("GiB by context", no_wrap=True)
    table.add_column("file", justify="right")
    for drafts, ctx_size in columns:
        table.add_column(f"{ctx_size >> 10}k{'' if drafts else ' off'}", justify="right")
    table.add_column("", overflow="fold")
    home = next((one.device for one in alternatives if one.chosen), None)
    for one in alternatives:
        cells = {(cell.drafts, cell.ctx_size): cell for cell in one.cells}
        row = [_cell(cells[at]) if at in cells else Text("- ") for at in columns]
        table.add_row(
            Text(clean(one.quant, 40), style="bold" if one.chosen else ""),
            f"{one.file_bytes / GiB:.2f}",
            *row,
            Text(_outcome(one, home), style="" if one.ctx_size else "dim"),
        )
    return table


def _cell(cell: Cell) -> Text:
    number = f"{cell.used_bytes / GiB:.2f}"
    return Text(f"{number} ") if cell.fits else Text(f"({number})", style="dim")


def _outcome(one: Alternative, home: str | None) -> str:
    """`chosen, 32k, n-max 3`; its place where that is not the one of the chosen."""
    if one.ctx_size is None:
        return one.reason or ""
    words = [
        "chosen" if one.chosen else None,
        "on this disk" if one.on_disk and one.repository else None,
        f"{one.ctx_size >> 10}k" if one.ctx_size % 1024 == 0 else format_count(one.ctx_size),
        f"n-max {one.n_max}" if one.n_max else "MTP off",
        one.device if one.device != home else None,
        one.reason if one.reason != "without MTP" else None,
    ]
    return ", ".join(filter(None, words))


def _print_table(console: Console, places: Sequence[_Place], sources: dict[str, str]) -> None:
    """Parts by place, with the source of each number beside it, or below where that is too wide."""
    table = _table(places, sources)
    unbound = console.options.update(width=_UNBOUND)
    if console.measure(table, options=unbound).maximum <= console.width:
        console.print(table)
        return
    console.print(_table(places, {}))
    console.print()
    for label, field, _, _ in (*_ROWS, ("free", "free", "", "")):
        if field != "mmproj" or any(place.parts.mmproj for place in places):
            console.print(f"{label}: {sources[field]}", style="dim")


def _table(places: Sequence[_Place], sources: dict[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for place in places:
        table.add_column(place.title, justify="right", overflow="fold")
    table.add_column("", style="dim")
    for label, field, glyph, colour in _ROWS:
        counts = [getattr(place.parts, field) for place in places]
        if field == "mmproj" and not any(counts):
            continue
        name = Text.assemble((glyph, colour), f" {label}")
        table.add_row(name, *(format_bytes(count) for count in counts), sources.get(field, ""))
    totals = (format_bytes(place.parts.total) for place in places)
    table.add_row("  total", *totals, "", style="bold")
    free = (format_bytes(place.free) for place in places)
    table.add_row("· free", *free, sources.get("free", ""))
    return table
