"""What other programs do on this machine while we measure."""

from __future__ import annotations

import os
import time

import psutil

from llmtp import signals
from llmtp.machine.family import Family


class LoadMeter:
    """CPU time of others since it was made: of all that was used, what is not of our family."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._all_s = _all_s()
        self._ours_s = _ours_s()

    def others_cores(self, server_s: float) -> float:
        """Cores that others kept busy on average; `server_s` was used by a server of ours."""
        elapsed = time.monotonic() - self._began
        used = _all_s() - self._all_s - (_ours_s() - self._ours_s) - server_s
        return max(used, 0.0) / elapsed if elapsed > 0 else 0.0


@signals.hold()
def _all_s() -> float:
    """CPU seconds of the whole machine since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - _counted_twice(times))


def _counted_twice(times: object) -> float:
    """Linux counts guests as users, too."""
    return float(getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0))


def _ours_s() -> float:
    """Of this process alone."""
    times = os.times()
    return times.user + times.system


def computed_s(pid: int) -> float:
    """CPU seconds of a process and of all that came of it."""
    return Family(pid).computed_s() or 0.0
