"""Which servers there are, whoever was killed since their entries were written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from llmtp.errors import ExitCode, Finding, NotFoundError, UsageError
from llmtp.machine.identity import ProcessId
from llmtp.machine.marks import marked
from llmtp.server import registry
from llmtp.server.entry import Entry, is_id
from llmtp.server.life import State
from llmtp.text import clean, near_names

_RUN = "start one with: llmtp run MODEL --detach"
_LIST = "see them with: llmtp ps"


class Standing(Enum):
    """Who is there of a server. Nobody keeps up one that is unsupervised."""

    SUPERVISED = "supervised"
    UNSUPERVISED = "unsupervised"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Known:
    """A server of ours; `processes` are those of its engine, where nobody keeps it up."""

    entry: Entry
    standing: Standing
    processes: tuple[ProcessId, ...] = ()

    @property
    def state(self) -> str:
        """In the words that a person reads."""
        lone = self.standing is Standing.UNSUPERVISED
        return self.standing.value if lone else self.entry.state.value

    def to_dict(self) -> dict[str, Any]:
        """An entry of `ps --json`; no key, but where it is."""
        entry = self.entry
        server = self.processes[0] if self.processes else entry.server
        return {
            "id": entry.id,
            "pid": server.pid if server else None,
            "llmtp_pid": entry.llmtp.pid if self.standing is Standing.SUPERVISED else None,
            "url": entry.url or None,
            "model": entry.model,
            "state": self.state,
            "started_at": entry.started_at,
            "restarts": entry.restarts,
            "mtp": entry.mtp,
            "n_max": entry.n_max,
            "detached": entry.detached,
            "log": str(entry.log),
            "api_key_file": str(entry.api_key_file) if entry.api_key_file else None,
            "exit_code": entry.exit_code,
        }


def survey() -> tuple[list[Known], list[registry.Unreadable]]:
    """All that are known, the oldest first, those that have ended, too."""
    entries, unreadable = registry.entries()
    marks = marked()
    known = [_stand(entry, marks.pop(registry.mark_of(entry.id), [])) for entry in entries]
    prefix = registry.mark_of("")
    for mark, processes in marks.items():
        name = mark.removeprefix(prefix)
        if mark.startswith(prefix) and is_id(name):
            known.append(Known(_lost_entry(name, processes), Standing.UNSUPERVISED, (*processes,)))
    return known, unreadable


def _stand(entry: Entry, processes: Sequence[ProcessId]) -> Known:
    if not entry.is_over and entry.llmtp.is_alive:
        return Known(entry, Standing.SUPERVISED)
    own = [entry.server] if entry.server is not None and entry.server.is_alive else []
    left = (*own, *(one for one in processes if one not in own))
    if left:
        return Known(entry, Standing.UNSUPERVISED, left)
    return Known(entry if entry.is_over else _settle(entry), Standing.OVER)


def _settle(entry: Entry) -> Entry:
    """The end of one whose llmtp and engine are gone and could not say so."""
    finding = Finding(
        "lost",
        "error",
        f"{entry.id} and the llmtp that kept it up are gone: killed, or the machine was restarted",
        fix=f"see its log: {entry.log}",
    )
    with contextlib.suppress(UsageError), registry.locked():
        now = registry.read(entry.id)
        if now == entry:
            registration = registry.Registration(entry)
            registration.end(ExitCode.SERVER_DIED, [finding])
            return registration.entry
        if now is not None:
            return now
    code = int(ExitCode.SERVER_DIED)
    return replace(entry, state=State.FAILED, exit_code=code, findings=(finding,))


def _lost_entry(name: str, processes: Sequence[ProcessId]) -> Entry:
    """Of an engine whose entry is gone."""
    return Entry(
        id=name,
        llmtp=processes[0],
        server=processes[0],
        state=State.READY,
        model=name,
        url="",
        started_at=time.time(),
        restarts=0,
        mtp=None,
        n_max=0,
        detached=True,
        log=Path(),
        api_key_file=None,
        key_is_made=False,
        wanted="",
    )


def live() -> list[Known]:
    """Those that run, supervised or not."""
    return [one for one in survey()[0] if one.standing is not Standing.OVER]


def find_known(name: str | None) -> Known:
    """The live server of that id; without one the only live server.

    Raises NotFoundError where there is none, UsageError where there are several.
    """
    running = live()
    if name is not None:
        return _named(name, running, "no server of ours runs as")
    if not running:
        raise NotFoundError("no server runs", fix=_RUN)
    if len(running) > 1:
        ids = ", ".join(one.entry.id for one in running)
        raise UsageError(
            f"{len(running)} servers run: {ids}", expected="the ID of one", fix="name one of them"
        )
    return running[0]


def newest_known(name: str | None) -> Known:
    """The server of that id, live or ended; without one the only live, or the last that ended."""
    known = survey()[0]
    running = [one for one in known if one.standing is not Standing.OVER]
    if name is not None:
        return _named(name, known, "no server is known as")
    if running:
        return find_known(None)
    if not known:
        raise NotFoundError("no server was started yet", fix=_RUN)
    return max(known, key=lambda one: one.entry.ended_at or one.entry.started_at)


def find(name: str | None) -> Entry:
    """The entry of `find_known`."""
    return find_known(name).entry


def newest(name: str | None = None) -> Entry:
    """The entry of `newest_known`."""
    return newest_known(name).entry


def _named(name: str, among: Sequence[Known], otherwise: str) -> Known:
    for one in among:
        if one.entry.id == name:
            return one
    near = near_names(name, [one.entry.id for one in among])
    shown = f"{otherwise} {clean(name, 60)!r}"
    raise NotFoundError(shown, fix=f"{near} {_LIST}" if near else _LIST if among else _RUN)
