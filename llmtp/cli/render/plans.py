"""A plan as a table of memory by part, the reasons, and the command."""

from __future__ import annotations

import shlex

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtp.chain import Prepared
from llmtp.cli.words import summary
from llmtp.plan.memory import Parts
from llmtp.text import clean
from llmtp.units import format_bytes

_ROWS = (
    ("weights", "weights", "exact"),
    ("KV cache", "kv", "exact"),
    ("compute", "compute", "estimate"),
    ("drafter", "draft", "estimate"),
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
    console.print(
        f"• engine {prepared.engine.path} ({prepared.engine.source})", soft_wrap=True, style="dim"
    )
    model = plan.name if prepared.reference.profile else shlex.quote(clean(str(plan.main.path)))
    console.print(f"\nllmtp run {model} --dry-run prints the command.", style="dim", soft_wrap=True)


def _table(columns: list[tuple[str, Parts, int | None]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for name, _, _ in columns:
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("", style="dim")
    for label, field, source in _ROWS:
        sizes = [format_bytes(getattr(parts, field)) for _, parts, _ in columns]
        table.add_row(label, *sizes, source)
    table.add_row("total", *(format_bytes(p.total) for _, p, _ in columns), "", style="bold")
    table.add_row("free", *(format_bytes(free) for _, _, free in columns), "now")
    return table
