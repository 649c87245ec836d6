"""The measuring: one server that tells of all values of n-max, then one for each that is worth it.

What is known is handed on with every server, so that another run may go on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count, cycle

from llmtp import signals
from llmtp.bench.answers import Asker
from llmtp.bench.estimate import geometric_mean
from llmtp.bench.starts import Starts
from llmtp.chain import Prepared, with_n_max
from llmtp.engine.steps import Answer, Step, step_error, step_s
from llmtp.errors import EngineError, LlmtpError, UsageError
from llmtp.machine.load import LoadMeter, computed_s
from llmtp.start import Running
from llmtp.tune.curve import Curve, Probed, curve_of
from llmtp.tune.search import TOP, Arm, Options, next_arm
from llmtp.tune.work import Amount, Prompt, Work

WARM_UP_TOKENS = 32
#: Rounds of whole answers with the first server.
_PROBED_ROUNDS = 2
#: Sizes of a batch to see alone, those that matter most first.
_ALONE = (0, TOP, 1, 2, 4, 3, 6, 8, 5, 7, 10, 9, 11)
#: Of the time that whole answers took, and so often at most.
_ALONE_SHARE, _ALONE_TIMES = 0.75, 6
_LEAST_ALONE_S = 1.5
#: The speed of a shorter answer says more of its first step than of drafting.
LEAST_TOKENS = 8
#: An arm that is behind by so much after a round is measured no further, and neither is one whose
#: steps are known to that share.
LOST, SETTLED = 0.95, 0.005


@dataclass(frozen=True, slots=True)
class Visit:
    """What an arm answered: tokens per second by kind and round, and the steps by kind."""

    arm: Arm
    speeds: Mapping[tuple[str, int], float]
    steps: Mapping[str, tuple[Step, ...]]

    @property
    def step_s(self) -> float | None:
        """Of a step with all drafts, the median: what others compute meanwhile slows single ones.
        None where there was none."""
        steps = [step for of_kind in self.steps.values() for step in of_kind]
        return step_s(steps, self.arm.n_max)

    @property
    def acceptance(self) -> float | None:
        """Accepted over drafted; None of off."""
        steps = [step for of_kind in self.steps.values() for step in of_kind]
        drafted = sum(step.drafted for step in steps)
        return sum(step.accepted for step in steps) / drafted if drafted else None


@dataclass
class Known:
    """All that was seen so far. `others_cores` is what other programs computed at most, `earlier_s`
    how long runs before this one took."""

    amount: Amount | None = None
    build: str | None = None
    probed: Probed | None = None
    visits: list[Visit] = field(default_factory=list)
    others_cores: float = 0.0
    earlier_s: float = 0.0

    @property
    def speeds(self) -> dict[Arm, float]:
        """Tokens per second of each arm, as far as the first one answered the same: its own, times
        how much faster others are."""
        if not self.visits:
            return {}
        first = self.visits[0]
        base = geometric_mean([*first.speeds.values()]) or 0.0
        found = {}
        for visit in self.visits:
            ratios = [
                speed / first.speeds[place]
                for place, speed in visit.speeds.items()
                if place in first.speeds
            ]
            found[visit.arm] = base * (geometric_mean(ratios) or 0.0)
        return found

    @property
    def judged(self) -> dict[Arm, float]:
        """Tokens per second to choose by: of an n-max what its steps took, with the drafts that are
        right of all that were seen, which is less chance than its own few answers. Another rule for
        drafts has its own speed, as far as that of the same n-max bears it out."""
        curve, speeds = self.curve, self.speeds
        if curve is None or not speeds:
            return speeds
        plain = {arm: curve.tokens_per_s(arm.n_max) for arm in speeds if arm.is_plain}
        on = [arm for arm in plain if arm.n_max and speeds[arm]]
        level = geometric_mean([plain[arm] / speeds[arm] for arm in on]) or 1.0
        return {arm: plain.get(arm, speed * level) for arm, speed in speeds.items()}

    def visit(self, arm: Arm) -> Visit | None:
        return next((one for one in self.visits if one.arm == arm), None)

    @property
    def steps(self) -> dict[str, list[Step]]:
        """Those of whole answers that tell how often drafts are right."""
        found: dict[str, list[Step]] = {}
        for of_kinds in (
            self.probed.long if self.probed else {},
            *(visit.steps for visit in self.visits if visit.arm.is_plain),
        ):
            for kind, steps in of_kinds.items():
                found.setdefault(kind, []).extend(steps)
        return found

    @property
    def curve(self) -> Curve | None:
        """What is expected of every n-max, by all that is known."""
        if self.probed is None:
            return None
        measured = {
            visit.arm.n_max: took_s
            for visit in self.visits
            if visit.arm.is_plain and (took_s := visit.step_s) is not None
        }
        return curve_of(self.probed, measured, self.steps)

    @property
    def known_curve(self) -> Curve:
        """That, once the first server was probed."""
        curve = self.curve
        if curve is None:
            raise RuntimeError("nothing was probed")
        return curve


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told while it goes on; `starting` with an arm and the speed that is expected of it,
    None for the first server."""

    starting: Callable[[Arm | None, float | None], None]
    asking: Callable[[Prompt | None], None]
    probed: Callable[[Known, float], None]
    visited: Callable[[Visit, float], None]
    keep: Callable[[Known], None]
    ending: Callable[[], None]


