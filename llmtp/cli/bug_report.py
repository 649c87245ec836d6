"""`llmtp bug-report`: everything about a server in one file that can be read and sent."""

from __future__ import annotations

from typing import Annotated

import typer

from llmtp.cli import complete
from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt, QuietOpt
from llmtp.errors import NotFoundError


def command(
    ctx: typer.Context,
    server: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            autocompletion=complete.known_servers,
            help="A server. Default: the one that runs, or the last that did.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", help="A new file, or - for stdout."),
    ] = None,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Write a report for a bug: build, command, machine, headers, plan, log, nothing private."""
    import os

    from llmtp.report.build import make_report
    from llmtp.report.file import place_for, write_new
    from llmtp.server.standing import newest_known

    env: Env = ctx.obj
    try:
        known = newest_known(server)
    except NotFoundError:
        if server is not None:
            raise
        known = None  # no server was ever started: the machine may be the news
    report = make_report(known.entry if known else None, os.environ, known.state if known else "")
    path = None if out == "-" else place_for(out, known.entry.id if known else None)
    if path is not None:
        write_new(path, report.text)
    human = report.text if path is None else f"{path}\n"
    env.out.result(report.to_dict(path), [], human)
    env.out.say(report.left_out())
