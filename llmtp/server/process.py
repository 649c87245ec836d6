"""An engine process in a group of its own: drained always, stopped with all its children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from llmtp import paths, signals
from llmtp.engine.command import Command
from llmtp.errors import StartFailedError

TERM_WAIT_S = 10.0
_KILL_WAIT_S = 30.0
_STOP_POLL_S = 0.1
_DRAIN_WAIT_S = 2.0
_MOST_LINE_BYTES = 8192
_KEPT_LOGS = 20


class ServerProcess:
    """Owns one child. `on_line` is called for each line of its output, from the draining thread."""

    def __init__(self, command: Command, log: Path, on_line: Callable[[str], None]) -> None:
        self.log = log
        self._on_line = on_line
        self._log_file: IO[bytes] | None = _open_log(log)
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
        self._drain = threading.Thread(target=self._read_output, name="engine-output", daemon=True)
        self._drain.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.poll()

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for the process to end by itself."""
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._drain.join(_DRAIN_WAIT_S)
        return True

    def stop(self) -> None:
        """TERM the group, wait, KILL it, and wait for the output of grandchildren; idempotent.

        A signal to ourselves while waiting skips to KILL.
        """
        before, deadline = signals.count(), time.monotonic() + TERM_WAIT_S
        try:
            self._signal_group(signal.SIGTERM)
            while time.monotonic() < deadline and signals.count() == before:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._child.wait(_STOP_POLL_S)
                    break
        finally:
            self._signal_group(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_KILL_WAIT_S)
            self._drain.join(_DRAIN_WAIT_S)

    def _signal_group(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signum)

    def _read_output(self) -> None:
        """Copy the output to the log and hand on its lines until every writer has closed it.

        A full disk ends the log, not the draining: a full pipe would stop the server.
        """
        rest = b""
        with self._output as output:
            while piece := output.read(1 << 16):
                self._write_log(piece)
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._on_line(line.decode("utf-8", "replace"))
                if len(rest) > _MOST_LINE_BYTES:
                    self._on_line(rest.decode("utf-8", "replace"))
                    rest = b""
        if rest:
            self._on_line(rest.decode("utf-8", "replace"))
        if self._log_file is not None:
            self._log_file.close()

    def _write_log(self, piece: bytes) -> None:
        if self._log_file is None:
            return
        try:
            self._log_file.write(piece)
        except OSError:
            self._log_file = None


def _open_log(log: Path) -> IO[bytes] | None:
    """A new private log file, or None where none can be written; old logs are removed."""
    try:
        paths.private_dir(log.parent)
        old = sorted(log.parent.glob("*.log"), key=lambda path: path.stat().st_mtime)
        for path in old[: max(len(old) - _KEPT_LOGS + 1, 0)]:
            path.unlink(missing_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        return None
    return os.fdopen(descriptor, "wb", buffering=0)
