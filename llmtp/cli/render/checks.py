"""The verdict of `check`, as plain text: loading Rich would take longer than the check."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from llmtp.cli.output import paint
from llmtp.gguf.model import ModelFacts
from llmtp.roles import GEMMA4_WIDTHS
from llmtp.text import clean
from llmtp.units import format_bytes
from llmtp.verdict import Checked


def render(checked: Checked) -> str:
    """The two files and the verdict; findings follow on stderr."""
    rows = [
        (role, clean(facts.path.name, 80), _kind(facts), format_bytes(facts.file_bytes))
        for role, facts in (("main", checked.reference.main), ("draft", checked.reference.draft))
        if facts is not None
    ]
    lines = _aligned(rows)
    if max(map(len, lines)) > shutil.get_terminal_size().columns:
        lines = [line for role, *cells in rows for line in (role, *(f"  {one}" for one in cells))]
    word, level = ("compatible", "ok") if checked.compatible else ("rejected", "error")
    lines.append(paint(level, f"{word}: {_verdict(checked.compatible)}", sys.stdout))
    if checked.fetched_bytes:
        lines.append(f"{format_bytes(checked.fetched_bytes)} were read to know that")
    return "\n".join(lines) + "\n"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line a row, its cells below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _verdict(compatible: bool) -> str:
    if compatible:
        return "this drafter belongs to this model"
    return "the engine would abort, refuse, or draft nothing useful with this pair"


def _kind(facts: ModelFacts) -> str:
    width = facts.text and (facts.text.target_width or facts.text.width)
    size = GEMMA4_WIDTHS.get(width or 0)
    words = [facts.architecture or "", *([f"of {size}"] if size else []), facts.quant or ""]
    return " ".join(filter(None, words))
