"""SIGINT, SIGTERM and SIGHUP as one exception, never between a fork and its bookkeeping."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants this process to end. Not an Exception: nothing may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C; 143 for SIGTERM and for a terminal that went away."""
        return 130 if self.signum == signal.SIGINT else 143


class Signals:
    """Raises Interrupted in the main thread; inside `hold()` it waits until the block ends."""

    def __init__(self) -> None:
        self._holding = False
        self._pending: int | None = None

    def install(self) -> None:
        for signum in _CAUGHT:
            signal.signal(signum, self._caught)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Let the block finish before an interruption is raised."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._pending is not None:
            signum, self._pending = self._pending, None
            raise Interrupted(signum)

    def _caught(self, signum: int, _frame: FrameType | None) -> None:
        if self._holding:
            self._pending = signum
            return
        raise Interrupted(signum)
