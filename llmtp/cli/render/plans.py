"""A plan as a table of memory by part, the reasons, and the command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtp.chain import Prepared
from llmtp.cli.words import summary
from llmtp.hubname import PREFIX
from llmtp.plan.memory import Parts
from llmtp.selection import Alternative
from llmtp.text import clean
from llmtp.units import format_bytes, format_count

_ROWS = (
    ("weights", "weights", "exact"),
    ("KV cache", "kv", "exact"),
    ("compute", "compute", "estimate"),
    ("drafter", "draft", "estimate"),
    ("mmproj", "mmproj", "estimate"),
    ("overhead", "overhead", "estimate"),
)


def render(console: Console, prepared: Prepared) -> None:
    """Parts of memory by device, then why."""
    plan = prepared.plan
    console.print(Text(summary(plan), style="bold"))
    console.print()
    columns: list[tuple[str, Parts, int | None]] = [
        (f"{usage.device.name} ({usage.device.id or 'not seen by the engine'})", usage.parts,
         usage.device.free_bytes)
        for usage in plan.devices
    ]  # fmt: skip
    columns.append(("RAM", plan.host_parts, plan.host.available_bytes))
    console.print(_table(columns))
    console.print()
    for reason in plan.why:
        console.print(f"• {reason}", soft_wrap=True)
    if prepared.download_bytes:
        console.print(f"• {format_bytes(prepared.download_bytes)} to download", soft_wrap=True)
    console.print(
        f"• engine {prepared.engine.path} ({prepared.engine.source})", soft_wrap=True, style="dim"
    )
    local = prepared.reference.profile is None and not plan.name.startswith(PREFIX)
    model = shlex.quote(clean(str(plan.main.path))) if local else plan.name
    if prepared.alternatives:
        console.print()
        console.print(_alternatives(prepared.alternatives))
    console.print(f"\nllmtp run {model} --dry-run prints the command.", style="dim", soft_wrap=True)


def _alternatives(alternatives: Sequence[Alternative]) -> Table:
    """Every quant on offer, best quality first, with what would come of it on this machine."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("quants")
    for name in ("size", "context", "n-max"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    for one in alternatives:
        words = [
            "chosen" if one.chosen else None,
            "on this disk" if one.on_disk else None,
            one.device,
            one.reason,
        ]
        table.add_row(
            Text(clean(one.quant, 40), style="bold" if one.chosen else ""),
            format_bytes(one.file_bytes),
            format_count(one.ctx_size) if one.ctx_size else "-",
            "-" if one.n_max is None else str(one.n_max or "off"),
            Text(", ".join(filter(None, words)), style="" if one.ctx_size else "dim"),
        )
    return table


def _table(columns: list[tuple[str, Parts, int | None]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for name, _, _ in columns:
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("", style="dim")
    for label, field, source in _ROWS:
        counts = [getattr(parts, field) for _, parts, _ in columns]
        if field == "mmproj" and not any(counts):
            continue
        sizes = [format_bytes(count) for count in counts]
        table.add_row(label, *sizes, source)
    table.add_row("total", *(format_bytes(p.total) for _, p, _ in columns), "", style="bold")
    table.add_row("free", *(format_bytes(free) for _, _, free in columns), "now")
    return table
