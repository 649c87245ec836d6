"""One start of one plan: to ready, to the proof, and what can be asked of it then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, TypeVar

from llmtp import signals, spill, story
from llmtp.chain import Prepared, has_smaller
from llmtp.engines.kind import EngineKind
from llmtp.errors import (
    EngineEndedError,
    EngineUnreachableError,
    Finding,
    LlmtpError,
    MtpInactiveError,
    ServerDiedError,
    StartFailedError,
)
from llmtp.machine import learned
from llmtp.machine.devices import Device
from llmtp.machine.family import Family
from llmtp.machine.host import ProcessMeter
from llmtp.machine.learned import Learned
from llmtp.machine.workers import is_connected
from llmtp.metrics.allocations import Allocations
from llmtp.metrics.comparison import Comparison, compare
from llmtp.metrics.counters import Drafting, LogTally
from llmtp.metrics.kept import Samples
from llmtp.metrics.sampler import Meters
from llmtp.plan.memory import Parts
from llmtp.plan.overhead import overhead_kind
from llmtp.plan.result import Plan
from llmtp.plan.settings import batch_with_workers
from llmtp.server.answer import Answer, stream_answer
from llmtp.server.life import Life, State
from llmtp.server.log import RunLog
from llmtp.server.process import DRAIN_S
from llmtp.server.proof import Proof
from llmtp.server.pulse import Pulse, patience_with_workers
from llmtp.server.session import Session
from llmtp.story import View
from llmtp.text import clean
from llmtp.workers import blame

if TYPE_CHECKING:
    from llmtp.machine.nvml import CardMeter

T = TypeVar("T")
SAMPLE_EVERY_S = 1.0
_DRAIN_LOOK_S = 0.5
#: It takes some milliseconds to look at the connections of a process.
_WORKERS_EVERY_S = 3.0
_LOG_LAG_S, _LOG_LOOK_S = 1.0, 0.02


class _Tally:
    """Adds up the log in the draining thread; others read whole, immutable tallies."""

    def __init__(self) -> None:
        self.now = LogTally()
        self.allocations = Allocations()

    def add(self, line: str) -> None:
        self.now = self.now.add(line)
        self.allocations = self.allocations.add(line)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: `planned` where the layers are, of the process in RAM, and of it on the cards."""

    planned_bytes: int
    rss_bytes: int | None
    device_bytes: int | None


