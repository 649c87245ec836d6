"""The lines of a server's log, and those that come until it has ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from llmtp.errors import NotFoundError
from llmtp.server.entry import Entry
from llmtp.server.log import KEPT_RUNS, older_log
from llmtp.server.standing import Known
from llmtp.server.tail import LogTail

_LOOK_S = 0.25


def log_lines(entry: Entry) -> Iterator[str]:
    """What is there; raises NotFoundError where nothing is."""
    with _tail(entry) as tail:
        yield from tail.lines()


def follow_log(known: Known) -> Iterator[str]:
    """What is there and what comes; raises NotFoundError where there is no log."""
    last = known.processes or (known.entry.llmtp,)
    with _tail(known.entry) as tail:
        yield from tail.lines()
        is_over = False
        while not is_over:
            is_over = all(one.wait(_LOOK_S) for one in last)
            yield from tail.lines()


@contextlib.contextmanager
def _tail(entry: Entry) -> Iterator[LogTail]:
    log = entry.log
    if log is None or not any(path.is_file() for path in (log, older_log(log))):
        where = f": {log}" if log else ", whose engine was not started"
        raise NotFoundError(
            f"there is no log of {entry.id}{where}",
            expected=f"one of the last {KEPT_RUNS} runs",
            fix="see which servers there are: llmtp ps --all",
        )
    tail = LogTail(log)
    try:
        yield tail
    finally:
        tail.close()
