"""`llmtp run`: the whole chain, in the foreground, or for a server that stays."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from llmtp.cli.env import Env
from llmtp.cli.options import (
    ApiKeyFileOpt,
    CtxOpt,
    DraftOpt,
    EngineOpt,
    ExtraArg,
    HostOpt,
    JsonOpt,
    KvTypeOpt,
    MakeKeyOpt,
    MarginOpt,
    MasterOpt,
    MmprojOpt,
    ModelArg,
    NMaxOpt,
    NodeRankOpt,
    NodesOpt,
    OfflineOpt,
    ParallelOpt,
    PortOpt,
    QuantOpt,
    QuietOpt,
    RpcOpt,
    StrictOpt,
    TempOpt,
    VerboseOpt,
)
from llmtp.errors import UsageError
from llmtp.machine.marks import is_detached

AskOpt = Annotated[
    str | None,
    typer.Option("--ask", metavar="TEXT", help="Answer once (- reads stdin), stop, and exit."),
]
DetachOpt = Annotated[
    bool,
    typer.Option("--detach", "-d", help="Return once the server is ready; see ps, stop, logs."),
]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", help="Print the command and exit.")]
NoLiveOpt = Annotated[bool, typer.Option("--no-live", help="Plain lines instead of a live view.")]


def command(
    ctx: typer.Context,
    model: ModelArg,
    extra: ExtraArg = None,
    ask: AskOpt = None,
    detach: DetachOpt = False,
    dry_run: DryRunOpt = False,
    no_live: NoLiveOpt = False,
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
    nodes: NodesOpt = 1,
    node_rank: NodeRankOpt = 0,
    master: MasterOpt = None,
    host: HostOpt = None,
    port: PortOpt = None,
    api_key_file: ApiKeyFileOpt = None,
    make_key: MakeKeyOpt = False,
    temp: TempOpt = None,
    offline: OfflineOpt = False,
    _verbose: VerboseOpt = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Download, check, plan, start, prove and watch a server; Ctrl-C stops it."""
    from llmtp import chain
    from llmtp.cli import once, wishes
    from llmtp.cli.asked import files_asked, only_behind_dashes

    env: Env = ctx.obj
    out = env.out
    only_behind_dashes(env, extra or [])
    detach = detach and not is_detached()  # then we are who keeps it up
    if detach and ask is not None:
        raise UsageError("--detach and --ask exclude each other", fix="use one of them")
    prompt = None if ask is None else once.read_prompt(ask)
    asked = files_asked(model, draft, quant, mmproj, offline)
    machines = wishes.nodes(nodes, node_rank, master)
    wishes.check_part(machines, ask, makes_key=make_key)
    wanted = wishes.plan_wishes(
        ctx_size, n_max, asked.draft, kv_type, parallel, margin, strict, rpc, machines
    )
    serving = wishes.serving(host, port, api_key_file, make_key, temp, is_checked=not detach)
    if dry_run:
        once.show_command(
            out, chain.prepare(asked, wanted, serving, engine, extra or ()), makes_key=make_key
        )
        return
    from llmtp import story
    from llmtp.cli import keeping, views

    if prompt is None and not detach:
        out.be_patient()
    if detach:
        view = views.for_download(out)
    else:
        live = not no_live and sys.stdout.isatty()
        view = views.choose(out, live=live, once=ask is not None)
    with view:
        watch = chain.Watch(
            lambda pair: view.event(story.checked(pair)), view.note, view.downloading
        )
        prepared = chain.prepare(asked, wanted, serving, engine, extra or (), watch=watch)
        if detach:
            keeping.detach(out, prepared, view, env.argv, makes_key=make_key)
        else:
            keeping.keep(out, prepared, view, prompt, makes_key=make_key)
