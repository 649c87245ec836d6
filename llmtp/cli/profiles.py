"""`llmtp profiles`: which names there are, what is behind one, and are their files right."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmtp.cli import complete
from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt, QuietOpt
from llmtp.errors import ExitCode, Finding, LlmtpError
from llmtp.text import clean

if TYPE_CHECKING:
    from llmtp.profiles import Profile, Source

_LEAST_WIDTH, _LEAST_ROOM = 40, 16
_MOST_WIDTH = 120

app = typer.Typer(
    help="Show the names that can be run, and check your own.",
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def listing(ctx: typer.Context, _quiet: QuietOpt = False, _json: JsonOpt = False) -> None:
    """The names that can be run: those that come with llmtp, and yours."""
    if ctx.invoked_subcommand is not None:
        return
    from llmtp import profiles

    env: Env = ctx.obj
    read = [_read(str(profiles.find_profile(name))) for name in profiles.profile_names()]
    rows = [(one.name, one.origin, one.description) for one in read]
    findings = [replace(f, level="warning") for one in read for f in one.errors]
    env.out.result({"profiles": [one.to_dict() for one in read]}, findings, _table(rows))


@app.command("show")
def show(
    ctx: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", autocompletion=complete.profile_files, help="A profile, or a YAML file."
        ),
    ],
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Show what is behind a name. Its repositories, quants, sampling and notes."""
    from llmtp.profiles import load_profile_file

    env: Env = ctx.obj
    profile = load_profile_file(_file(name))
    env.out.result(profile.to_dict(), [], _shown(profile))


@app.command("validate")
def validate(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME_OR_FILE]...",
            autocompletion=complete.profile_files,
            help="Default: all, shipped and yours.",
        ),
    ] = None,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Check profiles. Every error names its file, line and field."""
    from llmtp.profiles import profile_files

    env: Env = ctx.obj
    read = [_read(name) for name in names or map(str, profile_files())]
    findings = [finding for one in read for finding in one.errors]
    code = min((one.code for one in read if one.errors), default=ExitCode.OK)
    words = [
        ("valid" if one.valid else "wrong", one.name, clean(str(one.path or "no such name"), 300))
        for one in read
    ]
    data = {"profiles": [one.to_dict() for one in read]}
    env.out.result(data, findings, _lines(words), code)
    raise typer.Exit(code)


@app.command("path")
def path(ctx: typer.Context, _quiet: QuietOpt = False, _json: JsonOpt = False) -> None:
    """Print the folder for your own profiles. One there replaces a shipped one of its name."""
    from llmtp.profiles import user_dir

    env: Env = ctx.obj
    env.out.result({"path": str(user_dir())}, [], f"{user_dir()}\n")


@dataclass(frozen=True, slots=True)
class _Read:
    """One file that was tried; `path` is None where there is none of that name."""

    name: str
    path: Path | None
    origin: str
    description: str
    errors: tuple[Finding, ...] = ()
    code: ExitCode = ExitCode.OK

    @property
    def valid(self) -> bool:
        return not self.errors

    def to_dict(self) -> dict[str, str | bool | None]:
        return {
            "name": self.name,
            "origin": self.origin,
            "path": str(self.path) if self.path else None,
            "description": self.description if self.valid else None,
            "valid": self.valid,
        }


def _read(name: str) -> _Read:
    """Try a profile; one that is wrong must not hide the others."""
    from llmtp.profiles import load_profile_file, origin

    path = None
    try:
        path = _file(name)
        profile = load_profile_file(path)
    except LlmtpError as error:
        known, where = (path.stem, origin(path)) if path else (name, "yours")
        known = clean(known, 60)
        words = f"is wrong: llmtp profiles validate {known}"
        return _Read(known, path, where, words, tuple(error.findings), error.exit_code)
    return _Read(clean(profile.name, 60), path, profile.origin, profile.description)


def _file(name: str) -> Path:
    """A path, or the file of a profile."""
    from llmtp import paths
    from llmtp.profiles import find_profile

    if os.sep in name or name.endswith((".yaml", ".yml")):
        return paths.typed(name)
    return find_profile(name)


def _shown(profile: Profile) -> str:
    sampling = [
        f"{name} {value}"
        for name in ("temp", "top_k", "top_p")
        if (value := getattr(profile.sampling, name)) is not None
    ]
    vllm = profile.vllm
    rows = [
        ("about", profile.description),
        ("notes", profile.notes),
        ("main", profile.main and str(profile.main)),
        ("draft", profile.draft and str(profile.draft)),
        ("n-max", None if profile.n_max is None else str(profile.n_max or "off")),
        ("sampling", ", ".join(sampling)),
        ("vllm", vllm and vllm.model),
        ("", vllm and f"{vllm.assistant} (drafter)"),
        ("", vllm and vllm.quantised and f"{vllm.quantised} (quantised)"),
        ("file", f"{profile.source} ({profile.origin})"),
    ]
    text = f"{clean(profile.name, 60)}\n" + _table([(a, b) for a, b in rows if b], indent=2)
    if profile.sources:
        text += "\n  sources, best first\n" + "".join(map(_source, profile.sources))
    return text


def _source(source: Source) -> str:
    """Its name, with the quants below it: both are too long for one line."""
    traits = [
        word for word, there in (("QAT", source.qat), ("has drafters", bool(source.draft))) if there
    ]
    revision = f"@{source.repository.revision}" if source.repository.revision else ""
    traits_shown = f" ({', '.join(traits)})" if traits else ""
    head = f"    {source.repository.repo_id}{revision}{traits_shown}\n"
    return head + _table([("", ", ".join(source.quants) or "no main models")], indent=4)


def _table(rows: Sequence[tuple[str, ...]], indent: int = 0) -> str:
    """Aligned columns; the last one wraps inside its own."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return "".join(_wrapped(row, widths, " " * indent) for row in rows)


def _wrapped(row: tuple[str, ...], widths: list[int], indent: str) -> str:
    columns = min(max(shutil.get_terminal_size().columns, _LEAST_WIDTH), _MOST_WIDTH)
    cells = zip(row[:-1], widths, strict=True)
    first = indent + "".join(f"{cell.ljust(width)}  " for cell, width in cells)
    text = clean(" ".join(row[-1].split()), 2000)
    is_narrow = columns - len(first) < _LEAST_ROOM
    room = columns - (len(indent) + 2 if is_narrow else len(first))
    wrapped = textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False)
    if is_narrow:
        lines = (first.rstrip(), *(f"{indent}  {line}" for line in wrapped))
        return "".join(f"{line}\n" for line in lines)
    return "".join(f"{line}\n" for line in _hung(first, wrapped or [""]))


def _hung(first: str, lines: list[str]) -> Iterator[str]:
    """The lines of one cell behind what stands before its first."""
    for place, line in enumerate(lines):
        yield (first + line if place == 0 else " " * len(first) + line).rstrip()


def _lines(rows: Sequence[tuple[str, ...]]) -> str:
    """Aligned columns, one line each however long, for grep."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)
