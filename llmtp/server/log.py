"""The output of one server, over all its starts, in a private file that turns over by size."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import IO

from llmtp import paths

#: Of a run: the file that is written, and the one before it.
MOST_BYTES = 8 << 20
KEPT_RUNS = 20


class RunLog:
    """Whole lines only. A log that cannot be written is lost, and the server goes on."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        """Makes the file, and removes those of old runs."""
        self.path = path
        self._error: OSError | None = None
        self._lock = threading.Lock()
        self._most_bytes = most_bytes
        self._size = 0
        self._file: IO[bytes] | None = None
        try:
            paths.private_dir(path.parent)
            _remove_old(path.parent)
            self._open()
        except OSError as error:
            self._error = error

    @property
    def older(self) -> Path:
        """Where the part before the present one is, once there is one."""
        return self.path.with_name(f"{self.path.name}.1")

    def take_error(self) -> OSError | None:
        """Why lines were lost since this was asked last."""
        error, self._error = self._error, None
        return error

    def write(self, lines: bytes) -> None:
        """Some lines, at once. What a full disk does not take is lost; later lines are tried."""
        with self._lock:
            if self._file is None:
                return
            try:
                if self._size + len(lines) > self._most_bytes and self._size:
                    self._turn_over()
                self._size += self._file.write(lines) or 0
            except OSError as error:
                self._error = error

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._size = 0

    def _turn_over(self) -> None:
        self._close()
        with contextlib.suppress(OSError):
            self.path.replace(self.older)
        self._open()


def _remove_old(folder: Path) -> None:
    """Keep the newest runs, with room for one more."""
    logs = []
    for path in folder.glob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            logs.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(logs)[: max(len(logs) - KEPT_RUNS + 1, 0)]:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.1").unlink(missing_ok=True)
