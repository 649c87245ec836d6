"""From a prepared plan to a proved, watched server: the story that every view tells."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

from llmtp import spill
from llmtp.chain import Prepared, has_smaller, prepare_smaller
from llmtp.engine.command import Serving
from llmtp.errors import (
    DoesNotFitError,
    EngineUnreachableError,
    Finding,
    MtpInactiveError,
    OutOfMemoryError,
    ServerDiedError,
)
from llmtp.machine import learned
from llmtp.machine.devices import Device
from llmtp.machine.host import ProcessMeter
from llmtp.machine.learned import Learned
from llmtp.metrics.allocations import Allocations
from llmtp.metrics.comparison import Comparison, compare
from llmtp.metrics.counters import LogTally
from llmtp.metrics.sampler import Meters, Sample, Sampler
from llmtp.plan.ladder import GivenUp, Step
from llmtp.plan.memory import Parts
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
#: So often a start that ran out of memory is tried again with a smaller plan.
MOST_STEPS = 4


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `fields` are plain values, ready for JSON."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)


class View(Protocol):
    """Shows what happens. Called from one thread, in the order of events."""

    def prepared(self, prepared: Prepared) -> None:
        """The plan that is started now; another one follows where it runs out of memory."""

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

    def __init__(self, session: Session, tally: _Tally, cards: Sequence[CardMeter]) -> None:
        self.session = session
        self._tally = tally
        self._cards = cards

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
        meters = Meters(meter.rss_bytes, self._used_bytes)
        return Sampler(self.session.client, lambda: self._tally.now, meters)

    def _used_bytes(self) -> int | None:
        """Of all cards of the plan, by all programs."""
        used = [card.used_bytes() for card in self._cards]
        known = [count for count in used if count is not None]
        return sum(known) if known and len(known) == len(used) else None


@contextlib.contextmanager
def launch(prepared: Prepared, serving: Serving, view: View) -> Iterator[Running]:
    """Start, wait for ready, prove MTP; the server is stopped on leaving.

    Where memory runs out all the same, the plan gives up more and it is tried again, a few times.
    """
    with contextlib.ExitStack() as stack:
        for step in range(MOST_STEPS + 1):
            view.prepared(prepared)
            try:
                may_step = step < MOST_STEPS and not prepared.request.wishes.strict
                running = stack.enter_context(_started(prepared, serving, view, may_step))
                break
            except OutOfMemoryError as error:
                if not may_step:
                    raise
                prepared = _step_down(prepared, error, step + 1, view)
        yield running


def _step_down(prepared: Prepared, error: OutOfMemoryError, step: int, view: View) -> Prepared:
    """The next plan; raises the error itself where there is none."""
    try:
        smaller = prepare_smaller(prepared, in_ram=error.in_ram)
    except DoesNotFitError:
        raise error from None
    before, after = prepared.plan, smaller.plan
    given_up = [one for one in after.given_up if one not in before.given_up]
    if after.ctx_size < before.ctx_size and not any(s.step is Step.SHORT_CONTEXT for s in given_up):
        given_up.insert(0, GivenUp(Step.CONTEXT, before.ctx_size, after.ctx_size))
    reason = error.findings[0].message
    steps = [one.to_dict() for one in given_up]
    view.event(Event("restarting", {"step": step, "reason": reason, "given_up": steps}))
    words = ", ".join(one.words() for one in given_up) or "on other cards"
    view.finding(
        Finding(error.findings[0].rule, "warning", f"{reason}; trying again with less: {words}")
    )
    told = {one.rule for one in (*prepared.plan.given_up, *given_up)}
    return replace(smaller, findings=tuple(f for f in smaller.findings if f.rule not in told))


@contextlib.contextmanager
def _started(prepared: Prepared, serving: Serving, view: View, may_step: bool) -> Iterator[Running]:
    """One start of one plan; what spilled runs on where it may not step down."""
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
            cards = _cards(plan)
            comparison = _compare(session, tally.allocations, cards)
            view.event(Event("memory", comparison.to_dict()))
            spilled = _spilled(session, comparison, proof, view)
            if spilled is not None:
                fix = "free memory of the card, or use a smaller --ctx or quant"
                if may_step and has_smaller(prepared):
                    raise OutOfMemoryError(spilled, rule="spilled", fix=fix)
                view.finding(Finding("spilled", "warning", spilled, fix=fix))
            try:
                yield Running(session, tally, cards)
            finally:
                # Some of the driver's share only comes with a request, and grows with longer ones.
                asked = proof is not None or tally.now.requests > 0
                if asked and session.process.returncode is None:
                    _learn(plan, _compare(session, tally.allocations, cards))
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


def _spilled(
    session: Session, comparison: Comparison, proof: Proof | None, view: View
) -> str | None:
    """In words, where something of the plan is not on the card. A start that is slow with all of
    it on the card has another reason, such as a battery: that is only said."""
    plan = session.plan
    missing = spill.missing_on_card(plan, comparison)
    if missing is not None or proof is None:
        return missing
    if spill.is_slow(plan, proof):
        again = session.prove()  # the first request after a start may be slow for another reason
        if again is not None and spill.is_slow(plan, again):
            words = spill.slow_words(plan, again)
            if comparison.taken_bytes is None:
                return f"{words}: it seems to have spilled into RAM"
            view.finding(Finding("slow-start", "warning", f"{words}, with all of it on the card"))
            return None
    spill.remember_speed(plan, proof)
    return None


def _cards(plan: Plan) -> list[CardMeter]:
    """The driver's meters of the cards that the plan uses; none unless of all of them."""
    numbers = [gpu.number for gpu in plan.gpus if gpu.number is not None]
    if not numbers or len(numbers) < len(plan.gpus):
        return []
    from llmtp.machine.nvml import CardMeter

    return [CardMeter(number) for number in numbers]


def _compare(session: Session, said: Allocations, cards: Sequence[CardMeter]) -> Comparison:
    """The plan against what engine and driver say now, where the layers are."""
    plan = session.plan
    if not plan.gpus:
        return compare(plan.host_parts, said, "host", None, drafts=plan.mtp)
    planned = reduce(Parts.__add__, (usage.parts for usage in plan.used_devices))
    pid = session.process.pid
    taken = [_taken(card, gpu, pid) for card, gpu in zip(cards, plan.gpus, strict=False)]
    known = [count for count in taken if count is not None]
    total = sum(known) if len(known) == len(plan.gpus) else None
    return compare(planned, said, "device", total, drafts=plan.mtp)


def _taken(card: CardMeter, gpu: Device, pid: int) -> int | None:
    """Of one card by the engine: what the driver says of the process, or what is gone since."""
    taken = card.process_bytes(pid)
    free, was_free = card.free_bytes(), gpu.free_bytes
    if taken is None and free is not None and was_free is not None:
        return was_free - free
    return taken


def _learn(plan: Plan, comparison: Comparison) -> None:
    """Keep the driver's share for the next plan of that kind on that device, where it is told."""
    overhead, taken = comparison.overhead_bytes, comparison.taken_bytes
    if len(plan.gpus) != 1 or overhead is None or taken is None:
        return
    device = plan.gpus[0]
    kind = overhead_kind(plan.main.shape, plan.kv_type, drafts=plan.mtp)
    taught = Learned(overhead, comparison.planned.total, taken, time.strftime("%Y-%m-%d"))
    learned.remember(device.name, device.backend, kind, taught)
