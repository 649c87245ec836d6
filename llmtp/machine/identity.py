"""Which process a number means: numbers are used again, so the time of a start belongs to one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llmtp import signals

_POLL_S = 0.05
_MOST = (1 << 31) - 1
#: Behind the name in /proc/PID/stat, which may have blanks and brackets itself.
_STATE, _START_TICKS = 0, 19


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that runs or once ran. `started` is its start in the words of the system: on
    Linux the boot and the tick, which no change of the clock moves."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has that number now."""
        started = _started(pid)
        return None if started is None else cls(pid, started)

    @classmethod
    def parse(cls, value: Any) -> ProcessId | None:
        """From JSON; raises ValueError for what is neither null nor one."""
        if value is None:
            return None
        if isinstance(value, dict):
            pid, started = value.get("pid"), value.get("started")
            if type(pid) is int and 0 < pid <= _MOST and isinstance(started, str):
                return cls(pid, started)
        raise ValueError("no process")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_alive(self) -> bool:
        """Does it run? One that is dead and not yet reaped does not."""
        return _started(self.pid) == self.started

    def signal(self, signum: int) -> bool:
        """Send it a signal, and nobody else; False where it is gone."""
        with _handle(self.pid) as handle, contextlib.suppress(ProcessLookupError):
            if self.is_alive:
                if handle is not None:
                    signal.pidfd_send_signal(handle, signum)
                else:
                    os.kill(self.pid, signum)
                return True
        return False

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, at most so long; True once it has ended. Interrupted breaks it off."""
        deadline = time.monotonic() + timeout_s
        with _handle(self.pid) as handle:
            while self.is_alive and (left_s := deadline - time.monotonic()) > 0:
                signals.check()
                if handle is not None:
                    poll = select.poll()
                    poll.register(handle, select.POLLIN)
                    poll.poll(left_s * 1000)
                else:
                    threading.Event().wait(min(_POLL_S, left_s))
        return not self.is_alive


@contextlib.contextmanager
def _handle(pid: int) -> Iterator[int | None]:
    """It means one process, whoever gets the number later; None where there are none (macOS)."""
    if not hasattr(os, "pidfd_open"):
        yield None
        return
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


@signals.hold()
def _started(pid: int) -> str | None:
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        words = fields.rpartition(")")[2].split()
        return None if words[_STATE] in "ZX" else f"{_boot()} {words[_START_TICKS]}"
    import subprocess

    # psutil moves the start of a process where somebody sets the clock.
    ps = ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)]
    done = subprocess.run(ps, capture_output=True, text=True, env={"LC_ALL": "C"}, check=False)
    state, _, started = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


@cache
@signals.hold()
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
