"""Which n-max would have been faster on the traffic that was seen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

#: Fewer drafts than this say too little of a text.
LEAST_DRAFTS = 50
#: A smaller gain is within what a cost curve and a sample of traffic are wrong by.
LEAST_GAIN = 1.05


@dataclass(frozen=True, slots=True)
class Costs:
    """What a step with 0, 1, 2, ... drafts takes, as multiples of a plain one; and where from."""

    steps: tuple[float, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Advice:
    """Another n-max (0: MTP off) would have been `times` as fast as `instead_of`."""

    n_max: int
    instead_of: int
    times: float
    source: str

    @property
    def message(self) -> str:
        what = f"n-max {self.n_max}" if self.n_max else "without MTP it"
        return (
            f"{what} would have been {self.times:.2f} times as fast on this traffic "
            f"(cost model: {self.source})"
        )

    @property
    def fix(self) -> str:
        """What to type behind `llmtp run MODEL`."""
        return f"--n-max {self.n_max or 'off'}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"message": self.message, "fix": self.fix}


def advise(accepted_at: Sequence[float], drafts: int, costs: Costs, n_max: int) -> Advice | None:
    """The best n-max by what was accepted at each position, as shares of `drafts`.

    None where the present one is as good, the traffic is too little, or the cost of the present
    one is not known.
    """
    known = len(costs.steps)
    if drafts < LEAST_DRAFTS or not 0 < n_max < known or len(accepted_at) < n_max:
        return None
    tokens = tokens_a_step(accepted_at[:n_max], known - 1)
    speeds = [got / cost for got, cost in zip(tokens, costs.steps, strict=True)]
    best = max(range(known), key=lambda n: (speeds[n], -n))
    times = speeds[best] / speeds[n_max]
    return Advice(best, n_max, times, costs.source) if times >= LEAST_GAIN else None


def tokens_a_step(accepted_at: Sequence[float], most: int) -> list[float]:
    """Tokens that a step with 0 to `most` drafts yields, the model's own one included.

    Beyond the last position that was tried each one is as often right, given the one before, as
    that was.
    """
    falling = list(accumulate((min(max(one, 0.0), 1.0) for one in accepted_at), min))[:most]
    before = falling[-2] if len(falling) > 1 else 1.0
    ratio = falling[-1] / before if falling and before else 0.0
    while falling and len(falling) < most:
        falling.append(falling[-1] * ratio)
    return list(accumulate(falling, initial=1.0))
