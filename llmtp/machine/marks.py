"""Marks in the environment of what we start, so that it is found when who started it is gone."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING

from llmtp import signals

if TYPE_CHECKING:
    from llmtp.machine.identity import ProcessId

MARK = "LLMTP_SERVER"
#: In the environment of an llmtp that was started to keep a server up. Its entry is made for it,
#: and it reads the id of that on its stdin.
DETACHED = "LLMTP_DETACHED"


def is_detached() -> bool:
    """Are we an llmtp that was started to keep a server up?"""
    return DETACHED in os.environ


@signals.hold()
def parent_llmtp(process: ProcessId) -> ProcessId | None:
    """The llmtp that started a process and lives."""
    import psutil

    from llmtp.machine.identity import ProcessId

    try:
        parent = psutil.Process(process.pid).parent()
        words = parent.cmdline() if parent is not None else []
    except psutil.Error:
        return None
    if parent is None or not any(PurePath(word).name == "llmtp" for word in words[:5]):
        return None
    return ProcessId.of(parent.pid)


@signals.hold()
def marked() -> dict[str, list[ProcessId]]:
    """Our processes that live, by their mark; a process of somebody else is not looked into."""
    import psutil

    from llmtp.machine.identity import ProcessId

    found: dict[str, list[ProcessId]] = {}
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK)
        except psutil.Error:
            continue
        if mark and (known := ProcessId.of(process.pid)) is not None:
            found.setdefault(mark, []).append(known)
    return found
