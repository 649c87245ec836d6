"""vLLM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llmtp.engine.kinds import VLLM
from llmtp.engine.program import Program
from llmtp.engine.vllm.argv import build_vllm_command, served_names
from llmtp.engine.vllm.find import VllmEngine, find_vllm, installed_version
from llmtp.engine.vllm.speech import VllmSpeech
from llmtp.engines.kind import EngineKind
from llmtp.errors import EngineError, UsageError
from llmtp.hub.reference import Asked
from llmtp.machine.detect import cuda_cards, detect
from llmtp.machine.devices import Machine
from llmtp.machine.workers import Worker
from llmtp.plan.result import Plan
from llmtp.plan.sources import vllm_part_sources
from llmtp.plan.vllm import RECIPE_CARDS, make_vllm_plan, smaller_vllm_plan
from llmtp.plan.wishes import Wishes
from llmtp.selection import Selection
from llmtp.selection_safetensors import check_safetensors, select_safetensors

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient
    from llmtp.metrics.counters import LogTally
    from llmtp.metrics.kept import Kept
    from llmtp.metrics.look import Source


def _choose(
    asked: Asked,
    wishes: Wishes,
    look: Callable[[], Machine],
    *,
    fresh: bool = False,
    imagined: bool = False,  # noqa: ARG001 - what is on this disk is as good for others
    survey: bool = False,
    on_paper: bool = False,
) -> Selection:
    if asked.mmproj not in ("off", "auto"):
        raise UsageError(
            "--mmproj names a file of llama.cpp: for vLLM it is a part of the model",
            fix="leave out --mmproj, or use --mmproj auto",
        )
    return select_safetensors(asked, wishes, look, fresh=fresh, on_paper=on_paper or survey)


def _machine(program: Program, _workers: Sequence[Worker]) -> Machine:
    """Those that CUDA shows, as the driver knows them; none for a build for the CPU.

    On paper, where there are none, it is a machine as in the recipes.
    """
    seen = detect("")
    if not isinstance(program, VllmEngine) or program.on_cpu:
        return replace(seen, devices=())
    cards = cuda_cards(seen.devices)
    if not cards and not program.on_paper:
        raise EngineError(
            "this vLLM is for GPUs, and no NVIDIA GPU is seen",
            rule="no-gpu",
            expected="a GPU, or a build of vLLM for the CPU",
            fix="see what is here with llmtp doctor; --engine llama-server needs no GPU",
        )
    return replace(seen, devices=cards or RECIPE_CARDS)


def _connect(url: str, key: str | None, plan: Plan) -> EngineClient:
    from llmtp.engine.vllm.client import VllmClient

    return VllmClient(url, key, served_names(plan)[0], plan.n_max)


def _kept(client: EngineClient, _: Callable[[], LogTally]) -> Kept:
    from llmtp.metrics.vllm import VllmKept

    return VllmKept(client)


def _watched(client: EngineClient, _: Callable[[], LogTally], ctx_size: int | None) -> Source:
    from llmtp.metrics.vllm import Vllm

    return Vllm(client, ctx_size)


KIND = EngineKind(
    name=VLLM,
    product="vLLM",
    reads_presets=False,
    version=installed_version,
    speech=VllmSpeech(),
    find=find_vllm,
    check=check_safetensors,
    choose=_choose,
    machine=_machine,
    takes_workers=False,
    check_workers=lambda *_: None,
    plan=make_vllm_plan,
    smaller=smaller_vllm_plan,
    sources=vllm_part_sources,
    command=build_vllm_command,
    connect=_connect,
    kept=_kept,
    watched=_watched,
    beside=lambda *_: (),
)
