"""`llmtp pull`: a pair onto this disk, whole and proved."""

from __future__ import annotations

import typer

from llmtp.cli.env import Env
from llmtp.cli.options import (
    DraftOpt,
    EngineOpt,
    JsonOpt,
    MmprojOpt,
    ModelArg,
    OfflineOpt,
    QuantOpt,
    QuietOpt,
)


def command(
    ctx: typer.Context,
    model: ModelArg,
    quant: QuantOpt = None,
    draft: DraftOpt = "auto",
    mmproj: MmprojOpt = "off",
    engine: EngineOpt = None,
    offline: OfflineOpt = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Download a model and its drafter, or go on where it stopped; prove what is there."""
    from llmtp import chain
    from llmtp.cli import views
    from llmtp.cli.asked import files_asked
    from llmtp.cli.words import pulled_lines

    env: Env = ctx.obj
    asked = files_asked(model, draft, quant, mmproj, offline)
    with views.for_download(env.out) as view:
        watch = chain.Watch(note=view.note, progress=view.downloading)
        pulled = chain.pull(asked, engine, watch)
    env.out.result(pulled.to_dict(), pulled.findings, pulled_lines(pulled))
