"""A ratio and how sure it is: geometric means with intervals of Student's t, pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

#: Two-sided 95 percent, by degrees of freedom from 1; beyond, by the last before it.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
#: With fewer rounds an interval is so wide that it says nothing.
LEAST_ROUNDS = 3
#: Without an interval, so many times as fast or as slow is taken for certain.
CLEAR = 1.25


@dataclass(frozen=True, slots=True)
class Ratio:
    """A geometric mean; `low` and `high` bound it with 95 percent, None of too few rounds."""

    value: float
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float | None:
        """Of the interval, as a share of the value."""
        if self.low is None or self.high is None:
            return None
        return math.sqrt(self.high / self.low) - 1

    def is_above(self, bound: float) -> bool:
        """For certain."""
        return self.value >= bound * CLEAR if self.low is None else self.low > bound

    def is_below(self, bound: float) -> bool:
        """For certain."""
        return self.value <= bound / CLEAR if self.high is None else self.high < bound

    @property
    def interval(self) -> list[float] | None:
        return None if self.low is None or self.high is None else [self.low, self.high]


def mean_ratio(rounds: Sequence[float]) -> Ratio | None:
    """Of one ratio a round, which has other questions and other starts than the next one.

    What all answers of a start have in common, be it luck or load, is no error that more answers
    would average out, so a round is one observation. None where there are none.
    """
    if not rounds:
        return None
    logs = [math.log(value) for value in rounds]
    mean = fmean(logs)
    if len(logs) < LEAST_ROUNDS:
        return Ratio(math.exp(mean), None, None)
    freedom = min(len(logs) - 1, len(_T95))
    margin = _T95[freedom - 1] * math.sqrt(variance(logs) / len(logs))
    return Ratio(math.exp(mean), math.exp(mean - margin), math.exp(mean + margin))


def geometric_mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return math.exp(fmean(map(math.log, values))) if values else None
