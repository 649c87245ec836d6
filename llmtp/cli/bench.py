"""`llmtp bench`: with and without MTP, measured here; or two such measurements compared."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    parse_n_max,
)
from llmtp.errors import ExitCode, UsageError
from llmtp.text import clean
from llmtp.units import parse_count

if TYPE_CHECKING:
    from llmtp.bench.scheme import Scheme
    from llmtp.bench.workloads import Workload

_LEAST_BUDGET_S, _MOST_BUDGET_S = 1, 86_400
_MOST_TOKENS = 8192
_DEFAULT_N_MAX = "1,2,3,4"
_OF_COMPARE = ("compare", "_quiet", "_json")

ModelArg = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        autocompletion=complete.models,
        help="As for run. Not with --compare.",
        show_default=False,
    ),
]
NMaxesOpt = Annotated[
    str, typer.Option("--n-max", metavar="N,N", help="Arms beside off, which is always one.")
]
WorkloadOpt = Annotated[
    str | None,
    typer.Option(
        "--workload",
        metavar="NAME,NAME",
        help="Of code, json, list, prose, translation, math. Default: all.",
    ),
]
PromptsOpt = Annotated[
    Path | None, typer.Option("--prompts", metavar="FILE", help="Your own, a prompt a line.")
]
DepthOpt = Annotated[
    str, typer.Option("--depth", metavar="N,N", help="Tokens before each question: 0,4k,16k.")
]
TempsOpt = Annotated[
    str, typer.Option("--temp", metavar="T,T", help="Sampling temperatures: 0,0.7,1.")
]
TokensOpt = Annotated[
    int | None,
    typer.Option(
        "--tokens",
        metavar="N",
        min=8,
        max=_MOST_TOKENS,
        help="Most tokens of an answer. Default: what the budget allows, up to 256.",
    ),
]
BudgetOpt = Annotated[
    float | None,
    typer.Option(
        "--budget",
        metavar="SECONDS",
        min=_LEAST_BUDGET_S,
        max=_MOST_BUDGET_S,
        help="Time for all of it; one round is always made. Default: 240, of the demo 60.",
    ),
]
RequireOpt = Annotated[
    float | None,
    typer.Option(
        "--require-speedup",
        metavar="X",
        min=0,
        help="Exit 10 if the best n-max is not X times as fast as off.",
    ),
]
HtmlOpt = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with charts.")
]
CompareOpt = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--compare", metavar="A B", help="Two records: exit 10 where B is slower than the noise."
    ),
]


def command(
    ctx: typer.Context,
    model: ModelArg = None,
    extra: ExtraArg = None,
    n_maxes: NMaxesOpt = _DEFAULT_N_MAX,
    workload: WorkloadOpt = None,
    prompts: PromptsOpt = None,
    depth: DepthOpt = "0",
    temps: TempsOpt = "0",
    tokens: TokensOpt = None,
    budget: BudgetOpt = None,
    require_speedup: RequireOpt = None,
    html: HtmlOpt = None,
    compare: CompareOpt = None,
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
    """Does MTP help here? Measure the same prompts with and without it, and say what to do."""
    env: Env = ctx.obj
    if compare is not None:
        _compare(ctx, compare)
        return
    from llmtp import chain, config
    from llmtp.cli import benching, pages, wishes
    from llmtp.cli.asked import files_asked, only_behind_dashes

    only_behind_dashes(env, extra or [])
    if model is None:
        raise UsageError(
            "a MODEL is missing",
            expected="a profile, a .gguf file or hf:OWNER/REPO",
            fix="try the small one that is here: llmtp bench demo",
        )
    if draft.lower() == "off":
        raise UsageError("without a drafter there is nothing to compare", fix="leave out --draft")
    arms = _n_maxes(n_maxes)
    scheme = _scheme(arms, workload, prompts, depth, temps, budget, tokens)
    for number in (require_speedup, budget):
        if number is not None and not math.isfinite(number):
            raise UsageError(f"{number} is no number to measure by", fix="use a plain number")
    page = pages.page_place(html)
    asked = files_asked(model, draft, quant, "off", offline)
    wanted = wishes.plan_wishes(
        ctx_size, str(max(arms)), "wanted", kv_type, None, margin, False, rpc
    )
    serving = wishes.serving(config.LOOPBACK, None, None, False, None)

    def prepare(watch: chain.Watch) -> chain.Prepared:
        return chain.prepare(asked, wanted, serving, engine, extra or (), watch=watch)

    raise typer.Exit(benching.measure(env.out, prepare, scheme, page, require_speedup))


def _compare(ctx: typer.Context, files: tuple[Path, Path]) -> None:
    env: Env = ctx.obj
    from llmtp import paths
    from llmtp.bench.compare import compare
    from llmtp.bench.record import read_record
    from llmtp.cli.asked import typed_options
    from llmtp.cli.render import benches

    surplus = typed_options(ctx, _OF_COMPARE)
    if surplus:
        raise UsageError(
            "--compare takes two records, and nothing else",
            expected="llmtp bench --compare A B",
            fix=f"leave out {', '.join(surplus)}",
        )
    compared = compare(*(read_record(paths.typed(str(path))) for path in files))
    code = ExitCode.MTP_INACTIVE if compared.slower else ExitCode.OK
    findings = benches.comparison_findings(compared)
    env.out.result(
        compared.to_dict(), findings, lambda console: benches.comparison(console, compared), code
    )
    raise typer.Exit(code)


def _n_maxes(text: str) -> list[int]:
    """`1,3`; off, or 0, is an arm anyway."""
    words = (word.strip() for word in text.split(","))
    found = [parse_n_max("off" if word == "0" else word) for word in words]
    if None in found or not any(found):
        raise UsageError(
            f"--n-max {clean(text, 40)!r} names no values to compare",
            expected=f"numbers such as {_DEFAULT_N_MAX}; off is always compared",
            fix=f"leave out --n-max for {_DEFAULT_N_MAX}",
        )
    return [n for n in found if n]


def _scheme(
    arms: list[int],
    names: str | None,
    prompts: Path | None,
    depth: str,
    temps: str,
    budget: float | None,
    tokens: int | None,
) -> Scheme:
    from llmtp import paths
    from llmtp.bench.scheme import Scheme
    from llmtp.bench.workloads import WORKLOADS, chosen, read_prompts

    workloads: list[Workload] = []
    if names is not None:
        workloads += chosen([word.strip() for word in names.split(",")])
    elif prompts is None:
        workloads += WORKLOADS
    if prompts is not None:
        workloads.append(read_prompts(paths.typed(str(prompts))))
    depths = [
        0 if word.strip() == "0" else parse_count(word, "--depth") for word in depth.split(",")
    ]
    return Scheme.of(
        arms,
        workloads,
        list(dict.fromkeys(depths)),
        list(dict.fromkeys(_temp(word) for word in temps.split(","))),
        budget,
        tokens,
    )


def _temp(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if 0 <= value <= 5:
        return value
    raise UsageError(
        f"--temp {clean(word, 40)!r} is not a temperature",
        expected="0 to 5, several with commas",
        fix="type for example: --temp 0,0.7",
    )
