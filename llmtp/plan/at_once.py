"""What drafting gains by how many ask one server at once, and from how many on it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmtp.plan.batch import MOST_AT_ONCE, Batch
from llmtp.plan.speed import MOST, NEARLY, PROSE, TYPICAL

_SHOWN = 256


@dataclass(frozen=True, slots=True)
class Arm:
    """An n-max, and times the speed of MTP off, with typical texts and with prose."""

    n_max: int
    speedup: float
    speedup_prose: float

    def to_dict(self) -> dict[str, Any]:
        return {"n_max": self.n_max, "speedup": self.speedup, "speedup_prose": self.speedup_prose}


@dataclass(frozen=True, slots=True)
class Row:
    """So many at once, with each n-max that is looked at."""

    users: int
    arms: tuple[Arm, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"users": self.users, "arms": [arm.to_dict() for arm in self.arms]}


@dataclass(frozen=True, slots=True)
class BreakEven:
    """From so many at once an n-max gains less than 5%; 1 is never, None at any number."""

    n_max: int
    users: int | None
    users_prose: int | None

    def to_dict(self) -> dict[str, Any]:
        return {"n_max": self.n_max, "users": self.users, "users_prose": self.users_prose}


@dataclass(frozen=True, slots=True)
class AtOnce:
    """`users` are those of one server; `n_max` is the best where all of them ask at once (0: off),
    `alone` the best where one does."""

    users: int
    n_max: int
    alone: int
    rows: tuple[Row, ...]
    break_even: tuple[BreakEven, ...]


def at_once(batch: Batch, users: int, asked: int | None, planned: int, most: int) -> AtOnce:
    """Of a server for so many. The n-max is that which was `asked` for, or else for one user the
    `planned` one (0: none was) and for all the best; up to `most` at once are shown."""
    alone = asked or planned or batch.best_n_max(1, MOST, TYPICAL) or 1
    counted = min(users, MOST_AT_ONCE)
    n_max = asked or _for_all(batch, counted, alone)
    shown = sorted({1, alone, n_max} - {0})
    return AtOnce(
        users=users,
        n_max=n_max,
        alone=alone,
        rows=tuple(
            Row(
                count,
                tuple(
                    Arm(n, batch.speed_up(count, n, TYPICAL), batch.speed_up(count, n, PROSE))
                    for n in shown
                ),
            )
            for count in sorted({*_doubling(max(min(most, _SHOWN), counted)), counted})
        ),
        break_even=tuple(
            BreakEven(n, batch.break_even(n, TYPICAL), batch.break_even(n, PROSE)) for n in shown
        ),
    )


def _for_all(batch: Batch, users: int, alone: int) -> int:
    """The best with so many at once, or that of one user where it is as good as that."""
    best = batch.best_n_max(users, max(MOST, alone), TYPICAL)
    if not best:
        return 0
    gain = batch.speed_up(users, best, TYPICAL)
    return alone if batch.speed_up(users, alone, TYPICAL) >= NEARLY * gain else best


def _doubling(most: int) -> Iterator[int]:
    count = 1
    while count <= most:
        yield count
        count *= 2
