"""The engines that serve, and all that depends on which of them does: one table of parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from llmtp import config
from llmtp.engine.command import Command, Serving
from llmtp.engine.kinds import LLAMA_SERVER, VLLM, Kind
from llmtp.engine.llama.argv import build_command
from llmtp.engine.llama.find import find_engine
from llmtp.engine.llama.speech import LlamaSpeech
from llmtp.engine.program import Program
from llmtp.engine.speech import Speech
from llmtp.errors import LlmtpError
from llmtp.hub.reference import Asked, Reference, is_source
from llmtp.machine.detect import detect
from llmtp.machine.devices import Machine
from llmtp.metrics.counters import LogTally
from llmtp.metrics.kept import Kept
from llmtp.metrics.llama import LlamaKept, LlamaServer
from llmtp.metrics.look import Source
from llmtp.plan.choose import make_plan
from llmtp.plan.result import Plan
from llmtp.plan.sources import part_sources
from llmtp.plan.wishes import Wishes
from llmtp.profiles import load_profile
from llmtp.selection import Selection, select, select_published
from llmtp.server.entry import Entry

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient


class Planner(Protocol):
    """See make_plan."""

    def __call__(
        self, ref: Reference, machine: Machine, wishes: Wishes, *, partly: bool = True
    ) -> Plan: ...


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
    ) -> Selection: ...


@dataclass(frozen=True, slots=True)
class EngineKind:
    """One of them: its words, and its ways to be found, chosen files for, planned and asked.

    `find` gets `--engine`; `machine` looks at what the program can use. `kept` is for who keeps a
    server up, `watched` for who only looks at it, with the context of a request where that is
    known. `sources` says where the numbers of a plan come from.
    """

    name: Kind
    speech: Speech
    find: Callable[[str | None], Program]
    choose: Chooser
    machine: Callable[[Program], Machine]
    plan: Planner
    sources: Callable[[Plan], dict[str, str]]
    command: Callable[[Plan, Any, Serving, Sequence[str]], Command]
    connect: Callable[[str, str | None, Plan], EngineClient]
    kept: Callable[[EngineClient, Callable[[], LogTally]], Kept]
    watched: Callable[[EngineClient, Callable[[], LogTally], int | None], Source]


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
    is_vllm = named is not None and PurePath(named).name == VLLM
    return _KINDS[VLLM if is_vllm else LLAMA_SERVER]


def _choose_gguf(
    asked: Asked,
    wishes: Wishes,
    look: Callable[[], Machine],
    *,
    fresh: bool = False,
    imagined: bool = False,
    survey: bool = False,
) -> Selection:
    """Of the files that there are; for a survey without any, of what their makers published."""
    try:
        return select(asked, wishes, look, fresh=fresh, imagined=imagined, survey=survey)
    except LlmtpError as error:
        if not survey:
            raise
        return select_published(asked, wishes, look, error)


def _connect(url: str, key: str | None, _plan: Plan) -> EngineClient:
    from llmtp.engine.client import EngineClient

    return EngineClient(url, key)


_KINDS: Mapping[Kind, EngineKind] = {
    LLAMA_SERVER: EngineKind(
        name=LLAMA_SERVER,
        speech=LlamaSpeech(),
        find=find_engine,
        choose=_choose_gguf,
        machine=lambda program: detect(program.list_devices()),
        plan=make_plan,
        sources=part_sources,
        command=build_command,
        connect=_connect,
        kept=LlamaKept,
        watched=lambda client, tally, _: LlamaServer(client, tally),
    ),
}
