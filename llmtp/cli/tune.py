"""`llmtp tune`: find the best n-max here, and remember it for `run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmtp.cli import complete
from llmtp.cli.env import Env
from llmtp.cli.options import (
    CtxOpt,
    DraftOpt,
    EngineOpt,
    ExtraArg,
    JsonOpt,
    KvTypeOpt,
    MarginOpt,
    OfflineOpt,
    QuantOpt,
    QuietOpt,
    RpcOpt,
)
from llmtp.errors import UsageError
from llmtp.text import clean

ModelArg = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        autocompletion=complete.models,
        help="As for run; with --forget, or none for all.",
    ),
]
WorkloadOpt = Annotated[
    str | None,
    typer.Option(
        "--workload",
        metavar="NAME",
        help="Tune for code, json, list or prose alone. Default: all four, each the same.",
    ),
]
TempOpt = Annotated[
    float | None,
    typer.Option(
        "--temp", min=0, max=5, help="Sampling temperature. Default: the profile's, or 0."
    ),
]
HtmlOpt = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with a chart.")
]
ForgetOpt = Annotated[
    bool,
    typer.Option("--forget", help="Drop what was found for MODEL, or for all."),
]


def command(
    ctx: typer.Context,
    model: ModelArg = None,
    extra: ExtraArg = None,
    workload: WorkloadOpt = None,
    temp: TempOpt = None,
    html: HtmlOpt = None,
    forget: ForgetOpt = False,
    quant: QuantOpt = None,
    draft: DraftOpt = "auto",
    ctx_size: CtxOpt = "auto",
    kv_type: KvTypeOpt = None,
    margin: MarginOpt = None,
    rpc: RpcOpt = None,
    engine: EngineOpt = None,
    offline: OfflineOpt = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Find the fastest n-max on this machine, off included, and remember it for run and plan."""
    env: Env = ctx.obj
    from llmtp.cli import tuning

    if forget:
        _nothing_else(ctx, extra or [])
        tuning.forget(env.out, model)
        return
    from llmtp import chain, config
    from llmtp.cli import pages, wishes
    from llmtp.cli.asked import files_asked, only_behind_dashes
    from llmtp.tune.search import TOP
    from llmtp.tune.work import Work

    only_behind_dashes(env, extra or [])
    if model is None:
        raise UsageError(
            "a MODEL is missing",
            expected="a profile, a .gguf file or hf:OWNER/REPO",
            fix="try the small one that is here: llmtp tune demo",
        )
    if draft.lower() == "off":
        raise UsageError("without a drafter there is nothing to tune", fix="leave out --draft")
    page = pages.page_place(html)
    work = Work.of(workload, 0.0 if temp is None else temp)
    _no_drafting(extra or [])
    asked = files_asked(model, draft, quant, "off", offline)
    wanted = wishes.plan_wishes(ctx_size, str(TOP), "wanted", kv_type, None, margin, False, rpc)
    serving = wishes.serving(config.LOOPBACK, None, None, False, None)

    def prepare(watch: chain.Watch) -> chain.Prepared:
        return chain.prepare(asked, wanted, serving, engine, extra or (), watch=watch)

    tuning.tune(env.out, prepare, model, work, page, temp_is_asked=temp is not None)


def _nothing_else(ctx: typer.Context, extra: list[str]) -> None:
    from llmtp.cli.asked import typed_options

    surplus = typed_options(ctx, ("model", "extra", "forget", "_quiet", "_json")) + extra
    if surplus:
        raise UsageError(
            "--forget takes a MODEL, and nothing else",
            expected="llmtp tune --forget MODEL, or without one for all",
            fix=f"leave out {clean(', '.join(surplus), 100)}",
        )


def _no_drafting(extra: list[str]) -> None:
    """How drafts are made is what is looked for."""
    for word in extra:
        if word.replace("_", "-").startswith(("--spec-", "--draft")):
            raise UsageError(
                f"tune itself sets {clean(word, 60)}",
                rule="engine-args",
                expected="arguments of the engine that are not about drafts",
                fix=f"leave out {clean(word, 60)}",
            )
