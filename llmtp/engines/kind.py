"""What depends on which engine serves: the parts of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient
    from llmtp.engine.command import Command, Serving
    from llmtp.engine.kinds import Kind
    from llmtp.engine.program import Program
    from llmtp.engine.speech import Speech
    from llmtp.hub.reference import Asked, Reference
    from llmtp.machine.devices import Machine
    from llmtp.machine.workers import Worker
    from llmtp.metrics.counters import LogTally
    from llmtp.metrics.kept import Kept
    from llmtp.metrics.look import Source
    from llmtp.plan.result import Plan
    from llmtp.plan.wishes import Wishes
    from llmtp.selection import Selection
    from llmtp.tried import Alternative
    from llmtp.verdict import Checked


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
