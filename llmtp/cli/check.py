"""`llmtp check`: the verdict on a pair."""

from __future__ import annotations

from typing import Annotated

import typer

from llmtp.cli import complete
from llmtp.cli.env import Env
from llmtp.cli.options import EngineOpt, JsonOpt, ModelArg, OfflineOpt, QuantOpt, QuietOpt
from llmtp.errors import ExitCode, UsageError


def command(
    ctx: typer.Context,
    model: ModelArg,
    draft: Annotated[
        str | None,
        typer.Argument(
            metavar="[DRAFT]",
            autocompletion=complete.drafters,
            help="The drafter, as MODEL. Default: the one that run would use.",
        ),
    ] = None,
    quant: QuantOpt = None,
    engine: EngineOpt = None,
    offline: OfflineOpt = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Do these two files belong together? Known from their headers, before a download."""
    from llmtp.cli.asked import files_asked
    from llmtp.cli.render import checks
    from llmtp.engines import kind_for

    env: Env = ctx.obj
    if draft == "off":
        raise UsageError("there is nothing to check without a drafter", fix="leave out: off")
    asked = files_asked(model, "auto" if draft is None else draft, quant, "off", offline)
    checked = kind_for(engine, model).check(asked)
    code = ExitCode.OK if checked.compatible else ExitCode.PAIR_REJECTED
    env.out.result(checked.to_dict(), checked.findings, checks.render(checked), code)
    raise typer.Exit(code)
