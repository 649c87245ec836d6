"""`llmtp ps`, `stop`, `logs`, `wait` and `env`: the servers that llmtp runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from llmtp.cli import complete
from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt, QuietOpt
from llmtp.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

IdArg = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]", help="A server, as `llmtp ps` names it.", autocompletion=complete.servers
    ),
]
KnownArg = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]",
        help="A server, as `llmtp ps` names it.",
        autocompletion=complete.known_servers,
    ),
]


def ps_command(
    ctx: typer.Context,
    all_too: Annotated[bool, typer.Option("--all", "-a", help="Also those that ended.")] = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Show the servers that run."""
    from llmtp.server.standing import Standing, survey

    def draw(console: Console) -> None:
        from llmtp.cli.render import servers

        servers.render(console, shown)

    env: Env = ctx.obj
    known, unreadable = survey()
    shown = [one for one in known if all_too or one.standing is not Standing.OVER]
    data = {"servers": [one.to_dict() for one in shown]}
    findings = [one.finding() for one in unreadable]
    findings += [finding for one in shown for finding in one.findings()]
    env.out.result(data, findings, draw)


def stop_command(
    ctx: typer.Context,
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID|all]",
            autocompletion=complete.servers,
            help="A server, as `llmtp ps` names it, or all.",
        ),
    ] = None,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Stop a server, once its requests ended; a second stop does not wait for them."""
    from llmtp.cli.words import waiting_line
    from llmtp.server.ending import stop
    from llmtp.server.standing import find_known, live

    env: Env = ctx.obj
    chosen = live() if which == "all" else [find_known(which)]
    stopped = []
    for one in stop(chosen, lambda entry: env.out.say(waiting_line(entry))):
        stopped.append(one.to_dict())
        env.out.say(f"{one.entry.id} {one.how}")
    if not stopped:
        env.out.say("no server runs")
    env.out.result({"stopped": stopped}, (), "")


def logs_command(
    ctx: typer.Context,
    name: KnownArg = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Print the log of a server, running or ended."""
    from llmtp.server.following import follow_log, log_lines
    from llmtp.server.standing import newest_known
    from llmtp.text import clean

    out = ctx.obj.out
    known = newest_known(name)
    if not follow and out.as_json:
        lines = [clean(line, len(line)) for line in log_lines(known.entry)]
        data = {"id": known.entry.id, "log": str(known.entry.log), "lines": lines}
        out.envelope(data, ExitCode.OK)
        return
    for line in follow_log(known) if follow else log_lines(known.entry):
        shown = clean(line, len(line))
        if out.lines:
            out.line({"event": "line", "at": time.time(), "line": shown})
        else:
            out.data(shown + "\n")


def wait_command(
    ctx: typer.Context, name: KnownArg = None, _quiet: QuietOpt = False, _json: JsonOpt = False
) -> None:
    """Wait until a server has ended, and exit as it did."""
    from llmtp.server.ending import wait
    from llmtp.server.standing import newest_known

    entry = wait(newest_known(name))
    data = {"id": entry.id, "ended_at": entry.ended_at, "restarts": entry.restarts}
    ctx.obj.out.result(data, (), f"{entry.id} has ended\n")


def env_command(
    ctx: typer.Context, name: IdArg = None, _quiet: QuietOpt = False, _json: JsonOpt = False
) -> None:
    """Print what clients need in their environment, for: eval "$(llmtp env ID)"."""
    from llmtp.server.access import client_exports
    from llmtp.server.standing import find_known, reachable

    entry = reachable(find_known(name).entry)
    key_file = str(entry.api_key_file) if entry.api_key_file else None
    data = {"id": entry.id, "OPENAI_BASE_URL": f"{entry.url}/v1", "api_key_file": key_file}
    out = ctx.obj.out
    out.result(data, (), out.exact(client_exports(entry.url, entry.api_key_file)))
