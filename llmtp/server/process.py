"""An engine process in a group of its own: drained always, stopped with all its children."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO, cast

from llmtp import signals
from llmtp.engine.command import Command
from llmtp.errors import StartFailedError
from llmtp.machine.family import Family, adopt_orphans, end_with_parent, kill_orphans

#: Told to end, the engine breaks requests off: so they may finish before, for so long.
DRAIN_S = 30.0
#: From TERM to KILL, of most engines. A server without requests needs a tenth of a second.
TERM_WAIT_S = 5.0
_KILL_WAIT_S = 30.0
_STOP_POLL_S = 0.1
_DRAIN_WAIT_S = 2.0
_MOST_LINE_BYTES = 8192
#: Of a line without an end so much may be the beginning of another one, that is not all there yet.
_LAST_BYTES = 512
_PIPE_BYTES = 1 << 20


class ServerProcess:
    """Owns one child. `on_lines` gets its output, whole lines at a time, in the draining thread."""

    def __init__(
        self,
        command: Command,
        on_lines: Callable[[list[bytes]], None],
        term_wait_s: float,
        *,
        lends: bool = False,
    ) -> None:
        """`term_wait_s` is from TERM to KILL. One that `lends` this machine is not ended by a
        client that is gone (SIGPIPE, which Python ignores itself), but by the end of this process,
        however that comes (on Linux)."""
        self._on_lines = on_lines
        self._term_wait_s = term_wait_s
        env = dict(os.environ)
        for name, value in command.env.items():
            if value is None:
                env.pop(name, None)
            else:
                env[name] = value
        adopt_orphans()
        try:
            self._child = subprocess.Popen(
                command.argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
                restore_signals=not lends,
                preexec_fn=end_with_parent() if lends else None,
            )
        except OSError as error:
            raise StartFailedError(
                f"{command.argv[0]} cannot be started: {error.strerror}",
                fix="reinstall it, or name another one with --engine",
            ) from error
        self._output = cast(IO[bytes], self._child.stdout)
        _widen(self._output)
        self._ended = threading.Event()
        self._is_over = False
        self._end = threading.Thread(target=self._reap, name="engine-end", daemon=True)
        self._drain = threading.Thread(target=self._read_output, name="engine-output", daemon=True)
        try:
            self._end.start()
            self._drain.start()
        except BaseException:
            self._child.kill()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.returncode

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for the process to end by itself; then end what left it."""
        if not self._ended.wait(timeout_s):
            return False
        self._end_rest()
        return True

    def stop(self, *, hangs: bool = False) -> None:
        """TERM the group, wait, KILL it and what left it, wait for their output; idempotent.

        The second signal to ourselves, before or while it waits, skips to KILL, and so does
        `hangs`.
        """
        with signals.hold():
            deadline = time.monotonic() + (0 if hangs else self._term_wait_s)
            family = None if self._ended.is_set() else Family(self.pid)
            self._signal_group(signal.SIGTERM)
            while time.monotonic() < deadline and signals.count() < 2:
                if self._ended.wait(_STOP_POLL_S):
                    break
            self._signal_group(signal.SIGKILL)
            if family is not None:
                family.kill()
            self._end.join(_KILL_WAIT_S)
            self._end_rest()

    def _end_rest(self) -> None:
        kill_orphans(besides=self.pid)
        self._drain.join(_DRAIN_WAIT_S)

    def _signal_group(self, signum: int) -> None:
        """Never once the process is reaped: then its number may be somebody else's."""
        if not self._is_over:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signum)

    def _reap(self) -> None:
        """Once it has ended, end its group, where possible before its number is free again."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:  # macOS before Python 3.13
            self._child.wait()
        self._signal_group(signal.SIGKILL)
        self._is_over = True
        self._child.wait()
        self._ended.set()

    def _read_output(self) -> None:
        """Hand on all output until its writers are gone: a full pipe would stop the server."""
        rest = b""
        with self._output as output:
            while piece := output.read(1 << 16):
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > _MOST_LINE_BYTES:
                    lines.append(rest[:-_LAST_BYTES])
                    rest = rest[-_LAST_BYTES:]
                if lines:
                    self._on_lines(lines)
        if rest:
            self._on_lines([rest])


def _widen(pipe: IO[bytes]) -> None:
    """So that the engine does not wait for us at once when we are stopped (on Linux)."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
