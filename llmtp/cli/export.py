"""`llmtp export`: the plan as a file for somebody else."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    TempOpt,
)
from llmtp.errors import Finding, UsageError

if TYPE_CHECKING:
    from llmtp.chain import Prepared
    from llmtp.export.served import Served
    from llmtp.hub.reference import Asked

_PORT = 8080


class Format(StrEnum):
    """Who reads the file."""

    sh = "sh"
    systemd = "systemd"
    llama_swap = "llama-swap"
    preset_ini = "preset-ini"


_UNWATCHED = Finding(
    "workers-unwatched",
    "warning",
    "only llmtp waits for workers, compares their build, and sees one that stalls",
    fix="start the workers first, or let llmtp run it",
)
#: Whose reader does not say itself where the server listens.
_OURS_TO_PLACE = (Format.sh, Format.systemd)
ToOpt = Annotated[Format, typer.Option("--to", help="Who shall run it.")]
PortOpt = Annotated[
    int | None, typer.Option("--port", min=1, max=65535, help=f"Port. Default: {_PORT}.")
]


def command(
    ctx: typer.Context,
    model: ModelArg,
    to: ToOpt,
    extra: ExtraArg = None,
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
    host: HostOpt = None,
    port: PortOpt = None,
    api_key_file: ApiKeyFileOpt = None,
    temp: TempOpt = None,
    offline: OfflineOpt = False,
    _quiet: QuietOpt = False,
    _json: JsonOpt = False,
) -> None:
    """Print the plan for others to run: a script, a unit of systemd, or an entry of a proxy."""
    from llmtp import chain
    from llmtp.cli import wishes
    from llmtp.cli.asked import files_asked, only_behind_dashes
    from llmtp.config import LOOPBACK

    env: Env = ctx.obj
    only_behind_dashes(env, extra or [])
    if to not in _OURS_TO_PLACE:
        _check_no_place(to, host, port, api_key_file)
        host = LOOPBACK
    asked = files_asked(model, draft, quant, mmproj, offline)
    wanted = wishes.plan_wishes(
        ctx_size, n_max, asked.draft, kv_type, parallel, margin, strict, rpc
    )
    serving = wishes.serving(host, port or _PORT, api_key_file, False, temp, is_checked=False)
    prepared = chain.prepare(asked, wanted, serving, engine, extra or ())
    served = _served(prepared, to)
    text = _text(served, to)
    findings = [*prepared.findings]
    if prepared.download_bytes:
        findings.append(_not_here(asked, engine))
    if prepared.plan.workers:
        findings.append(_UNWATCHED)
    data = {"to": to.value, "name": served.name, "text": text}
    started = {"argv": list(served.argv), "env": dict(served.env)}
    env.out.result(data | started, findings, env.out.exact(text))
    env.out.say(_next(served, to))


def _check_no_place(to: Format, host: str | None, port: int | None, key_file: Path | None) -> None:
    """Who reads the file says where it listens, and for whom: raises UsageError for an option."""
    for name, value in (("--host", host), ("--port", port), ("--api-key-file", key_file)):
        if value is not None:
            raise UsageError(
                f"{name} does not go with --to {to.value}, which has its own",
                fix=f"leave it out here, and set it where {to.value} is started",
            )


def _served(prepared: Prepared, to: Format) -> Served:
    from llmtp import __version__
    from llmtp.cli.words import summary
    from llmtp.export.served import PLACE, Served
    from llmtp.text import clean

    plan, command = prepared.plan, prepared.command
    about = [
        clean(summary(plan), 300),
        f"made by llmtp {__version__} for {to.value}; after a change of GPU or build, make it anew",
    ]
    served = Served.of(plan.name, about, prepared.kind, command).placed(_from_anywhere)
    return served if to in _OURS_TO_PLACE else served.without(*PLACE)


def _from_anywhere(path: str) -> str:
    """One that was typed from here, for who starts it elsewhere; a link may be what decides."""
    return os.path.abspath(path)  # noqa: PTH100 - resolve() follows links


def _text(served: Served, to: Format) -> str:
    from llmtp.export import llama_swap, preset, sh, systemd

    match to:
        case Format.sh:
            return sh.render(served)
        case Format.systemd:
            return systemd.render(served)
        case Format.llama_swap:
            return llama_swap.render(served)
        case Format.preset_ini:
            return preset.render(served)


def _next(served: Served, to: Format) -> str:
    """What to do with it."""
    from llmtp.export.preset import router_line
    from llmtp.export.systemd import unit_name

    match to:
        case Format.sh:
            return "save it as serve.sh, then:\n  sh serve.sh"
        case Format.systemd:
            unit = unit_name(served)
            return (
                f"save it as ~/.config/systemd/user/{unit}, then:\n"
                f"  systemctl --user daemon-reload && systemctl --user enable --now {unit}"
            )
        case Format.llama_swap:
            return (
                "save it as config.yaml, or put the entry under models: in yours, then:\n"
                "  llama-swap --config config.yaml"
            )
        case Format.preset_ini:
            return f"save it as preset.ini, then:\n  {router_line(served, 'preset.ini')}"


def _not_here(asked: Asked, engine: str | None) -> Finding:
    from llmtp.engine.command import quote

    words = ["llmtp", "pull", asked.model]
    if asked.quant is not None:
        words += ["--quant", asked.quant]
    words += ["--engine", engine] if engine is not None else []
    words += ["--draft", asked.draft] if asked.draft != "auto" else []
    words += ["--mmproj", asked.mmproj] if asked.mmproj != "off" else []
    return Finding(
        "files-missing",
        "warning",
        "the files are not on this disk yet",
        fix=f"before it is started: {' '.join(map(quote, words))}",
    )
