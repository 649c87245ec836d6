"""`llmtp plan`: what run would do, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

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
    RpcOpt,
    StrictOpt,
)

if TYPE_CHECKING:
    from rich.console import Console

    from llmtp import chain
    from llmtp.cli.output import Out
    from llmtp.machine.devices import Device
    from llmtp.plan.wishes import Wishes
    from llmtp.users import Sizing

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
UsersOpt = Annotated[
    int | None,
    typer.Option(
        "--users",
        metavar="N",
        help="What do so many users take? Engine, cards, and what MTP gains.",
    ),
]
CtxPerUserOpt = Annotated[
    str | None,
    typer.Option(
        "--ctx-per-user",
        metavar="N",
        help="Context of each user (8192, 16k), with --users. Default: 8k.",
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
    rpc: RpcOpt = None,
    vram: VramOpt = None,
    backend: BackendOpt = None,
    users: UsersOpt = None,
    ctx_per_user: CtxPerUserOpt = None,
    offline: OfflineOpt = False,
    _verbose: LastStartOpt = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Show memory by part, context, n-max and the command, without starting anything."""
    from llmtp import chain
    from llmtp.cli import on_paper, wishes
    from llmtp.cli.asked import files_asked
    from llmtp.engine.kinds import LLAMA_SERVER

    env: Env = ctx.obj
    demand = on_paper.demand(users, ctx_per_user, ctx_size, parallel, engine)
    if demand is not None:
        engine = engine or LLAMA_SERVER  # sizing counts for both, whatever the profile says
    asked = files_asked(model, draft, quant, mmproj, offline)
    wanted = wishes.plan_wishes(
        ctx_size, n_max, asked.draft, kv_type, parallel, margin, strict, rpc
    )
    cards = on_paper.imagined_cards(vram, backend, with_workers=rpc is not None)

    def prepare(wanted: Wishes, cards: Sequence[Device] | None) -> chain.Prepared:
        serving = on_paper.ANY_SERVING
        return chain.prepare(asked, wanted, serving, engine, cards=cards, survey=True)

    if demand is not None:
        from llmtp.users import size_up

        _show_sizing(env.out, *size_up(demand, asked, wanted, cards, prepare))
    else:
        _show_plan(env.out, prepare(wanted, cards))


def _show_sizing(out: Out, prepared: chain.Prepared, sizing: Sizing) -> None:
    def draw(console: Console) -> None:
        from llmtp.cli.render import users

        users.render(console, prepared.plan.name, sizing)

    data = prepared.to_dict() | {"sizing": sizing.to_dict()}
    out.result(data, sizing.findings(prepared), draw)


def _show_plan(out: Out, prepared: chain.Prepared) -> None:
    def draw(console: Console) -> None:
        from llmtp.cli.render import plans

        plans.render(console, prepared, verbose=out.verbose)

    out.result(prepared.to_dict() | {"sizing": None}, prepared.findings, draw)
