"""Which servers there are, whoever was killed since their entries were written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from llmtp.errors import ExitCode, Finding, NotFoundError, UsageError
from llmtp.machine.identity import ProcessId
from llmtp.machine.marks import marked, parent_llmtp
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

    def findings(self) -> list[Finding]:
        """What a person should know of it."""
        if self.standing is not Standing.UNSUPERVISED:
            return []
        text = f"nobody keeps up {self.entry.id}: its llmtp is gone"
        fix = f"end it: llmtp stop {self.entry.id}"
        return [Finding("unsupervised", "warning", text, fix=fix)]

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
            "main": entry.main,
            "state": self.state,
            "started_at": entry.started_at if entry.url else None,
            "restarts": entry.restarts,
            "mtp": entry.mtp,
            "n_max": entry.n_max if entry.url else None,
            "detached": entry.detached,
            "log": str(entry.log) if entry.log else None,
            "api_key_file": str(entry.api_key_file) if entry.api_key_file else None,
            "exit_code": entry.exit_code,
        }


def survey() -> tuple[list[Known], list[registry.Unreadable]]:
    """All that are known, the oldest first, those that have ended, too."""
    marks = marked()  # before the entries: those of a server that starts come first
    entries, unreadable = registry.entries()
    known = [_stand(entry, marks.pop(registry.mark_of(entry.id), [])) for entry in entries]
    prefix = registry.mark_of("")
    for mark, processes in marks.items():
        name, left = mark.removeprefix(prefix), [one for one in processes if one.is_alive]
        if mark.startswith(prefix) and is_id(name) and left:
            known.append(_without_entry(name, left))
    return known, unreadable


def _stand(entry: Entry, processes: Sequence[ProcessId]) -> Known:
    if not entry.is_over and entry.llmtp.is_alive:
        return Known(entry, Standing.SUPERVISED)
    own = [entry.server] if entry.server is not None and entry.server.is_alive else []
    left = (*own, *(one for one in processes if one not in own and one.is_alive))
    if left:
        return Known(entry, Standing.UNSUPERVISED, left)
    return Known(entry if entry.is_over else _settle(entry), Standing.OVER)


def _settle(entry: Entry) -> Entry:
    """The end of one whose llmtp and engine are gone and could not say so."""
    finding = Finding(
        "lost",
        "error",
        f"{entry.id} and the llmtp that kept it up are gone: killed, or the machine was restarted",
        fix=f"see its log: {entry.log}" if entry.log else None,
    )
    with contextlib.suppress(UsageError):
        return registry.end_for(entry, ExitCode.SERVER_DIED, [finding])
    code = int(ExitCode.SERVER_DIED)
    return replace(entry, state=State.FAILED, exit_code=code, findings=(finding,))


def _without_entry(name: str, processes: Sequence[ProcessId]) -> Known:
    """An engine whose entry is gone, or never could be written; who started it may live."""
    llmtp = next(filter(None, map(parent_llmtp, processes)), None)
    entry = _lost_entry(name, processes, llmtp or processes[0])
    if llmtp is not None:
        return Known(entry, Standing.SUPERVISED)
    return Known(entry, Standing.UNSUPERVISED, (*processes,))


def _lost_entry(name: str, processes: Sequence[ProcessId], llmtp: ProcessId) -> Entry:
    return Entry(
        id=name,
        llmtp=llmtp,
        server=processes[0],
        state=State.READY,
        model=name,
        url="",
        started_at=time.time(),
        restarts=0,
        mtp=None,
        n_max=0,
        detached=True,
        log=None,
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
            f"{len(running)} servers run: {ids}",
            expected="the ID of one",
            fix=f"type it again with an ID, such as {running[0].entry.id}",
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


def reachable(entry: Entry) -> Entry:
    """The same; raises NotFoundError where nobody knows its address or key any more."""
    end = f"end it: llmtp stop {entry.id}"
    if not entry.url:
        raise NotFoundError(f"where {entry.id} listens is not known any more", rule="lost", fix=end)
    if entry.api_key_file is not None and not entry.api_key_file.is_file():
        where = clean(str(entry.api_key_file), 300)
        raise NotFoundError(f"the key of {entry.id} is gone: {where}", rule="lost", fix=end)
    return entry


def _named(name: str, among: Sequence[Known], otherwise: str) -> Known:
    for one in among:
        if one.entry.id == name:
            return one
    over = registry.read(name) if is_id(name) else None
    if over is not None and over.is_over:
        code = "" if over.exit_code is None else f" ({over.exit_code})"
        raise NotFoundError(f"{name} has ended{code}", fix=f"see its log: llmtp logs {name}")
    near = near_names(name, [one.entry.id for one in among])
    shown = f"{otherwise} {clean(name, 60)!r}"
    raise NotFoundError(shown, fix=f"{near} {_LIST}" if near else _LIST if among else _RUN)
