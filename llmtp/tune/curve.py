"""What is expected of every n-max: tokens of a step over what a step takes. Pure.

Tokens follow from the shares of drafts that are right at each position, which one server with a
large n-max tells for all smaller ones too. What a step takes is the drafter's time, which grows
with n-max, and that of verifying, which a server tells for all smaller batches: near the end of an
answer the engine verifies no more drafts than tokens are left.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmtp.engine.steps import Step, hits, step_s


@dataclass(frozen=True, slots=True)
class Probed:
    """What a server with the n-max `top` has told.

    `long` are steps of whole answers by workload, `short` those of answers that end at once.
    `draft_s` is what a draft of one token takes, None where the engine does not tell.
    """

    top: int
    long: Mapping[str, tuple[Step, ...]]
    short: tuple[Step, ...]
    draft_s: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """`step_s[n]` is what a step is expected to take at n-max n, `tokens[n]` what it yields: the
    geometric mean of the workloads."""

    step_s: tuple[float, ...]
    tokens: tuple[float, ...]

    def tokens_per_s(self, n_max: int) -> float:
        return self.tokens[n_max] / self.step_s[n_max]

    @property
    def best(self) -> int:
        """The n-max that is expected to be the fastest, 0 for off."""
        return max(range(len(self.step_s)), key=self.tokens_per_s)


def curve_of(
    probed: Probed, measured: Mapping[int, float], steps: Mapping[str, Sequence[Step]]
) -> Curve | None:
    """`measured` are seconds a step by n-max, of servers of their own; `steps` all long steps by
    workload that are known. None where the probe tells too little."""
    alone = _alone(probed, measured.get(0))
    if alone is None:
        return None
    level = (_in_a_row(probed) or alone[-1]) - alone[-1]
    shifts = {n: took_s - alone[n] - level for n, took_s in measured.items() if n}
    expected = [
        max(one + level + _beside(shifts, n), min(alone) / 2) for n, one in enumerate(alone)
    ]
    return Curve(_kept_rising(expected, measured), _tokens(probed.top, steps))


def _kept_rising(expected: Sequence[float], measured: Mapping[int, float]) -> tuple[float, ...]:
    """What was measured, and what is expected between it: more drafts take no less time."""
    times = [measured.get(n, one) for n, one in enumerate(expected)]
    for n in range(2, len(times)):
        if n not in measured:
            times[n] = max(times[n], times[n - 1])
    for n in range(len(times) - 2, 0, -1):
        if n not in measured:
            times[n] = min(times[n], times[n + 1])
    return tuple(times)


def _beside(shifts: Mapping[int, float], at: int) -> float:
    """By how much a step is likely to take longer than it did alone: as much as it does with the
    nearest n-max that was measured, less so with the distance. One without drafts has none."""
    if not shifts or not at:
        return 0.0
    nearest = min(shifts, key=lambda n: abs(n - at))
    return shifts[nearest] / (1 + abs(nearest - at) / 2)


def _alone(probed: Probed, off_s: float | None) -> list[float] | None:
    """Seconds a step by n-max, as steps of their own took them; those between are drawn straight.

    A server that drafts `top` tokens and verifies fewer has drafted the rest for nothing. Where an
    engine always verifies all, what one without drafts has taken (`off_s`) is the other end.
    """
    seen: dict[int, float] = {}
    counts = Counter(step.drafted for step in probed.short)
    for n in range(probed.top + 1):
        took = step_s(probed.short, n)
        if took is None and n == probed.top:
            took = _in_a_row(probed)
        if took is not None:
            wasted = probed.top - n if n else 0
            seen[n] = max(took - wasted * (probed.draft_s or 0.0), took / 10)
    if not probed.short and off_s is not None:
        seen[0], counts[0] = off_s, 1
    if probed.top not in seen or len(seen) < 2:
        return None
    risen = _rising([(seen[n], counts[n] or 1) for n in seen])
    points = dict(zip(seen, risen, strict=True))
    return [_between(points, n) for n in range(probed.top + 1)]


def _rising(values: Sequence[tuple[float, int]]) -> list[float]:
    """The nearest values that never fall, by how often each was seen: a larger batch takes no less
    time, and single steps spread (isotonic regression by pooling adjacent violators)."""
    pools: list[tuple[float, int, int]] = []
    for value, weight in values:
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (low, some, n), (high, more, m) = pools[-2:]
            pools[-2:] = [((low * some + high * more) / (some + more), some + more, n + m)]
    return [value for value, _, count in pools for _ in range(count)]


def _in_a_row(probed: Probed) -> float | None:
    """Seconds a step of whole answers."""
    return step_s([step for steps in probed.long.values() for step in steps], probed.top)


def _tokens(top: int, steps: Mapping[str, Sequence[Step]]) -> tuple[float, ...]:
    """What a step yields by n-max: the drafts that are right in a row, and one token more."""
    logs = [0.0] * (top + 1)
    for of_work in steps.values():
        total, share = 1.0, 1.0
        for n, (right, drafts) in enumerate(hits(of_work, top), 1):
            share = min(right / drafts if drafts else share, share)
            total += share
            logs[n] += math.log(total) / len(steps)
    return tuple(math.exp(value) for value in logs)


def _between(points: Mapping[int, float], at: int) -> float:
    """On straight lines between the points, and level beyond them."""
    below = [n for n in points if n <= at]
    above = [n for n in points if n >= at]
    if not below or not above:
        return points[min(above) if above else max(below)]
    low, high = max(below), min(above)
    if low == high:
        return points[low]
    return points[low] + (points[high] - points[low]) * (at - low) / (high - low)
