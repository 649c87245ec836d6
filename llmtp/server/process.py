"""An engine process in a group of its own: drained always, stopped with all its children."""

from __future__ import annotations

import contextlib
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
from llmtp.machine.host import Family

#: From TERM to KILL. A server without requests needs a tenth of a second.
TERM_WAIT_S = 5.0
_KILL_WAIT_S = 30.0
_STOP_POLL_S = 0.1
_DRAIN_WAIT_S = 2.0
_MOST_LINE_BYTES = 8192


class ServerProcess:
    """Owns one child. `on_lines` gets its output, whole lines at a time, in the draining thread."""

    def __init__(self, command: Command, on_lines: Callable[[list[bytes]], None]) -> None:
        self._on_lines = on_lines
        env = dict(os.environ)
        for name, value in command.env.items():
            if value is None:
                env.pop(name, None)
            else:
                env[name] = value
        try:
            self._child = subprocess.Popen(
                command.argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise StartFailedError(
                f"{command.argv[0]} cannot be started: {error.strerror}"
            ) from error
        self._output = cast(IO[bytes], self._child.stdout)
        self._ended = threading.Event()
        self._end = threading.Thread(target=self._reap, name="engine-end", daemon=True)
        self._drain = threading.Thread(target=self._read_output, name="engine-output", daemon=True)
        self._drain.start()
        self._end.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.returncode

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for the process to end by itself, and then for its output."""
        if not self._ended.wait(timeout_s):
            return False
        self._drain.join(_DRAIN_WAIT_S)
        return True

    def stop(self) -> None:
        """TERM the group, wait, KILL it and what left it, wait for their output; idempotent.

        A signal to ourselves while waiting skips to KILL.
        """
        before, deadline = signals.count(), time.monotonic() + TERM_WAIT_S
        family = Family(self._child.pid)
        try:
            self._signal_group(signal.SIGTERM)
            while time.monotonic() < deadline and signals.count() == before:
                if self._ended.wait(_STOP_POLL_S):
                    break
        finally:
            self._signal_group(signal.SIGKILL)
            family.kill()
            self._end.join(_KILL_WAIT_S)
            self._drain.join(_DRAIN_WAIT_S)

    def _signal_group(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signum)

    def _reap(self) -> None:
        self._child.wait()
        self._ended.set()

    def _read_output(self) -> None:
        """Hand on all output until its writers are gone: a full pipe would stop the server."""
        rest = b""
        with self._output as output:
            while piece := output.read(1 << 16):
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > _MOST_LINE_BYTES:
                    lines.append(rest)
                    rest = b""
                if lines:
                    self._on_lines(lines)
        if rest:
            self._on_lines([rest])
