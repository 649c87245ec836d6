"""Stdout for who must not wait: a server is kept up whether or not somebody reads what is told."""

from __future__ import annotations

import io
import os
import select
import time
from typing import TextIO

#: What is kept for a reader that is behind; whole texts beyond it are dropped.
MOST_BYTES = 1 << 20
#: So much a pipe or terminal takes without waiting once it is ready.
_PIECE = 512


class PatientStream(io.TextIOBase):
    """Hands on what the other end takes at once.

    `is_behind` says that something is kept for it: what may be left out should be. A full disk is
    waited for in the same way, and `error` says so; a reader that is gone raises BrokenPipeError.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rest = b""
        self.error: OSError | None = None
        stream.flush()

    @property
    def is_behind(self) -> bool:
        self.flush()
        return bool(self._rest)

    def write(self, text: str) -> int:
        data = text.encode(self._stream.encoding or "utf-8", self._stream.errors or "replace")
        if len(self._rest) + len(data) <= MOST_BYTES:
            self._rest += data
        self.flush()
        return len(text)

    def flush(self) -> None:
        """As much as goes without waiting."""
        while self._rest and self._is_ready():
            try:
                self._rest = self._rest[os.write(self.fileno(), self._rest[:_PIECE]) :]
            except BrokenPipeError:
                self._rest = b""
                raise
            except OSError as error:
                self.error = error
                return

    def finish(self, at_most_s: float) -> None:
        """Wait for a reader that is behind, for so long."""
        until = time.monotonic() + at_most_s
        while self._rest and (left := until - time.monotonic()) > 0 and self._is_ready(left):
            self.flush()
            if self.error is not None:
                return

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def _is_ready(self, timeout_s: float = 0.0) -> bool:
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        return bool(poll.poll(timeout_s * 1000))
