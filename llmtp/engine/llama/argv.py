"""A plan to the command line of one build: argv and environment, nothing that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from llmtp.engine.command import PROMPTS_LOGGED, Command, Serving, is_flag
from llmtp.engine.llama.build import Build
from llmtp.engine.llama.find import Engine, disturbing_variables
from llmtp.errors import EngineError, Finding, UsageError
from llmtp.machine.workers import endpoints
from llmtp.plan.result import Plan
from llmtp.plan.settings import batch_with_workers
from llmtp.text import clean, near_names
from llmtp.units import MiB

#: Of the trace level the engine prints its memory and the acceptance per position, no prompts.
_TRACE = "4"
#: Flags with which the engine prints something and ends.
_ENDING = (
    "--help",
    "--version",
    "--list-devices",
    "--license",
    "--completion-bash",
    "--cache-list",
)
_CORS = ("--cors-origins", "--cors-credentials")
#: Ours, but the user may say otherwise.
_REPLACEABLE = (
    *_CORS,
    "--spec-draft-p-min",
    "--spec-draft-sampling",
    "--threads",
    "--top-k",
    "--top-p",
)
_KEY_IN_ARGV = "--api-key"
#: Flags that bring another model, or hide the server from llmtp; one that is watched never sleeps.
_REFUSED = (
    "--api-prefix",
    "--docker-repo",
    "--hf-file",
    "--hf-repo",
    "--log-disable",
    "--model-url",
    "--models-dir",
    "--models-preset",
    "--no-slots",
    "--reuse-port",
    "--sleep-idle-seconds",
    "--spec-draft-hf",
    "--ssl-cert-file",
    "--ssl-key-file",
)
#: Flags that take memory or move layers behind the back of the plan.
_UNPLANNED = (
    "--batch-size",
    "--control-vector",
    "--cpu-moe",
    "--flash-attn",
    "--lora",
    "--lora-scaled",
    "--main-gpu",
    "--mmproj-url",
    "--n-cpu-moe",
    "--no-kv-offload",
    "--override-tensor",
    "--split-mode",
    "--swa-full",
    "--tensor-split",
)

#: Not in every build, and the plan is safe without them.
_OPTIONAL = (
    "--cache-ram",
    "--cors-origins",
    "--ctx-checkpoints",
    "--fit",
    "--no-cors-credentials",
    "--spec-draft-device",
    "--spec-draft-ngl",
    "--spec-draft-p-min",
    "--spec-draft-sampling",
    "--verbosity",
)

#: The option of llmtp that decides what an engine flag says.
_OURS = {
    "--model": "MODEL",
    "--model-draft": "--draft",
    "--mmproj": "--mmproj",
    "--spec-type": "--n-max",
    "--spec-draft-n-max": "--n-max",
    "--ctx-size": "--ctx",
    "--parallel": "--parallel",
    "--cache-type-k": "--kv-type",
    "--cache-type-v": "--kv-type",
    "--host": "--host",
    "--port": "--port",
    "--temp": "--temp",
    "--api-key-file": "--api-key-file",
}


#: Why some of ours may not be otherwise, and what breaks (llama.cpp issues 24366, 24440, 25522).
_BREAKS = {
    "--spec-draft-device": "the drafter where the last layers are: elsewhere the engine aborts",
    "--spec-draft-ngl": "all of the drafter where the last layers are: else the engine aborts",
    "--split-mode": "layer: other modes crash with MTP",
}


def build_command(plan: Plan, engine: Engine, serving: Serving, extra: Sequence[str]) -> Command:
    """The command for a plan; `extra` are the user's own engine flags.

    Raises UsageError where `extra` contradicts the plan or the build lacks a flag of it,
    EngineError where the build lacks one of ours that matters.
    """
    if extra and not is_flag(extra[0]):
        raise UsageError(
            f"{clean(extra[0], 60)!r} is no flag of llama-server",
            rule="engine-args",
            expected="flags behind --, each with its values",
            fix=f"leave out {clean(extra[0], 60)}",
        )
    options = _options(plan, serving)
    missing = [o[0] for o in options if not engine.build.has(o[0]) and o[0] not in _OPTIONAL]
    if missing:
        raise EngineError(
            f"{engine.path} lacks {', '.join(missing)}",
            rule="engine-flags",
            fix="install another llama.cpp build, or name one with --engine",
        )
    options = [option for option in options if engine.build.has(option[0])]
    kept, findings = _check_extra(engine.build, options, extra)
    argv = [str(engine.path)]
    for option in kept:
        argv += option
    ignored = disturbing_variables()
    return Command(
        argv=(*argv, *extra),
        options=tuple(kept),
        env={**dict.fromkeys(ignored), **engine.env},
        findings=(*findings, *_ignored(ignored)),
        serves=str(plan.main.path),
    )


def _options(plan: Plan, serving: Serving) -> list[tuple[str, ...]]:
    devices = [device.id for device in plan.gpus if device.id] or ["none"]
    options: list[tuple[str, ...]] = [("--model", str(plan.main.path))]
    if plan.workers:
        # Before what names their devices; and who waits for an answer waits for one batch at most.
        options += [
            ("--rpc", endpoints(plan.workers)),
            ("--batch-size", str(batch_with_workers(plan.ubatch, plan.parallel, plan.n_max))),
        ]
    if plan.draft is not None:
        layers = plan.draft.shape.n_layers + 1 if plan.gpus else 0
        options += [
            ("--model-draft", str(plan.draft.path)),
            ("--spec-type", "draft-mtp"),
            ("--spec-draft-n-max", str(plan.n_max)),
            *_draft_sampling(plan),
            ("--spec-draft-device", devices[-1]),
            ("--spec-draft-ngl", str(layers)),
        ]
    if plan.mmproj is not None:
        options.append(("--mmproj", str(plan.mmproj.path)))
    options += [
        ("--ctx-size", str(plan.ctx_size)),
        ("--parallel", str(plan.parallel)),
        ("--cache-type-k", plan.kv_type),
        ("--cache-type-v", plan.kv_type),
        ("--ubatch-size", str(plan.ubatch)),
        ("--cache-ram", str(plan.prompt_cache_bytes // MiB)),
        ("--ctx-checkpoints", str(plan.checkpoints)),
        ("--device", ",".join(devices)),
        ("--gpu-layers", str(plan.gpu_layers)),
        ("--fit", "off"),
        ("--host", serving.host),
        ("--port", str(serving.port)),
        ("--metrics",),
        ("--cors-origins", "localhost"),
        ("--no-cors-credentials",),
        ("--verbosity", _TRACE),
    ]
    if plan.split:
        options += [("--split-mode", "layer"), ("--tensor-split", ",".join(map(str, plan.split)))]
    if plan.cpu_experts:
        options.append(("--n-cpu-moe", str(plan.cpu_experts)))
    if plan.threads is not None:
        options.append(("--threads", str(plan.threads)))
    if serving.api_key_file is not None:
        options.append(("--api-key-file", str(serving.api_key_file)))
    if serving.temp is not None:
        options.append(("--temp", f"{serving.temp:g}"))
    if serving.top_k is not None:
        options.append(("--top-k", str(serving.top_k)))
    if serving.top_p is not None:
        options.append(("--top-p", f"{serving.top_p:g}"))
    return options


def _draft_sampling(plan: Plan) -> list[tuple[str, ...]]:
    options: list[tuple[str, ...]] = []
    if plan.p_min:
        options.append(("--spec-draft-p-min", f"{plan.p_min:g}"))
    if plan.draft_sampling is not None:
        options.append(("--spec-draft-sampling", plan.draft_sampling))
    return options


def _check_extra(
    build: Build, options: list[tuple[str, ...]], extra: Sequence[str]
) -> tuple[list[tuple[str, ...]], list[Finding]]:
    """Our options without those that the user may replace, and what is to be said of theirs."""
    findings = []
    drafts = any(option[0] == "--spec-type" for option in options)
    for word, following in pairwise((*extra, "")):
        if not is_flag(word):
            continue
        name, equals, value = word.partition("=")
        if equals:
            raise UsageError(
                f"llama-server does not read {clean(word, 60)}",
                rule="engine-args",
                fix=f"write {clean(name, 60)} {clean(value, 60)}",
            )
        flag = word.replace("_", "-")
        aliases = build.aliases(flag)
        if not aliases:
            near = near_names(flag, {a for entry in build.entries for a in entry})
            raise UsageError(
                f"this llama-server has no flag {clean(word, 60)}",
                rule="engine-args",
                fix=f"{near or 'see what its --help offers'}; options of llmtp stand before --",
            )
        if any(name in aliases for name in _ENDING):
            raise UsageError(
                f"with {flag} the engine ends at once", rule="engine-args", fix=f"leave out {flag}"
            )
        if "--rpc" in aliases:
            raise UsageError(
                f"{flag} would bring devices that no plan counted",
                rule="engine-args",
                expected="options of llmtp before --",
                fix="use --rpc of llmtp",
            )
        if any(name in aliases for name in _REFUSED):
            raise UsageError(
                f"{flag} would bring another model, or hide the server from llmtp",
                rule="engine-args",
                fix=f"leave out {flag}",
            )
        if "--split-mode" in aliases and drafts and following not in ("layer", "none"):
            raise UsageError(
                f"{flag} {clean(following, 20)} does not go with MTP",
                rule="engine-args",
                expected=_BREAKS["--split-mode"],
                fix=f"leave out {flag}, or use --draft off",
            )
        if "--verbose" in aliases:
            findings.append(_said(PROMPTS_LOGGED, f"{flag} lets the engine log prompts"))
        if _KEY_IN_ARGV in aliases:
            raise UsageError(
                f"{_KEY_IN_ARGV} would show the key in the process list",
                rule="engine-args",
                fix="use --api-key-file FILE",
            )
        if any(name in aliases for name in _REPLACEABLE):
            options = [o for o in options if o[0] not in aliases]
            if any(name in aliases for name in _CORS):
                findings.append(_said("cors-widened", f"{flag} replaces what llmtp would close"))
            continue
        for option in options:
            if option[0] in aliases:
                ours = _OURS.get(option[0])
                raise UsageError(
                    f"{flag} contradicts the plan, which says {' '.join(option)}",
                    rule="engine-args",
                    expected=_BREAKS.get(option[0]),
                    fix=f"use {ours} of llmtp" if ours else f"leave out {flag}",
                )
        if any(name in aliases for name in _UNPLANNED):
            findings.append(_said("unplanned-flag", f"{flag} may take memory that no plan counted"))
    return options, findings


def _said(rule: str, message: str) -> Finding:
    return Finding(rule, "warning", message)


def _ignored(variables: list[str]) -> list[Finding]:
    if not variables:
        return []
    return [
        Finding(
            "engine-variables",
            "warning",
            f"not passed on, because the engine reads them as flags: {', '.join(variables)}",
            fix="use an option of llmtp, or give the flag behind --",
        )
    ]
