"""The measuring itself: a server an arm, one after the other, there and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from llmtp.bench.answers import Answered, Asker
from llmtp.bench.depth import SAMPLE_LINES, deep_question, records
from llmtp.bench.estimate import geometric_mean
from llmtp.bench.result import widest_interval
from llmtp.bench.same import MOST_SUSPECTS, Difference, Suspect, judge, suspects
from llmtp.bench.scheme import RESERVE, Lengths, Question, Scheme
from llmtp.bench.starts import Starts
from llmtp.chain import Prepared, with_n_max
from llmtp.errors import EngineUnreachableError, LlmtpError, UsageError
from llmtp.machine.load import LoadMeter, computed_s
from llmtp.metrics.counters import Drafting
from llmtp.server.log import RunLog
from llmtp.signals import Interrupted
from llmtp.start import Memory, Running
from llmtp.story import View
from llmtp.text import clean

T = TypeVar("T")
_WARM_UP_TOKENS = 32
#: An interval of so little on either side is narrow enough.
_NARROW = 0.03


@dataclass(frozen=True, slots=True)
class Visit:
    """One arm in one round. `drafting` is by cell name, from the engine's counters."""

    n_max: int
    round_number: int
    answers: tuple[Answered, ...]
    drafting: Mapping[str, Drafting]
    memory: Memory
    others_cores: float
    took_s: float

    @property
    def tokens_per_s(self) -> float | None:
        """Geometric mean of its requests."""
        return geometric_mean([s for one in self.answers if (s := one.timings.tokens_per_s)])


