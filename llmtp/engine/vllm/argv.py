"""A plan to the command line of vLLM: the flags of its recipe first, then ours."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from llmtp.config import hub_cache
from llmtp.engine.command import Command, Serving, is_flag
from llmtp.engine.vllm.find import VllmEngine
from llmtp.errors import Finding, UsageError
from llmtp.hub.cache import commit_of
from llmtp.hubname import PREFIX
from llmtp.plan.result import Plan, Shards
from llmtp.ports import is_loopback
from llmtp.safetensors.config import WITH_IMAGES
from llmtp.text import clean

_CACHED = re.compile(r"models--(.+)--(.+)")
_FP8 = "q8_0"
#: Flags with which it ends at once, or serves where llmtp does not see it.
_REFUSED = {
    "--help": "ends at once",
    "--version": "ends at once",
    "--config": "may change the plan unseen",
    "--uds": "hides the server from llmtp",
    "--root-path": "hides the server from llmtp",
    "--ssl-keyfile": "hides the server from llmtp",
    "--ssl-certfile": "hides the server from llmtp",
    "--headless": "is for machines other than the first: use --nodes and --node-rank",
    "--nnodes": "is for several machines: use --nodes",
    "--node-rank": "is for several machines: use --node-rank of llmtp",
    "--master-addr": "is for several machines: use --master",
    "--master-port": "is for several machines: use --master",
    "--enable-log-requests": "writes what users ask into the log",
    "--enable-log-outputs": "writes what users are answered into the log",
    "--uvicorn-log-level": "may hide from llmtp that the server listens",
    "--disable-log-stats": "hides from llmtp what is drafted",
    "--stream-interval": "hides from llmtp what a step yields",
}
_KEYS = {"--api-key": "--api-key-file FILE", "--hf-token": "the variable HF_TOKEN"}
#: Both names of what belongs to the plan, and the option of llmtp that decides it.
_OURS = {
    "--model": "MODEL", "--speculative-config": "--n-max", "--max-model-len": "--ctx",
    "--max-num-seqs": "--parallel", "--kv-cache-dtype": "--kv-type", "--host": "--host",
    "--port": "--port",
}  # fmt: skip
_ALIASES = {"-sc": "--speculative-config", "-tp": "--tensor-parallel-size",
            "-pp": "--pipeline-parallel-size", "-n": "--nnodes", "-r": "--node-rank",
            "-dp": "--data-parallel-size", "-h": "--help", "-v": "--version"}  # fmt: skip
_SPECULATIVE = ("--spec-method", "--spec-model", "--spec-tokens")
_KEY_VARIABLE = "VLLM_API_KEY"
_DISTURBING = (_KEY_VARIABLE, "VLLM_CPU_KVCACHE_SPACE", "VLLM_DEBUG_LOG_API_SERVER_RESPONSE",
               "VLLM_LOGGING_CONFIG_PATH", "VLLM_CONFIGURE_LOGGING",
               "VLLM_LOGGING_LEVEL")  # fmt: skip
_PIPELINE = "--pipeline-parallel-size"
#: They take memory that no plan counted.
_UNPLANNED = ("--enable-lora", "--max-num-batched-tokens", "--data-parallel-size", "--quantization",
              "--kv-cache-memory-bytes", "--tensor-parallel-size")  # fmt: skip
#: It takes the beginning of a flag for the flag, and `--flag.key` for a key of its JSON.
_WATCHED = (*_REFUSED, *_KEYS, *_OURS, *_SPECULATIVE, _PIPELINE, *_UNPLANNED,
            "--gpu-memory-utilization", "--served-model-name", "--allowed-origins")  # fmt: skip


def build_vllm_command(
    plan: Plan, engine: VllmEngine, serving: Serving, extra: Sequence[str]
) -> Command:
    """The command for a plan; `extra` are the user's own flags for vLLM.

    Raises UsageError where they contradict the plan.
    """
    if extra and not is_flag(extra[0]):
        raise UsageError(
            f"{clean(extra[0], 60)!r} is no flag of vLLM",
            rule="engine-args",
            expected="flags behind --, each with its values",
            fix=f"leave out {clean(extra[0], 60)}",
        )
    if plan.shards is None:
        raise ValueError("a plan for vLLM says how it is sharded")
    recipe = _recipe(plan, plan.shards)
    ours = _ours(plan, plan.shards, serving)
    findings = _check_extra([*recipe, *ours], extra, drafts=plan.mtp)
    head = (str(engine.path), "serve", _model(plan.main.path))
    has_key = serving.api_key_file is not None
    left_out = [one for one in disturbing_variables() if not (has_key and one == _KEY_VARIABLE)]
    first = (*head, *_words(recipe))
    whole = (*first, *_words(ours), *extra)
    ranks = _ranks(plan.shards, whole)
    rank = plan.shards.nodes.rank if plan.shards.nodes else 0
    return Command(
        argv=ranks[rank] if ranks else whole,
        options=(head[1:], *recipe, *ours),
        env={**_environment(plan, plan.shards, left_out), **engine.env},
        findings=(*findings, *_left_out(left_out)),
        serves=served_names(plan)[0],
        key_variable=_KEY_VARIABLE if has_key else None,
        key_file=serving.api_key_file,
        recipe_words=len(first),
        ranks=ranks,
    )


def _recipe(plan: Plan, shards: Shards) -> list[tuple[str, ...]]:
    """As vLLM's recipes for Gemma 4 have them (recipes.vllm.ai)."""
    options: list[tuple[str, ...]] = []
    if shards.tensor_parallel > 1:
        options.append(("--tensor-parallel-size", str(shards.tensor_parallel)))
    if shards.nodes is not None:
        options += [
            ("--distributed-executor-backend", "mp"),
            ("--nnodes", str(shards.nodes.count)),
            ("--node-rank", str(shards.nodes.rank)),
            ("--master-addr", shards.nodes.address),
            ("--master-port", str(shards.nodes.port)),
        ]
    options.append(("--max-model-len", str(plan.ctx_size // plan.parallel)))
    if shards.memory_share is not None:
        options.append(("--gpu-memory-utilization", f"{shards.memory_share:g}"))
    if plan.kv_type == _FP8:
        options.append(("--kv-cache-dtype", "fp8"))
    if plan.main.architecture in WITH_IMAGES and not shards.sees_images:
        options.append(("--language-model-only",))
    if plan.draft is not None:
        speculative = {
            "method": "mtp",
            "model": _model(plan.draft.path),
            "num_speculative_tokens": plan.n_max,
        }
        options.append(("--speculative-config", json.dumps(speculative, separators=(",", ":"))))
    return options


def _ours(plan: Plan, shards: Shards, serving: Serving) -> list[tuple[str, ...]]:
    """Names for clients, where it listens, and no more than was planned."""
    options: list[tuple[str, ...]] = [("--served-model-name", *served_names(plan))]
    if shards.slots is not None:
        options.append(("--max-num-seqs", str(shards.slots)))
    if shards.memory_share is None:
        options.append(("--kv-cache-memory-bytes", str(shards.kv_bytes)))
    sampling = {"temperature": serving.temp, "top_k": serving.top_k, "top_p": serving.top_p}
    told = {name: value for name, value in sampling.items() if value is not None}
    if told:
        text = json.dumps(told, separators=(",", ":"))
        options.append(("--override-generation-config", text))
    options += [
        ("--host", serving.host),
        ("--port", str(serving.port)),
        ("--allowed-origins", "[]"),
    ]
    return options


def _environment(plan: Plan, shards: Shards, left_out: Sequence[str]) -> Mapping[str, str | None]:
    """No telemetry, no network for files that are here, inner sockets on this machine only, and the
    cards of the plan."""
    env: dict[str, str | None] = dict.fromkeys(left_out)
    env |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_COLOR": "0"}
    numbers = [card.number for card in plan.gpus]
    if len(numbers) < len(plan.devices) and None not in numbers:
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, numbers))
    models = [facts for facts in (plan.main, plan.draft) if facts is not None]
    if all(facts.is_local for facts in models):
        env["HF_HUB_OFFLINE"] = "1"
    if any(_model(facts.path) != str(facts.path) for facts in models if facts.is_local):
        env["HF_HUB_CACHE"] = str(hub_cache())
    if shards.nodes is None or is_loopback(shards.nodes.address):
        env |= {"VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    return env


def disturbing_variables() -> list[str]:
    """Those that are set and would change the plan, ask for a key, or log what users say."""
    return [name for name in _DISTURBING if name in os.environ]


def served_names(plan: Plan) -> list[str]:
    """What clients may call the model: its name here, and that at the Hub."""
    name = clean(plan.name, 120).lstrip("-") or "model"
    return list(dict.fromkeys((name, _model(plan.main.path))))


def _model(path: Path) -> str:
    """OWNER/REPO of a folder in the cache of the Hub, where vLLM finds that very commit by it; else
    the path."""
    text = str(path)
    if text.startswith(PREFIX):
        return text.removeprefix(PREFIX).partition("@")[0]
    if len(path.parts) < 3 or not path.is_relative_to(hub_cache()):
        return text
    repository = _CACHED.fullmatch(path.parts[-3])
    if repository is None:
        return text
    name = f"{repository[1]}/{repository[2]}"
    return name if commit_of(name, "main") in (None, path.name) else text


def _ranks(shards: Shards, argv: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The command of every machine, by its number; none where there is one machine."""
    if shards.nodes is None:
        return ()
    return tuple(_ranked(argv, rank) for rank in range(shards.nodes.count))


def _ranked(argv: tuple[str, ...], rank: int) -> tuple[str, ...]:
    """The same command on the machine of that number: only number 0 serves."""
    words = list(argv)
    words[words.index("--node-rank") + 1] = str(rank)
    return (*words, "--headless") if rank else tuple(words)


def _words(options: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(word for option in options for word in option)


def _left_out(variables: Sequence[str]) -> list[Finding]:
    if not variables:
        return []
    text = f"not passed on, because they would change the plan or the log: {', '.join(variables)}"
    return [Finding("engine-variables", "warning", text, fix="use an option of llmtp")]


def _check_extra(
    options: Sequence[tuple[str, ...]], extra: Sequence[str], *, drafts: bool
) -> list[Finding]:
    findings = []
    planned = {option[0]: option for option in options}
    for word, following in pairwise((*extra, "")):
        if not is_flag(word):
            continue
        name, equals, value = word.partition("=")
        flag = _ALIASES.get(name, name.replace("_", "-")).partition(".")[0]
        whole = next((one for one in _WATCHED if one.startswith(flag) and one != flag), None)
        if whole is not None and flag not in _WATCHED:
            raise UsageError(
                f"{clean(name, 60)} may be the beginning of {whole}",
                rule="engine-args",
                fix="write the flag in full",
            )
        value = value if equals else following
        if flag in _REFUSED:
            raise UsageError(f"{clean(name, 60)} {_REFUSED[flag]}", rule="engine-args",
                             fix=f"leave out {clean(name, 60)}")  # fmt: skip
        if flag in _KEYS:
            raise UsageError(
                f"{flag} would show the key in the process list",
                rule="engine-args",
                fix=f"use {_KEYS[flag]}",
            )
        if flag == _PIPELINE and drafts and value != "1":
            raise UsageError(
                f"{clean(name, 60)} {clean(value, 20)} does not go with MTP: vLLM has no drafter "
                "in stages of a pipeline (vllm-project/vllm 49355)",
                rule="engine-args",
                expected="tensor parallel, over --nodes where there are several machines",
                fix=f"leave out {clean(name, 60)}, or use --draft off",
            )
        flag = "--speculative-config" if flag in _SPECULATIVE else flag
        if flag in planned or flag in _OURS:
            says = f", which says {' '.join(planned[flag])}" if flag in planned else ""
            raise UsageError(
                f"{clean(name, 60)} contradicts the plan{says}",
                rule="engine-args",
                fix=f"use {_OURS[flag]} of llmtp" if flag in _OURS else f"leave out {flag}",
            )
        if flag in _UNPLANNED:
            words = f"{flag} may take memory that no plan counted"
            findings.append(Finding("unplanned-flag", "warning", words))
    return findings