class Running:
    """A server that is ready and, where MTP is on, proved."""

    def __init__(
        self,
        session: Session,
        kind: EngineKind,
        tally: _Tally,
        cards: Sequence[CardMeter],
        patience_s: float | None,
    ) -> None:
        """`patience_s` as of Pulse."""
        self._patience_s = patience_s
        self._looked_at = 0.0
        self.session = session
        self._kept = kind.kept(session.client, lambda: tally.now)
        self._tally = tally
        self._cards = cards
        self._meter = ProcessMeter(Family(session.process.pid).largest(session.process.pid))

    @property
    def argv(self) -> tuple[str, ...]:
        """What was started."""
        return self.session.argv

    def watch(self, view: View) -> None:
        """Show samples until the server dies or hangs, which raises, or somebody interrupts."""
        try:
            sampler, pulse = self._sampler(), Pulse(self._patience_s)
            while True:
                if (error := self.session.log.take_error()) is not None:
                    view.finding(log_lost(self.session.log, error))
                asked_at = time.monotonic()
                sample = sampler.sample()
                view.sample(sample, self.session.uptime_s)
                hung_s = self._feel(pulse, sampler, asked_at, bool(sample.busy_slots))
                if self.session.wait_ended(SAMPLE_EVERY_S):
                    raise self.session.died()
                if hung_s is not None:
                    raise self.session.hung(hung_s)
                if (gone := self._gone_worker()) is not None:
                    raise self.session.abandoned(gone)
        except EngineEndedError:
            raise
        except BaseException:
            self._drain(view)  # who interrupts, or does not read any more, ends no request
            raise

    def answer(self, prompt: str, on_text: Callable[[str], None]) -> Answer:
        """Ask once as a chat user would; raises as `asking` does."""
        session = self.session
        return self.asking(
            lambda: stream_answer(session.client, prompt, on_text, session.check_answers)
        )

    def asking(self, ask: Callable[[], T]) -> T:
        """Ask; raises ServerDiedError when the server goes away, or fails the request."""
        try:
            return ask()
        except EngineUnreachableError as error:
            if self.session.wait_ended(SAMPLE_EVERY_S):
                raise self.session.died() from error
            raise ServerDiedError(
                f"the server lives, but failed the request: {clean(error.detail)}",
                rule="request",
                fix=f"see its log: {self.session.log.path}",
            ) from error

    def drafting(self) -> Drafting | None:
        """Since the start, of all requests that have ended; None where nothing is drafted."""
        if not self.session.plan.mtp:
            return None
        self._let_log_catch_up()
        return self._kept.drafting()

    def memory(self) -> Memory:
        """What it takes now."""
        comparison = _compare(self.session, self._tally.allocations, self._cards)
        return Memory(comparison.planned.total, self._meter.rss_bytes(), comparison.taken_bytes)

    def _feel(self, pulse: Pulse, sampler: Samples, asked_at: float, working: bool) -> float | None:
        if sampler.answered:
            pulse.answered(working=working)
        else:
            computed_s = Family(self.session.process.pid).computed_s()
            pulse.silent(
                asked_at,
                time.monotonic(),
                working=bool(self._tally.now.working),
                computed_s=computed_s,
            )
        return pulse.hung_s()

    def _gone_worker(self) -> str | None:
        """One whose connection has ended: the engine notices with the next request, and dies."""
        workers, now = self.session.plan.workers, time.monotonic()
        if not workers or now - self._looked_at < _WORKERS_EVERY_S:
            return None
        self._looked_at = now
        ends = Family(self.session.process.pid).connected_to()
        gone = (one.endpoint for one in workers if is_connected(one.endpoint, ends) is False)
        return next(gone, None)

    def _drain(self, view: View) -> None:
        """Let requests finish; another signal to ourselves ends the wait."""
        wishes, deadline, told = min(signals.count(), 1), time.monotonic() + DRAIN_S, False
        while signals.count() <= wishes and time.monotonic() < deadline:
            busy = self._busy(wishes)
            if not busy or signals.count() > wishes:
                return
            if not told:
                view.draining(busy, DRAIN_S)
                told = True
            if self.session.process.wait_ended(_DRAIN_LOOK_S):
                return

    def _busy(self, wishes: int) -> int:
        """Requests that it works on, as far as it says before somebody wishes once more that we
        end."""

        def end_at_another_wish() -> None:
            if signals.count() > wishes:
                raise EngineUnreachableError("nobody waits for it any more")

        return self._kept.busy(_DRAIN_LOOK_S, end_at_another_wish)

    def _sampler(self) -> Samples:
        self._let_log_catch_up()
        meters = Meters(self._meter.rss_bytes, self._used_bytes)
        return self._kept.samples(meters)

    def _let_log_catch_up(self) -> None:
        """The engine logs from a thread of its own; what it has not told yet would be counted
        as somebody else's. All is told once nobody works and no more lines come."""
        deadline, seen = time.monotonic() + _LOG_LAG_S, None
        while time.monotonic() < deadline and (seen is not self._tally.now or seen.working):
            seen = self._tally.now
            if self.session.wait_ended(_LOG_LOOK_S):
                return

    def _used_bytes(self) -> int | None:
        """Of all cards of the plan, by all programs."""
        used = [card.used_bytes() for card in self._cards]
        known = [count for count in used if count is not None]
        return sum(known) if known and len(known) == len(used) else None


