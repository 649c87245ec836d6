"""What to do, in plain sentences: which n-max, for what, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmtp.bench.result import CellResult, Figures, Result
from llmtp.plan.speed import LEAST_GAIN
from llmtp.units import format_percent

#: A smaller n-max is taken for so little less: it loses less with other texts.
_NEARLY = 0.98


@dataclass(frozen=True, slots=True)
class Verdict:
    """`n_max` is the one to run with, 0 for off, None where nothing could be measured. `first` is
    the plain sentence, `more` says what stands behind it. `is_sure` where the interval says so
    too."""

    n_max: int | None
    is_sure: bool
    first: str
    more: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "n_max": self.n_max,
            "is_sure": self.is_sure,
            "sentence": self.first,
            "more": list(self.more),
        }


def decide(result: Result, planned: int) -> Verdict:
    """`planned` is the n-max that `run` would take now."""
    n_max = choose(result.overall)
    if n_max is None:
        return Verdict(None, False, "nothing could be measured: the answers are too short")
    chosen = result.arm(n_max) if n_max else result.best
    sure = is_sure(n_max, result.overall)
    if sure:
        first = _first(n_max, chosen, planned, [one.n_max for one in result.overall])
    else:
        first = f"not clear yet: the best, n-max {chosen.n_max}, is {words(chosen)}"
    first = "; ".join([first, *_exceptions(n_max, result.cells)])
    return Verdict(n_max, sure, first, tuple(_behind(chosen)))


def choose(arms: Sequence[Figures]) -> int | None:
    """The n-max to run with, of MTP off and its arms: the smallest that is nearly the fastest."""
    values = {one.n_max: one.speedup.value for one in arms[1:] if one.speedup}
    if not values:
        return None
    best = max(values.values())
    if best < LEAST_GAIN:
        return 0
    enough = max(_NEARLY * best, LEAST_GAIN)
    return min(n_max for n_max, value in values.items() if value >= enough)


def is_sure(n_max: int, arms: Sequence[Figures]) -> bool:
    """Does it gain for certain; or, of 0, is there for certain no arm that is worth it?"""
    speedups = {one.n_max: one.speedup for one in arms[1:] if one.speedup}
    if n_max:
        return n_max in speedups and speedups[n_max].is_above(1)
    return all(one.is_below(LEAST_GAIN) for one in speedups.values())


def words(figures: Figures) -> str:
    """`1.43 times as fast as without (1.35 to 1.52)`."""
    speedup = figures.speedup
    if speedup is None:
        return "of unknown speed"
    text = f"{speedup.value:.2f} times as fast as without"
    if speedup.low is None or speedup.high is None:
        return f"{text} (too few rounds for an interval)"
    return f"{text} ({speedup.low:.2f} to {speedup.high:.2f})"


def _first(n_max: int, chosen: Figures, planned: int, measured: Sequence[int]) -> str:
    if n_max == 0:
        start = "leave MTP off" if planned == 0 else "turn MTP off (run with --n-max off)"
        return f"{start}: even the best, n-max {chosen.n_max}, is {words(chosen)}"
    if n_max == planned:
        return f"keep n-max {n_max}: it is {words(chosen)}"
    if planned not in measured:
        return (
            f"of these n-max {n_max} is the best, {words(chosen)}; n-max {planned}, which run "
            "would take, was not measured"
        )
    instead = "MTP off" if planned == 0 else f"n-max {planned}"
    return f"run with --n-max {n_max} instead of {instead}: it is {words(chosen)}"


def _exceptions(n_max: int, cells: tuple[CellResult, ...]) -> Iterator[str]:
    """Cells that fare clearly better with another one."""
    better: dict[int, list[str]] = {}
    for cell in cells:
        own = choose(cell.arms)
        gain = None if own is None else cell.ratio(own, n_max)
        if own is not None and gain is not None and gain.value >= LEAST_GAIN and gain.is_above(1):
            better.setdefault(own, []).append(cell.cell.name)
    for own, names in sorted(better.items()):
        if len(names) < len(cells):
            yield f"{'off' if own == 0 else f'n-max {own}'} is better for {_listed(names)}"


def _behind(chosen: Figures) -> Iterator[str]:
    if chosen.break_even is None or chosen.acceptance is None or chosen.step_cost is None:
        return
    arm, yours = f"at n-max {chosen.n_max}", format_percent(chosen.acceptance)
    if chosen.break_even > 1:
        yield f"{arm} MTP never pays here: {_cost(chosen)}; {yours} of the drafts were right"
    else:
        yield (
            f"{arm} MTP pays above {format_percent(chosen.break_even)} acceptance, yours is "
            f"{yours}: {_cost(chosen)}"
        )


def _cost(chosen: Figures) -> str:
    """Of a step, in plain ones, and what of it is the drafter's."""
    if chosen.step_cost is None or chosen.draft_share is None:
        return f"a step costs {chosen.step_cost or 0:.2f} plain ones"
    drafting = chosen.step_cost * chosen.draft_share
    return (
        f"a step costs {chosen.step_cost:.2f} plain ones, {chosen.step_cost - drafting:.2f} to "
        f"verify and {drafting:.2f} to draft"
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
