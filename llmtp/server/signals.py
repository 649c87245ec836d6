"""Signals that end us as one exception, never between a fork and its bookkeeping."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


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
    """Raises Interrupted in the main thread; inside `hold()` it waits until the block ends.

    Python drops an exception that happens to be raised inside a destructor or a weakref callback,
    so every loop that could go on for long calls `check()` too.
    """

    def __init__(self) -> None:
        self._holding = False
        self._received: int | None = None

    def install(self) -> None:
        for signum in _CAUGHT:
            signal.signal(signum, self._caught)

    def check(self) -> None:
        """Raise Interrupted if a signal has come, even if its own exception was lost."""
        if self._received is not None:
            raise Interrupted(self._received)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Let the block finish before an interruption is raised."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        self.check()

    def _caught(self, signum: int, _frame: FrameType | None) -> None:
        self._received = signum
        if not self._holding:
            raise Interrupted(signum)
