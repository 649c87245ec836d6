"""Does a server get on, or does it hang? Pure: times are seconds of a clock that never jumps.

`/health` is answered without the thread that infers, so it tells nothing: `/slots` goes through
that thread's queue. A batch of a long prompt may take longer than any patience, and then it answers
late: who has something to do hangs only when it computes nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Without an answer for so long.
HANG_S = 30.0
GAP_S = 5.0
#: A start without any sign of life, and one that only computes, for so long.
STILL_S = 60.0
STUCK_S = 900.0
#: Of workers nothing is seen from here while they compute.
WORKERS_S = 180.0


class Pulse:
    """Of a server that serves. Between two looks at most GAP_S count: who looks may have been
    stopped himself."""

    def __init__(self, patience_s: float | None = None) -> None:
        """`patience_s` is for one whose workers compute, unseen from here."""
        self._patience_s = patience_s
        self._last = 0.0
        self._is_silent = False
        self._silent_s = self._still_s = 0.0
        self._computed_s: float | None = None
        self._was_working = False

    def answered(self, *, working: bool) -> None:
        """It answered; `working` says whether any slot was busy."""
        self._is_silent = False
        self._was_working = working

    def silent(
        self, asked_at: float, now: float, *, working: bool, computed_s: float | None
    ) -> None:
        """It was asked then, and did not answer until `now`.

        `working` says that its log has told of a request since, `computed_s` is its CPU time so
        far (None: not told).
        """
        gap = min(now - (self._last if self._is_silent else asked_at), GAP_S)
        self._last = now
        self._was_working = self._was_working or working
        if not self._is_silent:
            self._is_silent = True
            self._silent_s, self._still_s = gap, 0.0
        else:
            self._silent_s += gap
            self._still_s = self._still_s + gap if computed_s == self._computed_s else 0.0
        self._computed_s = computed_s

    def hung_s(self) -> float | None:
        """How long it hangs, when that is long enough to say so."""
        if not self._is_silent:
            return None
        if self._was_working and self._computed_s is None and self._patience_s is None:
            return None
        lasts, patience_s = self._silent_s, HANG_S
        if self._was_working and self._patience_s is not None:
            patience_s = self._patience_s
        elif self._was_working:
            lasts = self._still_s
        return lasts if lasts >= patience_s else None


def patience_with_workers(batch: int, tokens_per_s: float | None) -> float:
    """How long a batch of so many tokens may take at most: as long as they took one after the
    other, each with its drafts. A speed of None is not known."""
    if not tokens_per_s:
        return WORKERS_S
    return min(max(HANG_S, batch / tokens_per_s), STUCK_S)


@dataclass(frozen=True, slots=True)
class Signs:
    """What shows that a start gets on: lines of output, bytes loaded, CPU time (None: not told)."""

    lines: int
    loaded_bytes: int | None
    computed_s: float | None


class Progress:
    """Of a start, up to its proof."""

    def __init__(self, now: float, still_s: float = STILL_S) -> None:
        self._still_s = still_s
        self._signs: Signs | None = None
        self._moved_at = self._computed_at = now

    def look(self, now: float, signs: Signs) -> None:
        before, self._signs = self._signs, signs
        if before is None or before.computed_s != signs.computed_s:
            self._computed_at = now
        shown = (signs.lines, signs.loaded_bytes)
        if before is None or shown != (before.lines, before.loaded_bytes):
            self._moved_at = self._computed_at = now

    def stuck_s(self, now: float) -> float | None:
        """For how long nothing has moved, when that is long enough to give up."""
        still, stuck = now - self._computed_at, now - self._moved_at
        return stuck if still >= self._still_s or stuck >= STUCK_S else None
