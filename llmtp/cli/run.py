"""`llmtp run`: the whole chain, in the foreground."""

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
    HostOpt,
    JsonOpt,
    KvTypeOpt,
    MakeKeyOpt,
    MarginOpt,
    MmprojOpt,
    ModelArg,
    NMaxOpt,
    OfflineOpt,
    ParallelOpt,
    PortOpt,
    QuantOpt,
    StrictOpt,
    TempOpt,
    VerboseOpt,
)
from llmtp.errors import UsageError
from llmtp.text import clean

ExtraArg = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- ENGINE ARGS]", help="Flags for llama-server, behind --."),
]
AskOpt = Annotated[
    str | None,
    typer.Option("--ask", metavar="TEXT", help="Answer once (- reads stdin), stop, and exit."),
]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", help="Print the command and exit.")]
NoLiveOpt = Annotated[bool, typer.Option("--no-live", help="Plain lines instead of a live view.")]


def command(
    ctx: typer.Context,
    model: ModelArg,
    extra: ExtraArg = None,
    ask: AskOpt = None,
    dry_run: DryRunOpt = False,
    no_live: NoLiveOpt = False,
    quant: QuantOpt = "auto",
    draft: DraftOpt = "auto",
    ctx_size: CtxOpt = "auto",
    n_max: NMaxOpt = "auto",
    kv_type: KvTypeOpt = None,
    parallel: ParallelOpt = 1,
    margin: MarginOpt = None,
    mmproj: MmprojOpt = "off",
    engine: EngineOpt = None,
    strict: StrictOpt = False,
    host: HostOpt = "127.0.0.1",
    port: PortOpt = None,
    api_key_file: ApiKeyFileOpt = None,
    make_key: MakeKeyOpt = False,
    temp: TempOpt = None,
    offline: OfflineOpt = False,
    _verbose: VerboseOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Download, check, plan, start, prove and watch a server; Ctrl-C stops it."""
    from llmtp import chain, story
    from llmtp.cli import once, views, wishes
    from llmtp.cli.asked import files_asked
    from llmtp.supervisor import Supervisor

    env: Env = ctx.obj
    out = env.out
    _only_behind_dashes(env, extra or [])
    prompt = None if ask is None else once.read_prompt(ask)
    asked = files_asked(model, draft, quant, mmproj, offline)
    wanted = wishes.plan_wishes(ctx_size, n_max, asked.draft, kv_type, parallel, margin, strict)
    serving = wishes.serving(host, port, api_key_file, make_key, temp)
    if prompt is None and not dry_run:
        out.be_patient()
    view = views.choose(out, live=not no_live and sys.stdout.isatty(), once=ask is not None)
    if dry_run:
        once.show_command(out, chain.prepare(asked, wanted, serving, engine, extra or ()))
        return
    with view:
        watch = chain.Watch(
            lambda pair: view.event(story.checked(pair)), view.note, view.downloading
        )
        prepared = chain.prepare(asked, wanted, serving, engine, extra or (), watch=watch)
        if make_key:
            out.say(f"clients need the key in {serving.api_key_file}")
        supervisor = Supervisor(prepared, view)
        if prompt is None:
            supervisor.keep()
        else:
            supervisor.once(lambda running: once.answer(out, running, prompt))


def _only_behind_dashes(env: Env, extra: list[str]) -> None:
    surplus = extra[: len(extra) - len(env.behind_dashes)]
    if surplus:
        raise UsageError(
            f"unexpected argument {clean(surplus[0], 60)!r}",
            expected="one MODEL; flags for llama-server stand behind --",
            fix="put text with spaces in quotes",
        )
