"""Sections to Markdown that can be pasted into an issue. Pure.

What others wrote (files, engines, users) stands in fences only, which nothing in it can close.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmtp.report.redaction import Redaction
from llmtp.text import clean

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_MOST_RAW = 1 << 16
_BACKTICKS = re.compile(r"`+")


@dataclass(frozen=True, slots=True)
class Section:
    """`name` is for scripts; `title` and `intro` are ours, `lines` are not, and are raw.

    Lines are cut at `line_characters`, all together at `most_characters`, from the end.
    """

    name: str
    title: str
    lines: tuple[str, ...]
    intro: str = ""
    language: str = "text"
    most_characters: int = 4000
    line_characters: int = 400
    keeps_folders: bool = False
    is_folded: bool = False


def shown(text: str, redact: Redaction, limit: int, *, keeps_folders: bool = False) -> str:
    """One line of others, without what is private, terminal escapes or control characters.

    It is redacted before it is cut, so that no half of a secret is left.
    """
    raw = redact(text[:_MOST_RAW], keeps_folders=keeps_folders)
    raw = clean(_ANSI.sub("", raw).expandtabs(4).rstrip("\r\n"), _MOST_RAW)
    return clean(redact(raw, keeps_folders=keeps_folders), limit)


def render(section: Section, redact: Redaction) -> str:
    """A section, redacted, within its limits."""
    lines = [
        shown(line, redact, section.line_characters, keeps_folders=section.keeps_folders)
        for line in section.lines
    ]
    lines = _within(lines, section.most_characters)
    fence = fence_for(lines)
    parts = [f"## {section.title}", section.intro]
    block = f"{fence}{section.language}\n" + "".join(f"{line}\n" for line in lines) + fence
    if section.is_folded:
        block = f"<details><summary>{len(lines)} lines</summary>\n\n{block}\n\n</details>"
    if lines:
        parts.append(block)
    return "\n\n".join(part for part in parts if part) + "\n"


def fence_for(lines: Iterable[str]) -> str:
    """Longer than any run of backticks inside."""
    runs = (len(run) for line in lines for run in _BACKTICKS.findall(line))
    return "`" * max(3, 1 + max(runs, default=0))


def _within(lines: Sequence[str], most_characters: int) -> list[str]:
    kept: list[str] = []
    room = most_characters
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            return [*kept, f"[{len(lines) - len(kept)} more line(s) left out]"]
        kept.append(line)
    return kept
