"""llama-server, of llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmtp.engine.kinds import LLAMA_SERVER
from llmtp.engine.llama.argv import build_command
from llmtp.engine.llama.find import find_engine
from llmtp.engine.llama.speech import LlamaSpeech
from llmtp.engines.kind import EngineKind
from llmtp.errors import LlmtpError
from llmtp.hub.reference import Asked, Reference
from llmtp.machine.detect import detect
from llmtp.machine.devices import Machine
from llmtp.machine.workers import Worker
from llmtp.plan.choose import make_plan
from llmtp.plan.result import Plan
from llmtp.plan.shrink import shrunk
from llmtp.plan.sources import part_sources
from llmtp.plan.wishes import Wishes
from llmtp.selection import Selection, select, select_published
from llmtp.tried import alone
from llmtp.verdict import check

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


def _machine(program: Any, workers: Sequence[Worker]) -> Machine:
    """This one, and the devices of workers behind its own."""
    found = detect(program.list_devices())
    if not workers:
        return found
    from llmtp.engine.llama.rpc import remote_devices

    return replace(found, devices=(*found.devices, *remote_devices(program, workers)))


def _check_workers(program: Any, workers: Sequence[Worker]) -> None:
    from llmtp.engine.llama.rpc import check_workers

    check_workers(program, workers)


def _smaller_plan(
    ref: Reference, machine: Machine, wishes: Wishes, failed: Plan, out_of: str
) -> Plan:
    """On a machine with less than the plan took that ran out of it."""
    return make_plan(ref, shrunk(machine, failed, wishes.margin, in_ram=out_of == "RAM"), wishes)


def _connect(url: str, key: str | None, _plan: Plan) -> EngineClient:
    from llmtp.engine.client import EngineClient

    return EngineClient(url, key)


def _kept(client: EngineClient, tally: Callable[[], LogTally]) -> Kept:
    from llmtp.metrics.llama import LlamaKept

    return LlamaKept(client, tally)


def _watched(client: EngineClient, tally: Callable[[], LogTally], _: int | None) -> Source:
    from llmtp.metrics.llama import LlamaServer

    return LlamaServer(client, tally)


KIND = EngineKind(
    name=LLAMA_SERVER,
    product="llama.cpp",
    reads_presets=True,
    version=lambda _: None,
    speech=LlamaSpeech(),
    find=lambda requested, on_paper: find_engine(requested),  # noqa: ARG005 - its flags are known by it
    check=check,
    choose=_choose,
    machine=_machine,
    takes_workers=True,
    check_workers=_check_workers,
    plan=make_plan,
    smaller=_smaller_plan,
    sources=part_sources,
    command=build_command,
    connect=_connect,
    kept=_kept,
    watched=_watched,
    beside=lambda *planned: (alone(*planned),),
)
