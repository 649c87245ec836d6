"""Single steps of a server, read from the timings that stand in every chunk of a streamed answer.

llama-server counts a step's tokens one by one, but its clock and its drafts once a step
(tools/server/server-context.cpp): where the clock moves, a step has ended. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from llmtp.engine.timings import Timings

_LEAST_SPREAD = 16
#: Of a normal distribution: its standard deviation by the median of deviations, and how much less
#: the median tells of its middle than the mean.
_OF_SPREAD, _OF_MEDIAN = 1.4826, 1.2533


@dataclass(frozen=True, slots=True)
class Step:
    """So many tokens drafted, of them the first `accepted` right; it yields one token more."""

    drafted: int
    accepted: int
    took_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A streamed answer: its steps, and what the engine counted of all of it."""

    steps: tuple[Step, ...]
    timings: Timings


def answer_of(chunks: Iterable[Timings]) -> Answer:
    """The steps behind the first token, whose time belongs to the prompt.

    Text that the engine held back joins steps; more than one is no step, and left out.
    """
    steps: list[Step] = []
    at: Timings | None = None  # the last token of the step before
    last: Timings | None = None
    for now in chunks:
        if at is not None and last is not None and now.predicted_s != last.predicted_s:
            steps += _step(at, last)
            at = last
        elif at is None:
            at = now
        last = now
    if at is None or last is None:
        return Answer((), Timings.of({}))
    if last is not at:
        steps += _step(at, last)
    return Answer(tuple(steps), last)


def _step(before: Timings, after: Timings) -> list[Step]:
    tokens = after.predicted - before.predicted
    drafted = after.drafted - before.drafted
    took_s = after.predicted_s - before.predicted_s
    if not 1 <= tokens <= drafted + 1 or took_s <= 0:
        return []
    return [Step(drafted, tokens - 1, took_s)]


def hits(steps: Iterable[Step], most: int) -> list[tuple[int, int]]:
    """By position from the first: right ones, and drafts that reached it in length."""
    counts = [(0, 0)] * most
    for step in steps:
        for place in range(min(step.drafted, most)):
            right, drafts = counts[place]
            counts[place] = (right + (step.accepted > place), drafts + 1)
    return counts


def step_s(steps: Iterable[Step], drafted: int) -> float | None:
    """The median time of steps with so many drafts; None where there is none."""
    times = _times(steps, drafted)
    return median(times) if times else None


def step_error(steps: Iterable[Step], drafted: int) -> float | None:
    """The standard error of that median, as a share of it, if times spread as a normal
    distribution does; None for steps too few to say."""
    times = _times(steps, drafted)
    if len(times) < _LEAST_SPREAD:
        return None
    middle = median(times)
    spread = median([abs(one - middle) for one in times])
    return _OF_MEDIAN * _OF_SPREAD * spread / middle / math.sqrt(len(times))


def _times(steps: Iterable[Step], drafted: int) -> list[float]:
    return [step.took_s for step in steps if step.drafted == drafted]