class Tuner:
    """Finds the fastest arm of one pair, from the plan for the largest n-max."""

    def __init__(
        self, prepared: Prepared, work: Work, known: Known, starts: Starts, told: Told
    ) -> None:
        """`known` is filled; what is in it is not measured again."""
        self._prepared = prepared
        self._work = work
        self._known = known
        self._starts = starts
        self._told = told
        self._tokens = 0
        self._options = Options(
            prepared.engine.cuts_drafts,
            work.temp > 0 and prepared.engine.samples_drafts,
        )

    def run(self) -> None:
        """Until enough is known; raises what ends a server before its time."""
        ended_by: BaseException | None = None
        try:
            if self._known.probed is None:
                self._told.starting(None, None)
                self._serve(with_n_max(self._prepared, TOP), self._probe)
            while (arm := self._next()) is not None:
                signals.check()
                self._measure(arm)
        except (LlmtpError, signals.Interrupted) as error:
            ended_by = error
            raise
        finally:
            self._starts.end(ended_by)

    def _next(self) -> Arm | None:
        known = self._known
        curve, speeds = known.curve, known.judged
        if curve is None and known.visit(Arm(0)) is not None:
            raise self._tells_nothing()
        if curve is None:
            return Arm(0)  # the other end of it
        plain = {arm: speed for arm, speed in speeds.items() if arm.is_plain}
        best = known.visit(max(plain, key=lambda one: plain[one])) if plain else None
        return next_arm(curve, speeds, self._options, best.acceptance if best else None)

    def _tells_nothing(self) -> EngineError:
        return EngineError(
            f"{self._prepared.engine.path} does not tell how long its steps take",
            rule="engine-steps",
            expected="timings in every chunk of a streamed answer",
            fix="use another build of the engine, or measure with llmtp bench",
        )

    def _measure(self, arm: Arm) -> None:
        curve = self._known.curve
        expected = curve.tokens_per_s(arm.n_max) if curve and arm.is_plain else None
        self._told.starting(arm, expected)
        prepared = with_n_max(self._prepared, arm.n_max, arm.p_min, arm.sampling_flag)
        self._serve(prepared, lambda running: self._visit(running, arm))

    def _serve(self, prepared: Prepared, use: Callable[[Running], None]) -> None:
        def told(running: Running) -> None:
            try:
                use(running)
            except signals.Interrupted:
                self._told.ending()  # the engine may take its time
                raise

        self._starts.serve(prepared, told)

    def _visit(self, running: Running, arm: Arm) -> None:
        known, amount = self._known, self._amount
        asker = self._warm(running)
        speeds: dict[tuple[str, int], float] = {}
        steps: dict[str, list[Step]] = {}
        with _Load(running, known):
            for number in range(amount.rounds):
                for prompt in self._work.prompts(number):
                    answer = self._answer(running, asker, prompt, amount.tokens)
                    steps.setdefault(prompt.kind, []).extend(answer.steps)
                    speed = answer.timings.tokens_per_s
                    if speed is not None and answer.timings.predicted >= LEAST_TOKENS:
                        speeds[prompt.kind, number] = speed
                if self._is_lost(speeds) or self._is_settled(arm, steps):
                    break
        if not speeds:
            raise _too_short()
        visit = Visit(arm, speeds, {kind: tuple(some) for kind, some in steps.items()})
        known.visits.append(visit)
        self._told.keep(known)
        self._told.visited(visit, known.judged[arm])

    def _is_lost(self, speeds: Mapping[tuple[str, int], float]) -> bool:
        """Is it clearly behind the best one by now?"""
        visits = self._known.visits
        if not visits:
            return False
        so_far = self._known.speeds
        best = max(visits, key=lambda one: so_far[one.arm])
        ratios = [one / best.speeds[place] for place, one in speeds.items() if place in best.speeds]
        ahead = geometric_mean(ratios)
        return ahead is not None and ahead < LOST

    def _is_settled(self, arm: Arm, steps: Mapping[str, Sequence[Step]]) -> bool:
        """Is known what its steps take? How often drafts are right is the same for every n-max:
        for that, the first one answers everything, and what drafts by another rule does, too."""
        if not self._known.visits or not arm.is_plain:
            return False
        error = step_error(chain.from_iterable(steps.values()), arm.n_max)
        return error is not None and error < SETTLED

    def _probe(self, running: Running) -> None:
        known, began = self._known, time.monotonic()
        asker = self._warm(running)
        known.build = running.asking(asker.build)
        warmed = [running.asking(lambda: asker.warm_up(WARM_UP_TOKENS)) for _ in range(2)]
        known.amount = self._work.amount(max(one.tokens_per_s or 1.0 for one in warmed))
        before = running.asking(running.drafting)
        long: dict[str, tuple[Step, ...]] = {}
        with _Load(running, known):
            asked_at = time.monotonic()
            for number in range(min(known.amount.rounds, _PROBED_ROUNDS)):
                for prompt in self._work.prompts(number):
                    answer = self._answer(running, asker, prompt, known.amount.tokens)
                    long[prompt.kind] = (*long.get(prompt.kind, ()), *answer.steps)
            took_s = time.monotonic() - asked_at
            after = running.asking(running.drafting)
            short = []
            if self._prepared.engine.verifies_fewer:
                short = self._alone(running, asker, took_s)
        draft_s = None
        if after is not None:
            drafting = after.since(before)
            if drafting.draft_s is not None and drafting.drafts:
                draft_s = drafting.draft_s / drafting.drafts / TOP
        known.probed = Probed(TOP, long, tuple(short), draft_s)
        tells = any(known.probed.long.values())
        if known.curve is None and (self._prepared.engine.verifies_fewer or not tells):
            known.probed = None
            raise _too_short() if self._tokens else self._tells_nothing()
        self._told.keep(known)
        self._told.probed(known, time.monotonic() - began)

    def _alone(self, running: Running, asker: Asker, long_s: float) -> list[Step]:
        """Steps with fewer drafts than the server makes: at the end of answers that are so long
        that no more can be needed."""
        found: list[Step] = []
        began, asked = time.monotonic(), count()
        prompts = cycle(prompt for number in range(2) for prompt in self._work.prompts(number))
        for _ in range(_ALONE_TIMES):
            for drafts in _ALONE:
                enough = time.monotonic() - began > max(_ALONE_SHARE * long_s, _LEAST_ALONE_S)
                if next(asked) >= len(_ALONE) and enough:
                    return found
                # The first token is the prompt's, and the last one of a step is not drafted.
                answer = self._answer(running, asker, next(prompts), drafts + 2, cached=True)
                found += answer.steps
        return found

    def _warm(self, running: Running) -> Asker:
        """The first request after a start may be far slower: it counts for nothing."""
        asker = Asker(running.session.client, running.session.check_answers)
        self._told.asking(None)
        running.asking(lambda: asker.warm_up(WARM_UP_TOKENS))
        return asker

    def _answer(
        self, running: Running, asker: Asker, prompt: Prompt, tokens: int, *, cached: bool = False
    ) -> Answer:
        self._told.asking(prompt)
        seed = 1000 * prompt.round_number
        answer = running.asking(
            lambda: asker.steps(prompt.text, tokens, self._work.temp, seed, cached=cached)
        )
        self._tokens += answer.timings.predicted
        return answer

    @property
    def _amount(self) -> Amount:
        if self._known.amount is None:
            raise RuntimeError("nothing was probed")
        return self._known.amount


def _too_short() -> UsageError:
    return UsageError(
        "the answers end at once: there is nothing to measure",
        rule="answers",
        expected=f"answers of {LEAST_TOKENS} tokens or more",
        fix="leave out what follows --, or tune for another --workload",
    )


class _Load:
    """Notes what other programs compute meanwhile."""

    def __init__(self, running: Running, known: Known) -> None:
        self._pid = running.session.process.pid
        self._known = known

    def __enter__(self) -> None:
        self._meter, self._before_s = LoadMeter(), computed_s(self._pid)

    def __exit__(self, *_: object) -> None:
        ours = computed_s(self._pid) - self._before_s
        others = self._meter.others_cores(ours)
        self._known.others_cores = max(self._known.others_cores, others)
