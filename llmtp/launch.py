"""From a prepared plan to a proved, watched server: the story that every view tells."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llmtp.chain import Prepared
from llmtp.engine.command import Serving
from llmtp.errors import EngineUnreachableError, Finding, MtpInactiveError, ServerDiedError
from llmtp.machine import learned
from llmtp.machine.host import ProcessMeter
from llmtp.machine.learned import Learned
from llmtp.metrics.allocations import Allocations
from llmtp.metrics.comparison import Comparison, compare
from llmtp.metrics.counters import LogTally
from llmtp.metrics.sampler import Meters, Sample, Sampler
from llmtp.plan.overhead import overhead_kind
from llmtp.plan.result import Plan
from llmtp.server.answer import Answer, stream_answer
from llmtp.server.proof import Proof
from llmtp.server.session import Session
from llmtp.text import clean
from llmtp.verdict import Checked

if TYPE_CHECKING:
    from llmtp.machine.nvml import CardMeter

SAMPLE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `fields` are plain values, ready for JSON."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)


class View(Protocol):
    """Shows what happens. Called from one thread, in the order of events."""

    def event(self, event: Event) -> None: ...

    def finding(self, finding: Finding) -> None: ...

    def loading(self, elapsed_s: float, loaded_bytes: int | None, total_bytes: int) -> None: ...

    def sample(self, sample: Sample, uptime_s: float) -> None: ...

    def stopping(self) -> None:
        """A request in progress may take the server some seconds more."""


class _Tally:
    """Adds up the log in the draining thread; others read whole, immutable tallies."""

    def __init__(self) -> None:
        self.now = LogTally()
        self.allocations = Allocations()

    def add(self, line: str) -> None:
        self.now = self.now.add(line)
        self.allocations = self.allocations.add(line)


class Running:
    """A server that is ready and, where MTP is on, proved."""

    def __init__(self, session: Session, tally: _Tally, card: CardMeter | None) -> None:
        self.session = session
        self._tally = tally
        self._card = card

    def watch(self, view: View) -> None:
        """Show samples until the server dies, which raises, or somebody interrupts."""
        sampler = self._sampler()
        while True:
            view.sample(sampler.sample(), self.session.uptime_s)
            if self.session.wait_ended(SAMPLE_EVERY_S):
                raise self.session.died()

    def answer(self, prompt: str, on_text: Callable[[str], None]) -> Answer:
        """Ask once; raises ServerDiedError when the server goes away, or fails the request."""
        try:
            return stream_answer(self.session.client, prompt, on_text)
        except EngineUnreachableError as error:
            if self.session.wait_ended(SAMPLE_EVERY_S):
                raise self.session.died() from error
            raise ServerDiedError(
                f"the server lives, but failed the request: {clean(error.detail)}",
                rule="request",
                fix=f"see its log: {self.session.log}",
            ) from error

    def _sampler(self) -> Sampler:
        meter = ProcessMeter(self.session.process.pid)
        on_device = self._card.used_bytes if self._card else lambda: None
        meters = Meters(meter.rss_bytes, on_device)
        return Sampler(self.session.client, lambda: self._tally.now, meters)


@contextlib.contextmanager
def launch(prepared: Prepared, serving: Serving, view: View) -> Iterator[Running]:
    """Start, wait for ready, prove MTP; the server is stopped on leaving."""
    plan, tally = prepared.plan, _Tally()
    files = [plan.main, *([plan.draft] if plan.draft else [])]
    total_bytes = sum(facts.file_bytes for facts in files)
    session = Session(plan, prepared.command, serving, tally.add)
    try:
        with session, contextlib.ExitStack() as stopping:
            stopping.callback(view.stopping)
            view.event(Event("starting", {"pid": session.process.pid, "log": str(session.log)}))
            ready_s = session.wait_ready(lambda s, done: view.loading(s, done, total_bytes))
            view.event(
                Event(
                    "ready",
                    {
                        "id": f"{plan.name}-{serving.port}",
                        "pid": session.process.pid,
                        "url": session.url,
                        "port": serving.port,
                        "n_max": plan.n_max,
                        "ready_s": round(ready_s, 3),
                        "api_key_file": str(serving.api_key_file) if serving.api_key_file else None,
                    },
                )
            )
            try:
                proof = session.prove()
            except MtpInactiveError as error:
                view.event(_mtp_event(Proof(0, 0), error.findings))
                raise
            view.event(_mtp_event(proof, proof.findings() if proof else []))
            for finding in proof.findings() if proof else ():
                view.finding(finding)
            card = _card(plan)
            comparison = _compare(session, tally.allocations, card)
            view.event(Event("memory", comparison.to_dict()))
            try:
                yield Running(session, tally, card)
            finally:
                # Some of the driver's share only comes with a request, and grows with longer ones.
                asked = proof is not None or tally.now.requests > 0
                if asked and session.process.returncode is None:
                    _learn(plan, _compare(session, tally.allocations, card))
    finally:
        view.event(Event("stopped", {"uptime_s": round(session.uptime_s, 3)}))


def _mtp_event(proof: Proof | None, findings: list[Finding]) -> Event:
    return Event(
        "mtp",
        {
            "active": proof is not None and proof.active,
            "drafted": proof.drafted if proof else 0,
            "accepted": proof.accepted if proof else 0,
            "findings": [finding.to_dict() for finding in findings],
        },
    )


def checked_event(checked: Checked) -> Event:
    """The pair that passed its check."""
    return Event("checked", checked.to_dict())


def planned_event(prepared: Prepared) -> Event:
    """The plan that will be started."""
    findings = [finding.to_dict() for finding in prepared.findings]
    return Event("planned", prepared.to_dict() | {"findings": findings})


def _card(plan: Plan) -> CardMeter | None:
    """The driver's meter of the card that the plan uses, where there is one."""
    if plan.device is None or plan.device.source != "NVML":
        return None
    from llmtp.machine.nvml import CardMeter

    return CardMeter(plan.device.name)


def _compare(session: Session, said: Allocations, card: CardMeter | None) -> Comparison:
    """The plan against what engine and driver say now, where the layers are."""
    plan = session.plan
    if plan.device is None:
        return compare(plan.host_parts, said, "host", None, drafts=plan.mtp)
    (planned,) = (usage.parts for usage in plan.devices if usage.device is plan.device)
    taken = None
    if card is not None:
        taken = card.process_bytes(session.process.pid)
        free, was_free = card.free_bytes(), plan.device.free_bytes
        if taken is None and free is not None and was_free is not None:
            taken = was_free - free
    return compare(planned, said, "device", taken, drafts=plan.mtp)


def _learn(plan: Plan, comparison: Comparison) -> None:
    """Keep the driver's share for the next plan of that kind on that device, where it is told."""
    device, overhead, taken = plan.device, comparison.overhead_bytes, comparison.taken_bytes
    if device is None or overhead is None or taken is None:
        return
    kind = overhead_kind(plan.main.shape, plan.kv_type, drafts=plan.mtp)
    taught = Learned(overhead, comparison.planned.total, taken, time.strftime("%Y-%m-%d"))
    learned.remember(device.name, device.backend, kind, taught)
