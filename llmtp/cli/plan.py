"""`llmtp plan`: what run would do, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from llmtp.cli.env import Env
from llmtp.cli.options import (
    CtxOpt,
    DraftOpt,
    EngineOpt,
    JsonOpt,
    KvTypeOpt,
    LastStartOpt,
    MarginOpt,
    MmprojOpt,
    ModelArg,
    NMaxOpt,
    OfflineOpt,
    ParallelOpt,
    QuantOpt,
    QuietOpt,
    StrictOpt,
)

VramOpt = Annotated[
    str | None,
    typer.Option(
        "--vram",
        metavar="SIZE|CARD[,...]",
        help="Plan for empty cards of this size (80GiB) or name (H100) instead of yours.",
    ),
]
BackendOpt = Annotated[
    str | None,
    typer.Option(
        "--backend", metavar="NAME", help="Back end of --vram: cuda, vulkan, metal, rocm."
    ),
]


def command(
    ctx: typer.Context,
    model: ModelArg,
    quant: QuantOpt = None,
    draft: DraftOpt = "auto",
    ctx_size: CtxOpt = "auto",
    n_max: NMaxOpt = "auto",
    kv_type: KvTypeOpt = None,
    parallel: ParallelOpt = None,
    margin: MarginOpt = None,
    mmproj: MmprojOpt = "off",
    engine: EngineOpt = None,
    strict: StrictOpt = False,
    vram: VramOpt = None,
    backend: BackendOpt = None,
    offline: OfflineOpt = False,
    _verbose: LastStartOpt = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Show memory by part, context, n-max and the command, without starting anything."""
    from llmtp import chain
    from llmtp.cli import wishes
    from llmtp.cli.asked import files_asked
    from llmtp.cli.render import plans

    env: Env = ctx.obj
    asked = files_asked(model, draft, quant, mmproj, offline)
    prepared = chain.prepare(
        asked,
        wishes.plan_wishes(ctx_size, n_max, asked.draft, kv_type, parallel, margin, strict),
        wishes.ANY_SERVING,
        engine,
        cards=wishes.imagined_cards(vram, backend),
        survey=True,
    )
    out = env.out
    out.result(
        prepared.to_dict(),
        prepared.findings,
        lambda console: plans.render(console, prepared, verbose=out.verbose),
    )