def serve(
    prepared: Prepared,
    log: RunLog,
    life: Life,
    view: View,
    use: Callable[[Running], T],
    *,
    may_step: bool,
    marks: Mapping[str, str | None],
) -> T:
    """From the process over its proof to what `use` makes of it; the server is stopped after that.

    What spilled runs on where the plan may not step down. Raises the error of what fails.
    """
    prepared.check_workers()
    plan, tally, kind = prepared.plan, _Tally(), prepared.kind
    session = Session(
        plan,
        prepared.command,
        prepared.request.serving,
        kind.speech,
        lambda url, key: kind.connect(url, key, plan),
        log,
        tally.add,
        marks,
    )
    reason = "asked"
    try:
        with session, contextlib.ExitStack() as stopping:
            stopping.callback(life.to, State.STOPPING)
            view.event(story.starting(session.process.pid, session.log.path))
            total_bytes = sum(one.file_bytes for one in (plan.main, plan.draft) if one)
            ready_s = session.wait_ready(lambda s, done: view.loading(s, done, total_bytes))
            life.to(State.PROVING)
            view.event(story.ready(session, ready_s))
            proof = _proved(session, view)
            cards = _cards(plan)
            comparison = _compare(session, tally.allocations, cards)
            view.event(story.Event("memory", comparison.to_dict()))
            _check_spilled(prepared, session, comparison, proof, view, may_step)
            life.to(State.READY)
            try:
                patience_s = None
                if plan.workers:
                    speed = proof.tokens_per_s if proof else None
                    batch = batch_with_workers(plan.ubatch, plan.parallel, plan.n_max)
                    patience_s = patience_with_workers(batch, speed)
                return use(Running(session, kind, tally, cards, patience_s))
            finally:
                # Some of the driver's share only comes with a request, and grows with longer ones.
                asked = proof is not None or tally.now.requests > 0
                if asked and session.process.returncode is None:
                    _learn(plan, _compare(session, tally.allocations, cards))
    except LlmtpError as error:
        if isinstance(error, EngineEndedError):
            blame(error, prepared)
        reason = error.findings[0].rule
        raise
    finally:
        if session.was_entered:
            if life.state is not State.STOPPING:  # interrupted on the way to saying so
                life.to(State.STOPPING)
            view.event(story.stopped(session.uptime_s, reason))


def log_lost(log: RunLog, error: OSError) -> Finding:
    """That lines of it could not be written, and why."""
    return Finding(
        "log-lost",
        "warning",
        f"lines of the server's log are lost: {log.path} cannot be written: {error.strerror}",
        fix=f"see to {log.path.parent}, and to room on its disk; the server goes on",
    )


def _proved(session: Session, view: View) -> Proof | None:
    try:
        proof = session.prove()
    except MtpInactiveError as error:
        view.event(story.proved(Proof(0, 0), error.findings))
        raise
    findings = proof.findings() if proof else []
    view.event(story.proved(proof, findings))
    for finding in findings:
        view.finding(finding)
    return proof


def _check_spilled(
    prepared: Prepared,
    session: Session,
    comparison: Comparison,
    proof: Proof | None,
    view: View,
    may_step: bool,
) -> None:
    """Raises StartFailedError for what is not on the card, where a smaller plan may be."""
    spilled = _spilled(session, comparison, proof, view)
    if spilled is None:
        return
    fix = "free memory of the card, or use a smaller --ctx or quant"
    if may_step and has_smaller(prepared):
        error = StartFailedError(spilled, rule="spilled", fix=fix)
        error.out_of = "device memory"
        raise error
    view.finding(Finding("spilled", "warning", spilled, fix=fix))


def _spilled(
    session: Session, comparison: Comparison, proof: Proof | None, view: View
) -> str | None:
    """In words, where something of the plan is not on the card. A start that is slow with all of
    it on the card has another reason, such as a battery: that is only said."""
    plan = session.plan
    missing = spill.missing_on_card(plan, comparison)
    if missing is not None or proof is None:
        return missing
    if plan.workers:  # whose speed is that of a network, too
        return None
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
