"""`llmtp doctor`: what is this machine, what will run on it, and what to fix."""

from __future__ import annotations

import typer

from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt, QuietOpt, RpcOpt


def command(
    ctx: typer.Context, rpc: RpcOpt = None, _quiet: QuietOpt = False, _json: JsonOpt = False
) -> None:
    """What is this machine, what will run on it, and what to type where it is not right."""
    import os

    from llmtp.cli.render import doctors
    from llmtp.doctor.examine import examine
    from llmtp.machine.workers import parse_workers

    env: Env = ctx.obj
    report = examine(os.environ, env.out.say, parse_workers(rpc))
    code = report.exit_code
    data = report.to_dict()
    if env.out.as_json:
        env.out.result(data, report.findings(), "", code)
    else:
        env.out.result(data, (), lambda console: doctors.render(console, report, rpc or ""), code)
    raise typer.Exit(code)
