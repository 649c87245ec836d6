"""Sections to Markdown that can be pasted into an issue. Pure.

What others wrote (files, engines, users) stands in fences only, which nothing in it can close.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from llmtp.report.redaction import Redaction
from llmtp.text import clean

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_MOST_RAW, _UNSURE = 1 << 13, 1 << 10
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

    It is redacted before it is cut, and of a huge one the end goes, so that no half of a secret is
    left.
    """
    raw = _ANSI.sub("", text[:_MOST_RAW]).expandtabs(4).rstrip("\r\n")
    raw = redact(raw, keeps_folders=keeps_folders)
    put = redact(clean(raw, len(raw)), keeps_folders=keeps_folders)
    if len(text) > _MOST_RAW:
        put = f"{put[:-_UNSURE]}…"
    return clean(put, limit)


def render(section: Section, redact: Redaction) -> str:
    """A section, redacted, within its limits."""
    lines = _within(section, redact)
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


def _within(section: Section, redact: Redaction) -> list[str]:
    """What there is room for; the rest is not even looked at."""
    kept: list[str] = []
    room = section.most_characters
    for raw in section.lines:
        line = shown(raw, redact, section.line_characters, keeps_folders=section.keeps_folders)
        room -= len(line) + 1
        if room < 0:
            return [*kept, f"[{len(section.lines) - len(kept)} more line(s) left out]"]
        kept.append(line)
    return kept