@dataclass
class Measured:
    """Everything that was seen, in the order in which it was. `round_s` is how long a round was
    expected to take, `ended_by` what ended all of it after some whole rounds."""

    scheme: Scheme
    lengths: Lengths = field(default_factory=lambda: Lengths(0, 0))
    rounds: int = 0
    visits: list[Visit] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    unjudged: int = 0
    argv: dict[int, tuple[str, ...]] = field(default_factory=dict)
    build: str | None = None
    engine_bytes: int | None = None
    round_s: float = 0.0
    ended_by: LlmtpError | Interrupted | None = None
    wall_s: float = 0.0

    @property
    def answers(self) -> list[Answered]:
        return [answer for visit in self.visits for answer in visit.answers]


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told while it goes on; `asking` with the question, the n-max and the round."""

    begun: Callable[[Measured], None]
    asking: Callable[[Question, int, int], None]
    visited: Callable[[Visit], None]
    ending: Callable[[], None]


class Bench:
    """Measures all arms of a scheme with one pair, from the plan for its largest n-max."""

    def __init__(
        self,
        prepared: Prepared,
        scheme: Scheme,
        log: RunLog,
        view: View,
        marks: Mapping[str, str | None],
        told: Told,
    ) -> None:
        self._prepared = prepared
        self._told = told
        self._starts = Starts(log, view, marks)
        self._tokens_a_line: float | None = None
        self._began = time.monotonic()
        self._round_began = self._began
        size = prepared.engine.path.stat().st_size
        self._measured = Measured(scheme, engine_bytes=size)

    def run(self) -> Measured:
        """Rounds until the intervals are narrow or the budget is spent, then the same-answer test.

        Raises what ends it before there is a whole round; later there is something to tell.
        """
        measured = self._measured
        ended_by: BaseException | None = None
        try:
            while True:
                order = measured.scheme.order(measured.rounds)
                for arm in order[:-1] if measured.rounds == 0 else order[1:-1]:
                    self._serve(arm, self._visit)
                if not self._serve(order[-1], self._visit_and_go_on):
                    break
            if suspects(measured.answers):
                self._serve(0, self._judge)
        except (LlmtpError, Interrupted) as error:
            ended_by = error
            if measured.rounds == 0:
                raise
            measured.ended_by = error
        finally:
            self._starts.end(ended_by)
            measured.wall_s = time.monotonic() - self._began
        self._keep_whole_rounds()
        return measured

    def _keep_whole_rounds(self) -> None:
        measured = self._measured
        measured.visits = [v for v in measured.visits if v.round_number < measured.rounds]
        judged = {one.suspect for one in measured.differences}
        measured.unjudged = len([s for s in suspects(measured.answers) if s not in judged])

    def _visit_and_go_on(self, running: Running) -> bool:
        """The last arm of a round is the first of the next one, if there is one: no new start."""
        self._visit(running)
        self._measured.rounds += 1
        if not self._wants_more():
            return False
        self._round_began = time.monotonic()
        self._visit(running)
        return True

    def _serve(self, arm: int, use: Callable[[Running], T]) -> T:
        prepared = with_n_max(self._prepared, arm)

        def noted(running: Running) -> T:
            self._measured.argv[arm] = running.argv
            return use(running)

        return self._starts.serve(prepared, noted)

    def _visit(self, running: Running) -> None:
        try:
            self._measure(running)
        except Interrupted:
            self._told.ending()  # the engine may take its time
            raise

    def _measure(self, running: Running) -> None:
        measured, session = self._measured, running.session
        arm = session.plan.n_max
        asker, began = Asker(session.client, session.check_answers), time.monotonic()
        running.asking(lambda: self._warm_up(asker))
        load, server_s = LoadMeter(), computed_s(session.process.pid)
        answers: list[Answered] = []
        drafting: dict[str, Drafting] = {}
        questions = list(measured.scheme.questions(measured.rounds))
        before = running.asking(running.drafting)
        for cell in measured.scheme.cells:
            for question in (one for one in questions if one.cell == cell):
                answers.append(self._answered(running, asker, question, arm))
            after = running.asking(running.drafting)
            if after is not None:
                drafting[cell.name] = after.since(before)
                before = after
        visit = Visit(
            n_max=arm,
            round_number=measured.rounds,
            answers=tuple(answers),
            drafting=drafting,
            memory=running.memory(),
            others_cores=load.others_cores(computed_s(session.process.pid) - server_s),
            took_s=time.monotonic() - began,
        )
        measured.visits.append(visit)
        self._told.visited(visit)

    def _warm_up(self, asker: Asker) -> None:
        """Thrown away; the first one of all says how fast this machine is."""
        asker.warm_up(_WARM_UP_TOKENS)
        measured, scheme = self._measured, self._measured.scheme
        if measured.lengths.tokens == 0:
            start_s = time.monotonic() - self._began
            timings = asker.warm_up(2 * _WARM_UP_TOKENS)
            speed = timings.tokens_per_s or 1.0
            measured.lengths = scheme.lengths(speed)
            a_prompt_token_s = timings.prompt_s / max(timings.prompt_tokens, 1)
            answers_s = scheme.round_s(measured.lengths, speed, a_prompt_token_s)
            measured.round_s = answers_s + start_s * len(scheme.arms)
            measured.build = asker.build()
            self._check_lengths(asker)
            self._told.begun(measured)

    def _check_lengths(self, asker: Asker) -> None:
        """Raises UsageError for a prompt of the user's that the context has no room for."""
        plan, lengths = self._prepared.plan, self._measured.lengths
        room = plan.ctx_size // plan.parallel - lengths.whole - RESERVE
        for cell in self._measured.scheme.cells:
            if not cell.workload.is_own:
                continue
            for number, prompt in enumerate(cell.workload.prompts, 1):
                # A text has no more tokens than bytes.
                if len(prompt.encode()) <= room - cell.depth:
                    continue
                tokens = len(asker.tokenize(prompt))
                if tokens + cell.depth > room:
                    raise UsageError(
                        f"prompt {number} has {tokens:,} tokens, which the context has no room for",
                        rule="prompt",
                        expected=f"at most {max(room - cell.depth, 0):,}",
                        fix="shorten it, or use a larger --ctx",
                    )

    def _answered(self, running: Running, asker: Asker, question: Question, arm: int) -> Answered:
        measured = self._measured
        self._told.asking(question, arm, measured.rounds)

        def ask() -> Answered:
            return asker.ask(
                question,
                self._text(asker, question, measured.rounds),
                arm,
                measured.rounds,
                measured.lengths.of(question),
            )

        try:
            return running.asking(ask)
        except LlmtpError as error:
            cause = error.__cause__
            status = cause.status if isinstance(cause, EngineUnreachableError) else None
            if status is not None and 400 <= status < 500:
                raise UsageError(
                    f"the server refuses prompt {question.number} of "
                    f"{question.cell.workload.name}: {clean(str(cause), 200)}",
                    rule="prompt",
                    fix="use a shorter prompt, a smaller --depth or a larger --ctx",
                ) from error
            raise

    def _text(self, asker: Asker, question: Question, round_number: int) -> str:
        depth = question.cell.depth
        if not depth:
            return question.text
        if self._tokens_a_line is None:
            sample = records(SAMPLE_LINES, 1)
            self._tokens_a_line = max(len(asker.tokenize(sample)) / SAMPLE_LINES, 1.0)
        seed = 100 * round_number + question.number
        return deep_question(question.text, depth, self._tokens_a_line, seed)

    def _wants_more(self) -> bool:
        """Is another round of any use, and is there time for it?"""
        measured = self._measured
        now = time.monotonic()
        if now - self._began + (now - self._round_began) > measured.scheme.budget_s:
            return False
        widest = widest_interval(measured.answers, measured.scheme)
        return widest is None or widest > _NARROW

    def _judge(self, running: Running) -> None:
        session = running.session
        asker = Asker(session.client, session.check_answers)

        def look(suspect: Suspect) -> Difference:
            text = self._text(asker, suspect.question, suspect.round_number)
            tokens = asker.tokenize(asker.prompt(text))
            return judge(suspect, asker.likely([*tokens, *suspect.before]))

        for suspect in suspects(self._measured.answers)[:MOST_SUSPECTS]:
            self._measured.differences.append(running.asking(partial(look, suspect)))
