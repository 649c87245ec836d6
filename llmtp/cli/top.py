"""`llmtp top`: watch a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from llmtp.cli import complete
from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt, QuietOpt

ServerArg = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID or URL]",
        autocompletion=complete.servers,
        help="A server of ours, as `llmtp ps` names it, or any llama-server or vLLM: "
        "http://HOST:PORT.",
    ),
]
OnceOpt = Annotated[bool, typer.Option("--once", help="Look for a second, print it, and exit.")]
PlainOpt = Annotated[bool, typer.Option("--no-live", help="Plain lines instead of a live view.")]
KeyFileOpt = Annotated[
    Path | None,
    typer.Option("--api-key-file", metavar="FILE", help="The key of the server at a URL."),
]


def command(
    ctx: typer.Context,
    server: ServerArg = None,
    once: OnceOpt = False,
    no_live: PlainOpt = False,
    api_key_file: KeyFileOpt = None,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Watch a server: speed, acceptance, memory, and which n-max would have been faster."""
    from contextlib import closing

    from llmtp.cli import watching
    from llmtp.watch import follow, open_watch

    env: Env = ctx.obj
    with closing(open_watch(server, api_key_file)) as watch:
        if once:
            watching.show_once(env.out, watch)
            return
        with watching.choose(env.out, live=not no_live and sys.stdout.isatty()) as view:
            follow(watch, view.show)
        env.out.say("the server has ended")
