"""The output of one server, over all its starts, in a private file that turns over by size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import IO

from llmtp import paths
from llmtp.text import file_name

#: Of a run: the file that is written, and the one before it.
MOST_BYTES = 8 << 20
KEPT_RUNS = 20


def log_path(model: str, port: int) -> Path:
    """Of a run that begins now."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return paths.log_dir() / f"{file_name(model)}-{stamp}-{port}.log"


class RunLog:
    """A log that cannot be written loses lines, and the server goes on."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self._most_bytes = most_bytes
        self._size = 0
        self._file: IO[bytes] | None = None
        self._is_closed = False
        self._error: OSError | None = None
        self._is_told = False
        self._lock = threading.Lock()

    @property
    def older(self) -> Path:
        """Where the part before the present one is, once there is one."""
        return older_log(self.path)

    def take_error(self) -> OSError | None:
        """Why lines were lost, once."""
        if self._is_told or self._error is None:
            return None
        self._is_told = True
        return self._error

    def begin(self) -> None:
        """A start: make the file, anew if somebody has removed it; remove those of old runs that
        nobody writes any more."""
        with self._lock:
            try:
                if self._file is not None and os.fstat(self._file.fileno()).st_nlink == 0:
                    self._close_file()
                if self._file is None:
                    paths.private_dir(self.path.parent)
                    _remove_old(self.path.parent)
                    self._open()
            except OSError as error:
                self._error = error

    def write(self, lines: bytes) -> None:
        """Some lines, at once. What a full disk does not take is lost; later lines are tried."""
        with self._lock:
            if self._is_closed:
                return
            try:
                if self._size + len(lines) > self._most_bytes and self._size:
                    self._close_file()
                    self.path.replace(self.older)
                file = self._file or self._open()
                self._size += file.write(lines) or 0
            except OSError as error:
                self._error = error

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            with contextlib.suppress(OSError):
                self._close_file()

    def _open(self) -> IO[bytes]:
        """Locked as long as it is written: so another run sees that this one is not over."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        descriptor = os.open(self.path, flags, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._size = 0
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._file

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _remove_old(folder: Path) -> None:
    """Keep the newest runs, with room for one more."""
    logs = []
    for path in folder.glob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            logs.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(logs)[: max(len(logs) - KEPT_RUNS + 1, 0)]:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if _is_over(file):
                path.unlink()
                older_log(path).unlink(missing_ok=True)


def older_log(path: Path) -> Path:
    """Where the part before the present one of a log is."""
    return path.with_name(f"{path.name}.1")


def _is_over(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
