"""What the answers add up to: speed-ups with intervals, acceptance, costs of a step. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmtp.bench.answers import Answered
from llmtp.bench.estimate import Ratio, geometric_mean, mean_ratio
from llmtp.bench.scheme import Cell, Scheme
from llmtp.metrics.counters import Drafting

if TYPE_CHECKING:
    from llmtp.bench.measure import Measured, Visit

#: The speed of a shorter answer says more of its first step than of drafting.
_LEAST_TOKENS = 8
#: Tokens per second by number of the question and round.
Speeds = Mapping[tuple[int, int], float]


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one arm, in one cell or in all. Rates are tokens per second, geometric means.

    `speedup` is against MTP off, the mean of the rounds. `step_cost` is what a step takes as a
    multiple of a plain one, so that `mean_accepted_length` over it is the speed-up, and
    `break_even` the acceptance at which it would be won back. `acceptance` is accepted over
    drafted, at each position over drafts; `draft_share` is the share of decoding that the drafter
    took. Unknown is None.
    """

    n_max: int
    tokens_per_s: float | None
    speedup: Ratio | None
    acceptance: float | None
    acceptance_per_position: tuple[float, ...]
    mean_accepted_length: float | None
    steps: int
    step_cost: float | None
    break_even: float | None
    draft_share: float | None
    first_token_s: float | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "n_max": self.n_max,
            "tokens_per_s": self.tokens_per_s,
            "speedup": self.speedup.value if self.speedup else None,
            "speedup_interval": self.speedup.interval if self.speedup else None,
            "acceptance": self.acceptance,
            "acceptance_per_position": list(self.acceptance_per_position),
            "mean_accepted_length": self.mean_accepted_length,
            "steps": self.steps,
            "step_cost": self.step_cost,
            "break_even_acceptance": self.break_even,
            "draft_share": self.draft_share,
            "first_token_s": self.first_token_s,
        }


@dataclass(frozen=True, slots=True)
class CellResult:
    """One cell with all its arms, MTP off first."""

    cell: Cell
    arms: tuple[Figures, ...]
    speeds: Mapping[int, Speeds]

    def ratio(self, n_max: int, other: int) -> Ratio | None:
        """How many times as fast the first is as the second, question by question."""
        return _by_round([(self.speeds[n_max], self.speeds[other])])

    def arm(self, n_max: int) -> Figures:
        return next(one for one in self.arms if one.n_max == n_max)


@dataclass(frozen=True, slots=True)
class Result:
    """All cells, and all of them together."""

    cells: tuple[CellResult, ...]
    overall: tuple[Figures, ...]

    def arm(self, n_max: int) -> Figures:
        """Of all cells together."""
        return next(one for one in self.overall if one.n_max == n_max)

    @property
    def best(self) -> Figures:
        """The fastest arm with MTP on, overall."""
        return max(self.overall[1:], key=lambda one: one.speedup.value if one.speedup else 0.0)


def add_up(measured: Measured) -> Result:
    """All figures of a run."""
    answers, scheme = measured.answers, measured.scheme
    cells = tuple(
        CellResult(
            cell,
            tuple(_figures(answers, measured.visits, (cell,), n_max) for n_max in scheme.arms),
            {n_max: _speeds(answers, cell, n_max) for n_max in scheme.arms},
        )
        for cell in scheme.cells
    )
    overall = tuple(_figures(answers, measured.visits, scheme.cells, n) for n in scheme.arms)
    return Result(cells, overall)


def widest_interval(answers: Sequence[Answered], scheme: Scheme) -> float | None:
    """Of all speed-ups of cells; None where there is one of which too little is known yet."""
    widths = [
        ratio.half_width if (ratio := _gain(answers, (cell,), n_max)) else None
        for cell in scheme.cells
        for n_max in scheme.arms[1:]
    ]
    known = [width for width in widths if width is not None]
    return max(known) if known and len(known) == len(widths) else None


def _figures(
    answers: Sequence[Answered], visits: Iterable[Visit], cells: Sequence[Cell], n_max: int
) -> Figures:
    mine = [one for one in answers if one.n_max == n_max and one.question.cell in cells]
    drafted = sum(one.timings.drafted for one in mine)
    accepted = sum(one.timings.accepted for one in mine)
    steps = sum(one.timings.steps for one in mine)
    speedup = _gain(answers, cells, n_max) if n_max else Ratio(1.0, 1.0, 1.0)
    length = 1 + accepted / steps if n_max and steps else None
    cost = length / speedup.value if length and speedup else None
    # Each kind of text counts once, however long its answers are.
    rates = [geometric_mean([*_speeds(answers, cell, n_max).values()]) for cell in cells]
    drafting = _drafting(visits, {cell.name for cell in cells}, n_max)
    return Figures(
        n_max=n_max,
        tokens_per_s=geometric_mean([rate for rate in rates if rate is not None]),
        speedup=speedup,
        acceptance=accepted / drafted if drafted else None,
        acceptance_per_position=_positions(drafting, n_max),
        mean_accepted_length=length,
        steps=steps,
        step_cost=cost,
        break_even=max((cost - 1) * steps / drafted, 0.0) if cost and drafted else None,
        draft_share=_draft_share(drafting, mine),
        first_token_s=geometric_mean([t for one in mine if (t := one.timings.prompt_s) > 0]),
    )


def _draft_share(drafting: Drafting | None, answers: Iterable[Answered]) -> float | None:
    took_s = sum(one.timings.predicted_s for one in answers)
    if drafting is None or drafting.draft_s is None or not took_s:
        return None
    return min(drafting.draft_s / took_s, 1.0)


def _speeds(answers: Iterable[Answered], cell: Cell, n_max: int) -> Speeds:
    return {
        (one.question.number, one.round_number): speed
        for one in answers
        if one.n_max == n_max
        and one.question.cell == cell
        and one.timings.predicted >= _LEAST_TOKENS
        and (speed := one.timings.tokens_per_s) is not None
    }


def _gain(answers: Sequence[Answered], cells: Iterable[Cell], n_max: int) -> Ratio | None:
    """How many times as fast as with MTP off."""
    return _by_round([(_speeds(answers, cell, n_max), _speeds(answers, cell, 0)) for cell in cells])


def _by_round(pairs: Sequence[tuple[Speeds, Speeds]]) -> Ratio | None:
    """Of speeds of cells and those beside them, question by question: the mean of each round, and
    the mean of those. A round in which a cell has nothing to tell does not count."""
    told = []
    for round_number in sorted({place[1] for speeds, _ in pairs for place in speeds}):
        means = [
            geometric_mean(
                [
                    speed / others[place]
                    for place, speed in speeds.items()
                    if place[1] == round_number and place in others
                ]
            )
            for speeds, others in pairs
        ]
        known = [mean for mean in means if mean is not None]
        if len(known) == len(means) and (mean := geometric_mean(known)) is not None:
            told.append(mean)
    return mean_ratio(told)


def _drafting(visits: Iterable[Visit], cells: set[str], n_max: int) -> Drafting | None:
    total: Drafting | None = None
    for visit in visits:
        for name, one in visit.drafting.items():
            if visit.n_max == n_max and name in cells:
                total = one if total is None else total.plus(one)
    return total


def _positions(drafting: Drafting | None, n_max: int) -> tuple[float, ...]:
    """As many as there are drafts in a step; 0 where none was ever right."""
    if drafting is None:
        return ()
    known = drafting.acceptance_per_position[:n_max]
    return (*known, *[0.0] * (n_max - len(known)))
