"""When a server that went down is started again, and when it is given up. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable

#: The first wait is short: most crashes are of one request, and clients are waiting.
FIRST_WAIT_S = 0.5
_GROWTH = 2.0
#: So that servers that went down together do not come back together.
_JITTER = 0.25
#: A server that was up for so long has proved that it can be.
STABLE_S = 300.0
MOST_IN_A_ROW = 5


class Restarts:
    """Counts failures in a row: those of starts, and of servers that were not up for long."""

    def __init__(self, dice: Callable[[], float] = random.random) -> None:
        """`dice` gives numbers from 0 to 1."""
        self.in_a_row = 0
        self._dice = dice

    def failed(self, uptime_s: float) -> float | None:
        """Seconds to wait before the next start; None where this is a crash loop."""
        self.in_a_row = 1 if uptime_s >= STABLE_S else self.in_a_row + 1
        if self.in_a_row >= MOST_IN_A_ROW:
            return None
        wait = FIRST_WAIT_S * _GROWTH ** (self.in_a_row - 1)
        return wait * (1 + _JITTER * (2 * self._dice() - 1))
