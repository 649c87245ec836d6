"""`llmtp bug-report`: everything about a server in one file that can be read and sent."""

from __future__ import annotations

from typing import Annotated

import typer

from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt
from llmtp.errors import NotFoundError


def command(
    ctx: typer.Context,
    server: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="A server, running or ended. Default: the newest."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="A new file, or - for stdout."),
    ] = None,
    _json: JsonOpt = False,
) -> None:
    """Write a report for a bug: build, command, machine, headers, plan, log, nothing private."""
    import os

    from llmtp.report.build import make_report
    from llmtp.report.file import place_for, write_new
    from llmtp.server.registry import newest

    env: Env = ctx.obj
    try:
        entry = newest(server)
    except NotFoundError:
        if server is not None:
            raise
        entry = None  # no server was ever started: the machine may be the news
    report = make_report(entry, os.environ)
    path = None if out == "-" else place_for(out, entry.id if entry else None)
    if path is not None:
        write_new(path, report.text)
    human = report.text if path is None else f"{path}\n"
    env.out.result(report.to_dict(path), [], human)
    env.out.say(report.left_out())
