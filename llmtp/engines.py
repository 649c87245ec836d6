"""The engines that serve, and all that depends on which of them does: one table of parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmtp import config
from llmtp.engine.command import Command, Serving
from llmtp.engine.kinds import LLAMA_SERVER, VLLM, Kind, names_vllm
from llmtp.engine.llama.argv import build_command
from llmtp.engine.llama.find import find_engine
from llmtp.engine.llama.rpc import check_workers, remote_devices
from llmtp.engine.llama.speech import LlamaSpeech
from llmtp.engine.program import Program
from llmtp.engine.speech import Speech
from llmtp.engine.vllm.argv import build_vllm_command, served_names
from llmtp.engine.vllm.find import VllmEngine, find_vllm, installed_version
from llmtp.engine.vllm.speech import VllmSpeech
from llmtp.errors import EngineError, LlmtpError, UsageError
from llmtp.hub.reference import Asked, Reference, is_source
from llmtp.machine.detect import cuda_cards, detect
from llmtp.machine.devices import Machine
from llmtp.machine.workers import Worker
from llmtp.metrics.counters import LogTally
from llmtp.metrics.kept import Kept
from llmtp.metrics.llama import LlamaKept, LlamaServer
from llmtp.metrics.look import Source
from llmtp.metrics.vllm import Vllm, VllmKept
from llmtp.plan.choose import make_plan
from llmtp.plan.result import Plan
from llmtp.plan.shrink import shrunk
from llmtp.plan.sources import part_sources, vllm_part_sources
from llmtp.plan.vllm import RECIPE_CARDS, make_vllm_plan, smaller_vllm_plan
from llmtp.plan.wishes import Wishes
from llmtp.profiles import load_profile
from llmtp.selection import Selection, select, select_published
from llmtp.selection_safetensors import check_safetensors, select_safetensors
from llmtp.server.entry import Entry
from llmtp.tried import Alternative, alone
from llmtp.verdict import Checked, check

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient


class Planner(Protocol):
    """See make_plan."""

    def __call__(
        self, ref: Reference, machine: Machine, wishes: Wishes, *, partly: bool = True
    ) -> Plan: ...


class Finder(Protocol):
    """See find_vllm."""

    def __call__(self, requested: str | None, *, on_paper: bool) -> Program: ...


class Chooser(Protocol):
    """See select."""

    def __call__(
        self,
        asked: Asked,
        wishes: Wishes,
        look: Callable[[], Machine],
        *,
        fresh: bool = False,
        imagined: bool = False,
        survey: bool = False,
        on_paper: bool = False,
    ) -> Selection: ...


@dataclass(frozen=True, slots=True)
class EngineKind:
    """One of them: its words, and its ways to be found, chosen files for, planned and asked.

    `version` of a program where that is known without asking it.
    `find` gets `--engine`; where it is `on_paper`, nobody will start it here. `machine` looks at
    what the program can use, with what workers lend it, where it `takes_workers`; `check_workers`
    raises where one of them cannot be used. `beside` says what a plan is shown beside, for a
    survey. `kept` is for who keeps a server up, `watched` for who only looks at it, with the
    context of a request where that is known. `sources` says where the numbers of a plan come from.
    """

    name: Kind
    product: str
    reads_presets: bool
    version: Callable[[Path], str | None]
    speech: Speech
    find: Finder
    check: Callable[[Asked], Checked]
    choose: Chooser
    machine: Callable[[Program, Sequence[Worker]], Machine]
    takes_workers: bool
    check_workers: Callable[[Program, Sequence[Worker]], None]
    plan: Planner
    smaller: Callable[[Reference, Machine, Wishes, Plan, str], Plan]
    sources: Callable[[Plan], dict[str, str]]
    command: Callable[[Plan, Any, Serving, Sequence[str]], Command]
    connect: Callable[[str, str | None, Plan], EngineClient]
    kept: Callable[[EngineClient, Callable[[], LogTally]], Kept]
    watched: Callable[[EngineClient, Callable[[], LogTally], int | None], Source]
    beside: Callable[[Reference, Plan, Machine, Wishes], tuple[Alternative, ...]]


def kind_named(name: Kind) -> EngineKind:
    """Of an engine by its name."""
    return _KINDS[name]


def kind_of(entry: Entry) -> EngineKind:
    """Of a server of ours; entries of earlier versions do not tell, and are of llama-server."""
    return _KINDS.get(entry.plan.get("engine", LLAMA_SERVER), _KINDS[LLAMA_SERVER])


def kind_for(requested: str | None, model: str) -> EngineKind:
    """By what is requested, or else by the profile that MODEL may name, or else by the settings.

    `requested` is `--engine`: a name, or the path of a program.
    """
    if requested is None and not is_source(model):
        requested = load_profile(model).engine
    named = requested or config.value_of("engine").text
    return _KINDS[VLLM if names_vllm(named) else LLAMA_SERVER]


def _choose_gguf(
    asked: Asked,
    wishes: Wishes,
    look: Callable[[], Machine],
    *,
    fresh: bool = False,
    imagined: bool = False,
    survey: bool = False,
    on_paper: bool = False,  # noqa: ARG001 - its command needs the files
) -> Selection:
    """Of the files that there are; for a survey without any, of what their makers published."""
    try:
        return select(asked, wishes, look, fresh=fresh, imagined=imagined, survey=survey)
    except LlmtpError as error:
        if not survey:
            raise
        return select_published(asked, wishes, look, error)


def _choose_safetensors(
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


def _machine_of_llama(program: Any, workers: Sequence[Worker]) -> Machine:
    """This one, and the devices of workers behind its own."""
    found = detect(program.list_devices())
    if not workers:
        return found
    return replace(found, devices=(*found.devices, *remote_devices(program, workers)))


def _check_workers(program: Any, workers: Sequence[Worker]) -> None:
    check_workers(program, workers)


def _cards_of_vllm(program: Program, _workers: Sequence[Worker]) -> Machine:
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


def _connect_vllm(url: str, key: str | None, plan: Plan) -> EngineClient:
    from llmtp.engine.vllm.client import VllmClient

    return VllmClient(url, key, served_names(plan)[0], plan.n_max)


def _smaller_plan(
    ref: Reference, machine: Machine, wishes: Wishes, failed: Plan, out_of: str
) -> Plan:
    """On a machine with less than the plan took that ran out of it."""
    return make_plan(ref, shrunk(machine, failed, wishes.margin, in_ram=out_of == "RAM"), wishes)


def _connect(url: str, key: str | None, _plan: Plan) -> EngineClient:
    from llmtp.engine.client import EngineClient

    return EngineClient(url, key)


_KINDS: Mapping[Kind, EngineKind] = {
    LLAMA_SERVER: EngineKind(
        name=LLAMA_SERVER,
        product="llama.cpp",
        reads_presets=True,
        version=lambda _: None,
        speech=LlamaSpeech(),
        find=lambda requested, on_paper: find_engine(requested),  # noqa: ARG005 - its flags are known by it
        check=check,
        choose=_choose_gguf,
        machine=_machine_of_llama,
        takes_workers=True,
        check_workers=_check_workers,
        plan=make_plan,
        smaller=_smaller_plan,
        sources=part_sources,
        command=build_command,
        connect=_connect,
        kept=LlamaKept,
        watched=lambda client, tally, _: LlamaServer(client, tally),
        beside=lambda *planned: (alone(*planned),),
    ),
    VLLM: EngineKind(
        name=VLLM,
        product="vLLM",
        reads_presets=False,
        version=installed_version,
        speech=VllmSpeech(),
        find=find_vllm,
        check=check_safetensors,
        choose=_choose_safetensors,
        machine=_cards_of_vllm,
        takes_workers=False,
        check_workers=lambda *_: None,
        plan=make_vllm_plan,
        smaller=smaller_vllm_plan,
        sources=vllm_part_sources,
        command=build_vllm_command,
        connect=_connect_vllm,
        kept=lambda client, _: VllmKept(client),
        watched=lambda client, _, ctx_size: Vllm(client, ctx_size),
        beside=lambda *_: (),
    ),
}
