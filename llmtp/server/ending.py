"""The end of servers that somebody else started: by their llmtp, or, where that is gone, by us."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmtp.errors import ExitCode, NotFoundError, OtherEndedError
from llmtp.machine.identity import ProcessId
from llmtp.machine.marks import marked
from llmtp.server import registry
from llmtp.server.entry import Entry
from llmtp.server.process import DRAIN_S, TERM_WAIT_S
from llmtp.server.standing import Known, Standing, newest_known

#: For what llmtp does at an end besides waiting for requests: the engine, its output, its files.
_ENDING_S = 15.0
_LOOK_S = 0.25
_KILL_WAIT_S = 5.0
_LONG_S = 3600.0


@dataclass(frozen=True, slots=True)
class Stopped:
    """A server that has ended; `how` in a few words."""

    entry: Entry
    how: str

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.entry.id, "model": self.entry.model, "how": self.how}


def stop(servers: Sequence[Known], on_draining: Callable[[Entry], None]) -> Iterator[Stopped]:
    """End servers, all at the same time; each comes back once nothing of it is there.

    Requests may finish, which `on_draining` is told once for a server; another stop meanwhile ends
    it at once. Raises UsageError where nothing can be written.
    """
    for known in servers:
        if known.standing is Standing.SUPERVISED:
            _ask(known.entry)
    for known in servers:
        yield _stopped(known, on_draining)


def _ask(entry: Entry) -> None:
    registry.ask_to_stop(entry)
    entry.llmtp.signal(signal.SIGTERM)


def _stopped(known: Known, on_draining: Callable[[Entry], None]) -> Stopped:
    entry, how = known.entry, "stopped; nobody kept it up"
    while known.standing is Standing.SUPERVISED:
        if not _wait(entry, DRAIN_S + _ENDING_S, on_draining):
            entry.llmtp.signal(signal.SIGKILL)
            entry.llmtp.wait(_KILL_WAIT_S)
        registry.sweep(entry)
        now = registry.read(entry.id)
        if now is None or now.started_at != entry.started_at or now.is_over:
            return Stopped(entry, "stopped")
        is_other, entry = now.llmtp != entry.llmtp, now
        if not is_other:
            how = "killed: the llmtp that kept it up did not end it"
            break
        _ask(entry)
    _end(_processes(entry, known.processes))
    registry.Registration(entry).end(ExitCode.OK, [])
    return Stopped(entry, how)


def _wait(entry: Entry, at_most_s: float, on_draining: Callable[[Entry], None]) -> bool:
    deadline, is_told = time.monotonic() + at_most_s, False
    while not entry.llmtp.wait(_LOOK_S):
        now = registry.read(entry.id)
        if now is not None and now.draining and not is_told:
            is_told = True
            on_draining(now)
        if time.monotonic() > deadline:
            return False
    return True


def _processes(entry: Entry, known: Sequence[ProcessId]) -> list[ProcessId]:
    """Of the engine, as they are now."""
    own = [entry.server] if entry.server else []
    return list(dict.fromkeys([*own, *known, *marked().get(registry.mark_of(entry.id), [])]))


def _end(processes: Sequence[ProcessId]) -> None:
    """TERM, a while, KILL: told to end, the engine may never do it."""
    for signum, wait_s in ((signal.SIGTERM, TERM_WAIT_S), (signal.SIGKILL, _KILL_WAIT_S)):
        deadline = time.monotonic() + wait_s
        sent = [one for one in processes if one.signal(signum)]
        for one in sent:
            one.wait(max(deadline - time.monotonic(), 0))


def wait(known: Known) -> Entry:
    """Wait until a server has ended; raises what it ended with, if not as it should."""
    entry = known.entry
    for process in (entry.llmtp, *known.processes):
        while not process.wait(_LONG_S):
            pass
    now = newest_known(entry.id).entry
    if now.llmtp != entry.llmtp:
        raise NotFoundError(f"{entry.id} has ended, and another server has its name since")
    if now.exit_code:
        raise OtherEndedError(now.findings, ExitCode(now.exit_code))
    return now
