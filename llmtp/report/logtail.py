"""Which lines of a log to show: the last ones, and of those before what tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llmtp.engine.build import LISTENING
from llmtp.server.failure import is_telling
from llmtp.server.redact import Redactor

_LISTENING = LISTENING.encode()
MOST_LINES, _MOST_TELLING = 200, 120
_STAMP = re.compile(rb"(\d+)\.(\d\d)\.(\d{3})\.(\d{3}) ([A-Z]) ")
#: What a build, its devices and its buffers are: a maintainer asks for it first.
_ABOUT = re.compile(
    r"_print_info: build|system_info|device_info|common_param:   - |ggml_(?:cuda|vulkan|metal)\w*: "
    r"|using device|offloaded \d|(?:KV|RS|compute|output|model) buffer size|flash_attn|draft"
)
#: The metadata stands elsewhere in a report, or nowhere: token lists, templates.
_NOT_WANTED = re.compile(rb"llama_model_loader: - kv|all slots are idle")
_TEMPLATE = re.compile(rb"(example_format: ).*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Lines to show, in their order, with a mark where others are left out."""

    lines: tuple[str, ...]
    left_out: int


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


def choose(lines: Sequence[str], show: Callable[[str], str], most_characters: int) -> Chosen:
    """The last lines, and telling ones before them, as `show` makes them, within the room.

    The telling ones may take a third of it.
    """
    start = max(len(lines) - MOST_LINES, 0)
    older = [at for at in range(start) if _ABOUT.search(lines[at]) or is_telling(lines[at])]
    older = [*older[: _MOST_TELLING // 2], *older[_MOST_TELLING // 2 :][-_MOST_TELLING // 2 :]]
    room = most_characters
    kept: dict[int, str] = {}
    for at in older:
        text = show(lines[at])
        if len(text) + 60 > room - 2 * most_characters // 3:
            break
        kept[at] = text
        room -= len(text) + 60
    for at in range(len(lines) - 1, start - 1, -1):
        text = show(lines[at])
        if len(text) + 60 > room:
            break
        kept[at] = text
        room -= len(text) + 1
    return Chosen(tuple(_marked(kept, len(lines))), len(lines) - len(kept))


def _marked(kept: dict[int, str], total: int) -> Iterator[str]:
    before = -1
    for at in [*sorted(kept), total]:
        if at - before > 1:
            yield f"[{at - before - 1:,} line(s) left out]"
        if at < total:
            yield kept[at]
        before = at


def _redactor(*, serves: bool) -> Redactor:
    redactor = Redactor()
    if serves:
        redactor.keep([_LISTENING])
    return redactor


def _microseconds(stamp: re.Match[bytes]) -> int:
    minutes, seconds, milli, micro = (int(stamp[i]) for i in range(1, 5))
    return ((minutes * 60 + seconds) * 1000 + milli) * 1000 + micro
