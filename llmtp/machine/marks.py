"""A mark in the environment of what we start, so that it is found when who started it is gone."""

from __future__ import annotations

from llmtp import signals
from llmtp.machine.identity import ProcessId

MARK = "LLMTP_SERVER"


@signals.hold()
def marked() -> dict[str, list[ProcessId]]:
    """Our processes that live, by their mark; a process of somebody else is not looked into."""
    import psutil

    found: dict[str, list[ProcessId]] = {}
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK)
        except psutil.Error:
            continue
        if mark and (known := ProcessId.of(process.pid)) is not None:
            found.setdefault(mark, []).append(known)
    return found
