"""`llmtp list` and `llmtp rm`: what is on disk, and what shall not be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmtp.cli import complete
from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt, QuietOpt
from llmtp.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

UnusedOpt = Annotated[
    bool, typer.Option("--unused", help="Only what no model of the last runs and pulls needs.")
]


def list_command(
    ctx: typer.Context, unused: UnusedOpt = False, _quiet: QuietOpt = False, _json: JsonOpt = False
) -> None:
    """Show models, drafters and unfinished downloads on this disk."""
    from llmtp.hub import cache
    from llmtp.hub.shelf import disk_bytes, read_shelf

    def draw(console: Console) -> None:
        from llmtp.cli.render import shelves

        shelves.render(console, shelf, total, free)

    env: Env = ctx.obj
    shelf = [stored for stored in read_shelf() if stored.is_unused or not unused]
    total, free = disk_bytes(shelf), cache.free_bytes()
    data = {
        "files": [stored.to_dict() for stored in shelf],
        "total_bytes": total,
        "free_bytes": free,
    }
    env.out.result(data, (), draw)


def rm_command(
    ctx: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WHAT]...",
            autocompletion=complete.models,
            help="A model, hf:OWNER/REPO[:QUANT], or a file.",
        ),
    ] = None,
    unused: UnusedOpt = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Delete files of models from this disk, after asking."""
    from llmtp.cli.words import doomed_lines
    from llmtp.hub.remove import find_stored, removable, remove
    from llmtp.hub.shelf import disk_bytes, read_shelf
    from llmtp.units import format_bytes

    env: Env = ctx.obj
    if bool(what) == unused:
        raise UsageError(
            "rm needs to know what", expected="WHAT or --unused", fix="see it with: llmtp list"
        )
    shelf, named = read_shelf(), what or []
    if unused:
        doomed, findings = removable([stored for stored in shelf if stored.is_unused])
        for finding in findings:
            env.out.finding(finding)
    else:
        found = [stored for one in named for stored in find_stored(shelf, one)]
        doomed = [stored for stored in shelf if stored in found]
    tell = env.out.say if yes else env.out.must_say  # who is asked has to know
    tell(doomed_lines(doomed, named))
    if doomed and not yes:
        kept = [stored for stored in shelf if stored not in doomed]
        count = f"{len(doomed)} file{'' if len(doomed) == 1 else 's'}"
        freed = format_bytes(disk_bytes(shelf) - disk_bytes(kept))
        _ask(env, f"delete {count} and free {freed}?")
    freed_bytes = remove(doomed)
    data = {"removed": [stored.to_dict() for stored in doomed], "freed_bytes": freed_bytes}
    env.out.result(data, (), f"freed {format_bytes(freed_bytes)}\n")


def _ask(env: Env, question: str) -> None:
    """Go on for a `y` only."""
    if env.out.as_json or sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", rule="confirm", fix="add --yes")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    # Bytes: an answer that is no text is a no, too.
    if sys.stdin.buffer.readline().strip().lower() not in (b"y", b"yes"):
        env.out.say("nothing was deleted")
        raise typer.Exit
