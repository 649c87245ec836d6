"""An engine of plain numbers: what `tune` would see on it, and what it would choose."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from llmtp.engine.steps import Step, step_error
from llmtp.tune.curve import Probed
from llmtp.tune.measure import LOST, SETTLED, Known, Visit
from llmtp.tune.search import TOP, Arm, Options, next_arm, winner
from llmtp.tune.work import ROUNDS

KINDS = ("code", "json", "list", "prose")
#: A start and its stop took so long of a 12B, whose file was in RAM, on an H200.
START_S = 8.0


@dataclass(frozen=True)
class Simulated:
    """`verify_s[n]` is what verifying n drafts takes, `draft_s` drafting one; drafts are right one
    by one with `acceptance` of their kind. `noise` is the spread of a step's time; a step alone is
    slower by `alone_s`."""

    verify_s: Sequence[float]
    draft_s: float
    acceptance: Sequence[float]
    noise: float = 0.02
    alone_s: float = 0.0

    def truth(self, arm: Arm) -> float:
        """Tokens per second: the geometric mean of the kinds."""
        step_s = self.step_s(arm.n_max)
        logs = [
            math.log(sum(share**k for k in range(arm.n_max + 1)) / step_s)
            for share in self.acceptance
        ]
        return math.exp(sum(logs) / len(logs))

    def step_s(self, n_max: int) -> float:
        return self.verify_s[n_max] + n_max * self.draft_s

    @property
    def best(self) -> float:
        """The speed of the best arm that there is."""
        return max(self.truth(Arm(n)) for n in range(TOP + 1))

    def steps(self, rng: random.Random, share: float, drafts: int, tokens: int) -> list[Step]:
        """Of an answer of so many tokens."""
        found, made = [], 0
        while made < tokens:
            right = next((k for k in range(drafts) if rng.random() >= share), drafts)
            took_s = self.step_s(drafts) * rng.lognormvariate(0, self.noise)
            found.append(Step(drafts, right, took_s))
            made += right + 1
        return found

    def probe(self, rng: random.Random, tokens: int) -> Probed:
        long = {
            kind: tuple(self.steps(rng, share, TOP, 2 * tokens))
            for kind, share in zip(KINDS, self.acceptance, strict=True)
        }
        short = []
        for n in (*range(TOP + 1), *range(TOP + 1)):
            took_s = self.verify_s[n] + (TOP * self.draft_s if n else 0) + self.alone_s
            short.append(Step(n, 0, took_s * rng.lognormvariate(0, self.noise)))
        return Probed(TOP, long, tuple(short), self.draft_s)

    def visit(self, rng: random.Random, arm: Arm, tokens: int, rounds: int) -> Visit:
        speeds: dict[tuple[str, int], float] = {}
        steps: dict[str, tuple[Step, ...]] = {}
        for kind, share in zip(KINDS, self.acceptance, strict=True):
            for number in range(rounds):
                some = self.steps(rng, share, arm.n_max, tokens)
                made = sum(one.accepted + 1 for one in some)
                speeds[kind, number] = made / sum(one.took_s for one in some)
                steps[kind] = (*steps.get(kind, ()), *some)
        return Visit(arm, speeds, steps)


@dataclass(frozen=True)
class Run:
    """The arm that is chosen, all that were measured on the way, and the seconds that it took."""

    chosen: Arm
    measured: list[Arm]
    step_s: tuple[float, ...]
    wall_s: float


def tune(engine: Simulated, rng: random.Random, tokens: int = 96) -> Run:
    """One whole run."""
    known = Known(probed=engine.probe(rng, tokens))
    wall_s = START_S + 2.5 * len(KINDS) * tokens / engine.truth(Arm(TOP))
    while (arm := _next(known)) is not None:
        visit = engine.visit(rng, arm, tokens, rounds=1)
        ahead = max((engine.truth(one.arm) for one in known.visits), default=0.0)
        steps = chain.from_iterable(visit.steps.values())
        settled = (step_error(steps, arm.n_max) or 1.0) < SETTLED and known.visits
        rounds = 1 if engine.truth(arm) < LOST * ahead or settled else ROUNDS
        if rounds > 1:
            visit = engine.visit(rng, arm, tokens, rounds)
        known.visits.append(visit)
        wall_s += _wall_s(engine, arm, tokens, rounds)
    measured = [visit.arm for visit in known.visits]
    return Run(winner(known.judged), measured, known.known_curve.step_s, wall_s)


def sweep_s(engine: Simulated, tokens: int = 96) -> float:
    """What it takes to measure all of off, 1 to 8 and 12 as often."""
    return sum(_wall_s(engine, Arm(n), tokens, ROUNDS) for n in (*range(9), TOP))


def _wall_s(engine: Simulated, arm: Arm, tokens: int, rounds: int) -> float:
    return START_S + rounds * len(KINDS) * tokens / engine.truth(arm)


def _next(known: Known) -> Arm | None:
    options = Options(has_p_min=False, has_probabilistic=False)
    return next_arm(known.known_curve, known.judged, options, None)


def monotone(rng: random.Random) -> list[float]:
    """Verify times that only grow, mostly with a cliff somewhere."""
    cliff, times = rng.randint(1, TOP + 2), [0.01]
    for n in range(1, TOP + 1):
        grown = times[-1] * (1 + rng.uniform(0.01, 0.25))
        times.append(grown * 2 if n == cliff else grown)
    return times
