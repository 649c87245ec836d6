"""The end of servers that somebody else started: by their llmtp, or, where that is gone, by us."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmtp.errors import ExitCode, Finding, NotFoundError, OtherEndedError, UsageError
from llmtp.machine.identity import ProcessId
from llmtp.machine.marks import marked
from llmtp.server import registry
from llmtp.server.entry import Entry
from llmtp.server.process import DRAIN_S, TERM_WAIT_S
from llmtp.server.standing import Known, Standing, newest_known

#: For what llmtp does at an end besides waiting for requests: the engine, its output, its files.
_ENDING_S = 15.0
_LOOK_S = 0.25
_SLOW_S = 3.0
_KILL_WAIT_S = 5.0
_LONG_S = 3600.0


@dataclass(frozen=True, slots=True)
class Stopped:
    """A server that has ended; `how` in a few words."""

    entry: Entry
    how: str

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.entry.id, "model": self.entry.model, "how": self.how}


def stop(servers: Sequence[Known], on_wait: Callable[[Entry], None]) -> Iterator[Stopped]:
    """End servers, all at the same time; each comes back once nothing of it is there.

    Requests may finish: then, and where it takes long, `on_wait` is told once each for a server.
    Another stop meanwhile ends it at once.
    """
    for known in servers:
        if known.standing is Standing.SUPERVISED:
            _ask(known.entry)
    for known in servers:
        yield _stopped(known, on_wait)


def _ask(entry: Entry) -> None:
    registry.ask_to_stop(entry)
    entry.llmtp.signal(signal.SIGTERM)


def _stopped(known: Known, on_wait: Callable[[Entry], None]) -> Stopped:
    entry, how = known.entry, "stopped; nobody kept it up"
    if known.standing is Standing.SUPERVISED:
        how = "stopped"
        if not _wait(entry, DRAIN_S + _ENDING_S, on_wait):
            how = "killed: the llmtp that kept it up did not end it"
            entry.llmtp.signal(signal.SIGKILL)
            entry.llmtp.wait(_KILL_WAIT_S)
    now = registry.read(entry.id)
    if now is None or now.llmtp == entry.llmtp:
        _end(_processes(now or entry, known.processes))
    with contextlib.suppress(UsageError):
        registry.end_for(entry, ExitCode.OK, ())
    return Stopped(entry, how)


def _wait(entry: Entry, at_most_s: float, on_wait: Callable[[Entry], None]) -> bool:
    began, told = time.monotonic(), set[bool]()
    while not entry.llmtp.wait(_LOOK_S):
        now, waited_s = registry.read(entry.id) or entry, time.monotonic() - began
        drains = now.draining > 0
        if (drains or waited_s > _SLOW_S) and drains not in told:
            told |= {drains, False}
            on_wait(now)
        if waited_s > at_most_s:
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
    while known.standing is not Standing.OVER:
        for process in known.processes or (known.entry.llmtp,):
            while not process.wait(_LONG_S):
                pass
        known = newest_known(entry.id)
        if known.entry.llmtp != entry.llmtp:
            raise NotFoundError(
                f"{entry.id} has ended, and another server has its id since",
                fix="see which servers there are: llmtp ps --all",
            )
    if known.entry.exit_code:
        code = ExitCode(known.entry.exit_code)
        was = Finding(
            "ended", "error", f"{entry.id} was {code.name.lower()}",
            fix=f"see its log: llmtp logs {entry.id}",
        )  # fmt: skip
        raise OtherEndedError(known.entry.findings or [was], code)
    return known.entry
