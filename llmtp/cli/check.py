"""`llmtp check`: the verdict on a pair."""

from __future__ import annotations

from typing import Annotated

import typer

from llmtp.cli.options import JsonOpt, ModelArg
from llmtp.cli.output import Out
from llmtp.errors import ExitCode


def command(
    ctx: typer.Context,
    model: ModelArg,
    draft: Annotated[
        str | None,
        typer.Argument(metavar="[DRAFT]", help="The drafter. Default: the one that run would use."),
    ] = None,
    _json: JsonOpt = False,
) -> None:
    """Do these two files belong together? Known from their headers."""
    from llmtp import chain
    from llmtp.cli.render import checks
    from llmtp.pairing import is_compatible

    out: Out = ctx.obj
    checked = chain.check(model, draft or "auto")
    compatible = is_compatible(list(checked.findings))
    code = ExitCode.OK if compatible else ExitCode.PAIR_REJECTED
    data = checks.to_data(checked, compatible)
    out.result(data, checked.findings, lambda c: checks.render(c, checked, compatible), code)
    raise typer.Exit(code)
