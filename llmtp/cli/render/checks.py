"""The verdict of `check`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from llmtp.gguf.facts import ModelFacts
from llmtp.roles import GEMMA4_WIDTHS
from llmtp.text import clean
from llmtp.units import format_bytes
from llmtp.verdict import Checked


def render(console: Console, checked: Checked) -> None:
    """The two files and the verdict; findings follow on stderr."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for role, facts in (("main", checked.reference.main), ("draft", checked.reference.draft)):
        if facts is not None:
            table.add_row(
                role, clean(facts.path.name, 80), _kind(facts), format_bytes(facts.file_bytes)
            )
    console.print(table)
    word, style = ("compatible", "green") if checked.compatible else ("rejected", "red")
    console.print(f"{word}: {_verdict(checked.compatible)}", style=style)
    fetched = checked.reference.fetched_bytes
    if fetched:
        console.print(f"{format_bytes(fetched)} were read to know that", style="dim")


def _verdict(compatible: bool) -> str:
    if compatible:
        return "this drafter belongs to this model"
    return "llama-server would abort, refuse, or draft nothing useful with this pair"


def _kind(facts: ModelFacts) -> str:
    width = facts.text and (facts.text.target_width or facts.text.width)
    size = GEMMA4_WIDTHS.get(width or 0)
    words = [facts.architecture, *([f"of {size}"] if size else []), facts.quant or ""]
    return " ".join(filter(None, words))
