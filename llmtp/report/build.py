"""Gathers everything of a server and makes one report of it; what cannot be had is said there."""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtp import __version__
from llmtp.engine.kinds import LLAMA_SERVER
from llmtp.engine.speech import Speech
from llmtp.engines import kind_named, kind_of
from llmtp.metrics.use import lent_by_worker
from llmtp.report import sections
from llmtp.report.command import command_lines
from llmtp.report.engines import candidate_lines, version_lines
from llmtp.report.logtail import Chosen, choose
from llmtp.report.markdown import Section, render, shown
from llmtp.report.models import model_lines
from llmtp.report.private import find_private
from llmtp.report.redaction import Redaction
from llmtp.report.system import system_lines, variable_lines
from llmtp.server.entry import Entry
from llmtp.server.log import older_log

#: GitHub takes issues of 65,536 characters, and who sends it writes some too.
MOST_CHARACTERS = 60_000
_MOST_LOG_CHARACTERS = 30_000
_RESERVE = 800
_LOG_LINE = 500
_MOST_LOG_BYTES = 16 << 20
_MOST_LOG_LINE = 16 << 10


@dataclass(frozen=True, slots=True)
class Report:
    """`redactions` counts by kind; `lines_left_out` are those of the log."""

    text: str
    sections: tuple[str, ...]
    redactions: Mapping[str, int]
    lines_left_out: int

    def left_out(self) -> str:
        """Words for who will send it."""
        log = f"; {self.lines_left_out:,} lines of the log" if self.lines_left_out else ""
        return f"left out: {_told(self.redactions)}{log}\nread it before you send it"

    def to_dict(self, path: Path | None) -> dict[str, Any]:
        """The `data` of `bug-report --json`; where no file was written the text is in it."""
        return {
            "path": None if path is None else str(path),
            "bytes": len(self.text.encode("utf-8", "replace")),
            "sections": list(self.sections),
            "redactions": dict(self.redactions),
            "lines_left_out": self.lines_left_out,
            "text": self.text if path is None else None,
        }


def make_report(entry: Entry | None, environ: Mapping[str, str], state: str) -> Report:
    """The report of a server, running or ended; without one, of the engines and the machine.

    `state` is that of the server as it stands, whatever its entry says.
    """
    models = _models(entry)
    key_file = entry.api_key_file if entry else None
    workers = lent_by_worker(entry.plan) if entry else ()
    redact = Redaction(find_private(environ, tuple(models.values()), key_file, workers))
    made = [sections.happened(entry, state), _build(entry)]
    if entry is not None:
        made.append(_command(entry, redact))
    made.append(Section("system", "System", tuple(system_lines())))
    made += [_model(role, path) for role, path in models.items()]
    if entry is not None:
        made.append(sections.plan_of(entry))
    variables = tuple(variable_lines(environ, redact)) or ("none is set",)
    intro = "As they are where this report was made."
    made.append(Section("environment", "Variables", variables, intro, most_characters=5000))
    head = _head(redact(sections.title(entry, state)))
    parts = [head, *(render(section, redact) for section in made)]
    left_out = 0
    if entry is not None:
        room = MOST_CHARACTERS - sum(map(len, parts)) - _RESERVE
        room = min(room, _MOST_LOG_CHARACTERS)
        log, left_out = _log(entry.log, kind_of(entry).speech, redact, room)
        made.append(log)
        parts.append(render(log, redact))
    counts = dict(sorted(redact.counts.items()))
    parts.append(_foot(counts))
    return Report("\n".join(parts), tuple(one.name for one in made), counts, left_out)


def _head(title: str) -> str:
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return (
        f"# {title}\n\n"
        "**What I did, what I expected, and what I saw:** (please write it here)\n\n"
        f"llmtp {__version__}, Python {platform.python_version()}, {made}\n"
    )


def _foot(counts: Mapping[str, int]) -> str:
    return f"Left out as private: {_told(counts)}.\n"


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "nothing"


