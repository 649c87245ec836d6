"""`llmtp worker`: lend this machine's devices to a llama-server on another one."""

from __future__ import annotations

from typing import Annotated

import typer

from llmtp.cli.env import Env
from llmtp.cli.options import EngineOpt, JsonOpt, QuietOpt
from llmtp.config import LOOPBACK
from llmtp.machine.workers import PORT

HostOpt = Annotated[
    str,
    typer.Option(
        "--host",
        metavar="ADDRESS|INTERFACE",
        help="The one network to listen in: its address here, or eth0. Default: this machine only.",
    ),
]
PortOpt = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port.")]
ThreadsOpt = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", min=1, max=1024, help="Of the CPU. Default: one a core."
    ),
]
CacheOpt = Annotated[
    bool,
    typer.Option(
        "--cache", help="Keep what is sent on this disk: the next start of that model sends less."
    ),
]


def command(
    ctx: typer.Context,
    host: HostOpt = LOOPBACK,
    port: PortOpt = PORT,
    threads: ThreadsOpt = None,
    cache: CacheOpt = False,
    engine: EngineOpt = None,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Lend GPUs, or the CPU, to `llmtp run --rpc` on another machine; Ctrl-C stops it."""
    from llmtp.cli import views, wishes
    from llmtp.lending import exposure, keep_lending

    env: Env = ctx.obj
    lent = wishes.lent(host, port, threads, engine, keeps=cache)
    env.out.finding(exposure(lent))
    with views.choose(env.out, live=False, once=False) as view:
        keep_lending(lent, view)
