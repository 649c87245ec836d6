"""`llmtp check`: the verdict on a pair."""

from __future__ import annotations

from typing import Annotated

import typer

from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt
from llmtp.errors import ExitCode, UsageError


def command(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A profile, a .gguf file, or hf:OWNER/REPO[:QUANT]."),
    ],
    draft: Annotated[
        str | None,
        typer.Argument(
            metavar="[DRAFT]", help="The drafter, as MODEL. Default: the one that run would use."
        ),
    ] = None,
    _json: JsonOpt = False,
) -> None:
    """Do these two files belong together? Known from their headers, before a download."""
    from llmtp.cli.render import checks
    from llmtp.verdict import check

    env: Env = ctx.obj
    if draft == "off":
        raise UsageError("there is nothing to check without a drafter", fix="leave out: off")
    checked = check(model, draft or "auto", remote=True)
    code = ExitCode.OK if checked.compatible else ExitCode.PAIR_REJECTED
    env.out.result(checked.to_dict(), checked.findings, checks.render(checked), code)
    raise typer.Exit(code)
