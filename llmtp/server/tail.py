"""The lines of a server's log, as another process writes it. It turns over by size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from llmtp import signals
from llmtp.server.log import MOST_BYTES, older_log

_PIECE = 1 << 16
_LONGEST_LINE = 1 << 14


class LogTail:
    """Reads on where it stopped, over the turn from one file to the next.

    A log that is not there, or cannot be read, has no lines yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: list[IO[bytes]] = []
        self._rest = b""
        self._is_open = False

    def lines(self) -> Iterator[str]:
        """What was written since the last call, at most two files full of it."""
        left = 2 * MOST_BYTES
        while left > 0 and (piece := self._read()):
            left -= len(piece)
            *whole, rest = (self._rest + piece).split(b"\n")
            self._rest = rest[:_LONGEST_LINE]
            for line in whole:
                yield line.decode("utf-8", "replace")

    def close(self) -> None:
        while self._files:
            self._files.pop().close()

    def _read(self) -> bytes:
        if not self._files:
            self._open()
        while self._files:
            if piece := self._files[0].read(_PIECE):
                return piece
            if len(self._files) == 1 and not self._has_turned():
                return b""
            if piece := self._files[0].read(_PIECE):  # written before it turned
                return piece
            self._files.pop(0).close()
            if not self._files:
                self._open()
        return b""

    @signals.hold()
    def _open(self) -> None:
        """At first with the file before, which is the older part of the same log."""
        paths = [self._path] if self._is_open else [self._path, older_log(self._path)]
        self._is_open = True
        for path in paths:
            try:
                self._files.insert(0, path.open("rb", buffering=0))
            except OSError:
                continue
        if len(self._files) == 2 and _same(*self._files):  # it turned over just now
            self._files.pop().close()

    def _has_turned(self) -> bool:
        try:
            now = self._path.stat()
        except OSError:
            return False
        mine = os.fstat(self._files[0].fileno())
        return (mine.st_dev, mine.st_ino) != (now.st_dev, now.st_ino)


def _same(one: IO[bytes], other: IO[bytes]) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())
