"""`llmtp doctor`: what is this machine, what will run on it, and what to fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt, QuietOpt, RpcOpt

if TYPE_CHECKING:
    from rich.console import Console


def command(
    ctx: typer.Context, rpc: RpcOpt = None, _quiet: QuietOpt = False, _json: JsonOpt = False
) -> None:
    """What is this machine, what will run on it, and what to type where it is not right."""
    import os

    from llmtp.doctor.examine import examine
    from llmtp.machine.workers import parse_workers

    def draw(console: Console) -> None:
        from llmtp.cli.render import doctors

        doctors.render(console, report, rpc or "")

    env: Env = ctx.obj
    report = examine(os.environ, env.out.say, parse_workers(rpc))
    code = report.exit_code
    data = report.to_dict()
    env.out.result(data, report.findings() if env.out.as_json else (), draw, code)
    raise typer.Exit(code)