def _models(entry: Entry | None) -> dict[str, Path]:
    plan = entry.plan if entry else {}
    named = {role: plan.get(role) for role in sections.MODELS}
    folder = Path(str(plan.get("folder", "")))
    return {role: folder / path for role, path in named.items() if isinstance(path, str) and path}


def _model(role: str, path: Path) -> Section:
    lines = tuple(model_lines(role, path))
    title = {"main": "Main model", "draft": "Drafter", "mmproj": "Vision projector"}[role]
    return Section(role, title, lines, most_characters=7000, line_characters=240, is_folded=True)


def _argv(entry: Entry) -> list[str]:
    argv = entry.plan.get("argv")
    return [str(word) for word in argv] if isinstance(argv, list) else []


def _env(entry: Entry) -> dict[str, str | None]:
    env = entry.plan.get("env")
    pairs = env.items() if isinstance(env, dict) else ()
    return {str(name): None if value is None else str(value) for name, value in pairs}


def _build(entry: Entry | None) -> Section:
    if entry is None:
        lines = tuple(candidate_lines())
    else:
        argv = _argv(entry)
        lines = tuple(_version(entry, argv[0])) if argv else ("no build was chosen",)
    product = kind_named(LLAMA_SERVER).product if entry is None else kind_of(entry).product
    return Section("build", f"Build of {product}", lines, keeps_folders=True)


def _version(entry: Entry, program: str) -> Iterable[str]:
    known = kind_of(entry).version(Path(program))
    return [f"{program}: {known}"] if known else version_lines(program, _env(entry))


def _command(entry: Entry, redact: Redaction) -> Section:
    argv = _argv(entry)
    lines = tuple(command_lines(argv, _env(entry), redact)) if argv else ("# there was none",)
    is_relative = any(not Path(str(entry.plan.get(role))).is_absolute() for role in _models(entry))
    intro = sections.COMMAND_INTRO + (sections.FROM_THERE if is_relative else "")
    return Section(
        "command", "Command", lines, intro, "sh",
        most_characters=8000, line_characters=4000, keeps_folders=True,
    )  # fmt: skip


def _log(
    path: Path | None, speech: Speech, redact: Redaction, most_characters: int
) -> tuple[Section, int]:
    """The log, and how many of its lines are not in it."""
    if path is None:
        return Section("log", "Log", ("[its engine was not started]",)), 0
    try:
        raw, from_start = _read_log(path)
    except OSError as error:
        return Section("log", "Log", (f"[the log cannot be read: {error.strerror}]",)), 0
    lines = list(speech.without_requests(raw, from_start=from_start))

    def show(line: str) -> str:
        return shown(line, redact, _LOG_LINE)

    chosen: Chosen = choose(
        lines,
        lambda line: speech.is_about(line) or speech.is_telling(line),
        show,
        most_characters,
    )
    intro = "What quotes requests, templates or metadata is not in it."
    return (
        Section(
            "log",
            "Log",
            chosen.lines or ("[it is empty]",),
            intro,
            most_characters=2 * most_characters,
            line_characters=_LOG_LINE,
            is_folded=True,
        ),
        chosen.left_out,
    )


def _read_log(path: Path) -> tuple[list[bytes], bool]:
    """The last lines of both parts, and whether they begin where the server began."""
    older = older_log(path)
    kept: deque[bytes] = deque()
    room, from_start = _MOST_LOG_BYTES, not older.exists()
    for part in (path, older):
        if room <= 0 or not part.is_file():
            if part is path:
                raise FileNotFoundError(2, "it is gone, or is no file")
            continue
        with part.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - room, 0))
            from_start = from_start and size <= room
            lines = file.read(room).split(b"\n")
        room -= size
        kept.extendleft(line[:_MOST_LOG_LINE] for line in reversed(lines) if line)
    return list(kept), from_start
