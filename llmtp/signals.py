"""Signals that end us, as one exception. The state is the process's own, so it is global here.

Interrupted is raised in the main thread at the first signal only: from then on everything is on
its way out, and later ones are counted, for those who wait. Python drops an exception that happens
to be raised inside a destructor or a weakref callback, so whatever could go on for long calls
`check()` too.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

#: All whose default is to end us at once, and with us nobody who stops what we started.
_CAUGHT = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGXCPU,
)
#: `timeout`, and shells whose terminal closes, signal a program and then its group: that is one
#: wish, not two. Of Ctrl-C each is one.
_ONE_WISH_S = 0.5


class Interrupted(BaseException):
    """Somebody wants this process to end. Not an Exception: nothing may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C; 143 for SIGTERM and for a terminal that went away."""
        return 130 if self.signum == signal.SIGINT else 143


class _State:
    holding = False
    first: int | None = None
    count = 0
    last_at = 0.0


def install() -> None:
    """Listen from now on. Signals that were ignored when we were started stay so.

    That is how nohup, and a shell for its background jobs (SIGINT), shield a program.
    """
    for signum in _CAUGHT:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _caught)


def count() -> int:
    """How many have come; but for Ctrl-C, two within half a second are one."""
    return _State.count


def check() -> None:
    """Raise Interrupted if a signal has come, even if its own exception was lost."""
    if _State.first is not None:
        raise Interrupted(_State.first)


def behind(error: BaseException) -> Interrupted | None:
    """The interruption that an error was made of: Python before 3.12 makes a RuntimeError of what
    is raised while a class names its fields."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Interrupted):
        cause = cause.__cause__
    return cause


@contextlib.contextmanager
def hold() -> Iterator[None]:
    """Let the block finish before an interruption is raised; other threads never meet one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first, holding = _State.first, _State.holding
    _State.holding = True
    try:
        yield
    finally:
        _State.holding = holding
    if first is None and not holding:
        check()


def _caught(signum: int, _frame: FrameType | None) -> None:
    now = time.monotonic()
    if _State.first is None or signum == signal.SIGINT or now - _State.last_at >= _ONE_WISH_S:
        _State.count += 1
        _State.last_at = now
    if _State.first is None:
        _State.first = signum
        if not _State.holding:
            raise Interrupted(signum)
