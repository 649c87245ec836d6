"""The log of a llama-server for others to read, whoever wrote it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llmtp.engine.llama.build import LISTENING
from llmtp.engine.llama.redact import Redactor

_LISTENING = LISTENING.encode()
_STAMP = re.compile(rb"(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) ([A-Z]) ")
#: The metadata stands elsewhere in a report, or nowhere: token lists, templates.
_NOT_WANTED = re.compile(rb"llama_model_loader: - kv|all slots are idle")
_TEMPLATE = re.compile(rb"(example_format: ).*", re.DOTALL)


def without_requests(raw: Sequence[bytes], *, from_start: bool) -> Iterator[str]:
    """The lines of a log without what may quote a request, whoever wrote it there.

    A log holds several starts; each is a process of its own. One that is not read `from_start`
    begins while the server served. Where debugging lines are, requests are logged whole, and may
    look like anything: then only warnings and errors are kept of what comes once it serves.
    """
    quotes = any((stamp := _STAMP.match(line)) and stamp[5] == b"D" for line in raw)
    redactor, last, in_template = _redactor(serves=quotes or not from_start), 0, False
    has_served = not from_start
    for line in raw:
        stamp = _STAMP.match(line)
        if stamp is not None:
            now, in_template = _microseconds(stamp), False
            if now + 1_000_000 < last and not quotes:
                redactor = _redactor(serves=False)
            last = now
            if stamp[5] == b"D" or _NOT_WANTED.search(line):
                continue
            if quotes and has_served and stamp[5] not in b"WE":
                continue
            has_served = has_served or _LISTENING in line
        if in_template:
            continue
        in_template = _TEMPLATE.search(line) is not None
        for kept in redactor.keep([_TEMPLATE.sub(rb"\1(left out)", line)]):
            yield kept.decode("utf-8", "replace")


def _redactor(*, serves: bool) -> Redactor:
    redactor = Redactor()
    if serves:
        redactor.keep([_LISTENING])
    return redactor


def _microseconds(stamp: re.Match[bytes]) -> int:
    minutes, seconds, milli, micro = (int(stamp[i]) for i in range(1, 5))
    return ((minutes * 60 + seconds) * 1000 + milli) * 1000 + micro
