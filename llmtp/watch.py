"""Look at a running server: one of ours by its entry, or any llama-server or vLLM by its address.

Watching changes nothing of a server, and asks no more of it than once a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmtp import signals
from llmtp.engine.address import base_url, host_of, is_address, port_of
from llmtp.engines import kind_named, kind_of
from llmtp.errors import (
    ExitCode,
    NotFoundError,
    OtherEndedError,
    UsageError,
)
from llmtp.metrics.advice import Costs
from llmtp.metrics.counters import LogTally
from llmtp.metrics.look import Look, Source
from llmtp.metrics.report import Report, Watched
from llmtp.metrics.totals import Window
from llmtp.metrics.use import Meter
from llmtp.ports import is_loopback
from llmtp.server import registry
from llmtp.server.access import read_key
from llmtp.server.entry import Entry
from llmtp.server.life import State
from llmtp.server.standing import Standing, find_known, newest_known, reachable
from llmtp.server.tail import LogTail
from llmtp.told import count, number

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient

LOOK_EVERY_S = 1.0
#: A server that works, with all of its connections in use, does not answer for a while.
_PATIENCE_S = 60.0


class Over(Exception):
    """The watched server of ours has ended as it should. No failure."""


class Watch(Protocol):
    """A server that is looked at until it is left."""

    def look(self) -> Report: ...

    def close(self) -> None: ...


def follow(watch: Watch, show: Callable[[Report], None]) -> None:
    """Look once a second until the server has ended, which raises where it should not have, or
    somebody interrupts."""
    while True:
        began = time.monotonic()
        try:
            show(watch.look())
        except Over:
            return
        _pause(began)


def look_twice(watch: Watch) -> Report:
    """A second apart, so that rates are known. Raises NotFoundError for one that ends meanwhile."""
    began = time.monotonic()
    try:
        watch.look()
        _pause(began)
        return watch.look()
    except Over:
        raise NotFoundError(
            "the server has ended just now", rule="gone", fix="see what runs: llmtp ps"
        ) from None


def _pause(began: float) -> None:
    signals.check()
    threading.Event().wait(max(LOOK_EVERY_S - (time.monotonic() - began), 0))


def open_watch(name: str | None, key_file: Path | None) -> Watch:
    """Of the server of that id, or at that address; without a name of the only one of ours.

    Raises NotFoundError where nothing is, UsageError for a wrong address or key.
    """
    if name is not None and is_address(name):
        url = base_url(name)
        ours = None if key_file else _ours_at(url)
        return EntryWatch(ours) if ours else UrlWatch(url, key_file)
    if key_file is not None:
        raise UsageError(
            "--api-key-file is for the address of a server",
            expected="no key file: those of our own servers are known",
            fix="leave it out",
        )
    return EntryWatch(find_known(name).entry)


def _ours_at(url: str) -> Entry | None:
    """Of our servers the one that listens there: its log and plan tell more than its answers."""
    return next((one for one in registry.kept() if one.url == url), None)


class UrlWatch:
    """Whoever serves there."""

    def __init__(self, url: str, key_file: Path | None) -> None:
        from llmtp.engine.client import EngineClient
        from llmtp.engine.foreign import identify

        self._client = EngineClient(url, read_key(key_file) if key_file else None)
        try:
            told = identify(self._client, url)
        except BaseException:
            self._client.close()
            raise
        kind = kind_named(told.kind)
        self._source = kind.watched(self._client, LogTally, told.ctx_size)
        self._server = Watched(None, url, told.kind, told.build, told.model, None, None, None)
        self._window = Window()
        is_here = is_loopback(host_of(url))
        self._meter = Meter.at_port(port_of(url)) if is_here else Meter.nowhere()
        self._answered_at = time.monotonic()

    def look(self) -> Report:
        """Raises NotFoundError once nobody is there any more."""
        look, now = self._source.look(), time.monotonic()
        if look.answered:
            self._answered_at = now
            self._window.add(now, look.totals)
        elif now - self._answered_at > _PATIENCE_S or look.alone:
            raise NotFoundError(
                f"the server at {self._server.url} does not answer any more",
                rule="gone",
                fix="see on its machine why it ended",
            )
        return Report(
            self._server,
            _word(look),
            None,
            look,
            self._window.seconds,
            self._window.totals,
            self._meter.use(),
        )

    def close(self) -> None:
        self._client.close()


class _Start:
    """One start of a server of ours, and who looks at it."""

    def __init__(
        self, entry: Entry, client: EngineClient, log: _Log, server: Watched, meter: Meter
    ) -> None:
        self.entry = entry
        self.client = client
        self.server = server
        self.meter = meter
        self._log = log
        self._source: Source | None = None

    def look(self) -> Look:
        """Ask it, and nobody else: while it starts again its port may be another one's."""
        if not self._is_there():
            return Look(answered=False)
        if self._source is None:
            kind, ctx_size = kind_named(self.server.engine), self.entry.plan.get("ctx_per_slot")
            self._source = kind.watched(self.client, self._log.tally, count(ctx_size))
        return self._source.look()

    def _is_there(self) -> bool:
        from llmtp.machine.family import Family

        server, url = self.entry.server, self.entry.url
        if server is None or not server.is_alive:
            return False
        family, host = Family(server.pid), host_of(url)
        addresses = ("127.0.0.1", "::1") if host == "localhost" else (host,)
        return any(family.listens_at(one, port_of(url)) is not False for one in addresses)


class EntryWatch:
    """One of ours, over its restarts."""

    def __init__(self, entry: Entry) -> None:
        self._window = Window()
        self._log = _Log(entry.log)
        self._start = _look_at(entry, self._log)

    def look(self) -> Report:
        """Raises Over, or OtherEndedError, once it has ended."""
        start = self._start
        look = start.look()
        entry = registry.read(start.entry.id)
        lost = entry is None or entry.is_over or entry.server != start.entry.server
        if entry is None or lost or not look.answered:
            entry = self._catch_up()
        if look.answered:
            self._window.add(time.monotonic(), look.totals)
        return Report(
            start.server,
            _state(entry, look),
            time.time() - entry.started_at,
            look,
            self._window.seconds,
            self._window.totals,
            start.meter.use(),
        )

    def close(self) -> None:
        self._log.close()
        self._start.client.close()

    def _catch_up(self) -> Entry:
        """See what became of it, and look at that from now on."""
        was = self._start.entry
        if registry.read(was.id) is None and was.llmtp.is_alive:
            return was  # which writes it anew
        known = newest_known(was.id)
        now = known.entry
        if now.llmtp != was.llmtp:
            raise Over
        if known.standing is Standing.OVER:
            raise _ending(now)
        if (now.server, now.url, now.log) != (was.server, was.url, was.log):
            self._start.client.close()
            if now.log != was.log:
                self._log.close()
                self._log = _Log(now.log)
            self._start = _look_at(now, self._log)
        return now


class _Log:
    """Adds up what the log of a server says; before its first start there is none."""

    def __init__(self, path: Path | None) -> None:
        self._tail = LogTail(path) if path is not None else None
        self._tally = LogTally()

    def tally(self) -> LogTally:
        """With all that was written so far."""
        if self._tail is not None:
            for line in self._tail.lines():
                self._tally = self._tally.add(line)
        return self._tally

    def close(self) -> None:
        if self._tail is not None:
            self._tail.close()


def _look_at(entry: Entry, log: _Log) -> _Start:
    from llmtp.engine.client import EngineClient

    reachable(entry)
    key_file, plan = entry.api_key_file, entry.plan
    ctx_size = count(plan.get("ctx_size"))
    server = Watched(
        entry.id,
        entry.url,
        kind_of(entry).name,
        None,
        entry.model,
        entry.n_max,
        ctx_size,
        _costs(plan),
    )
    client = EngineClient(entry.url, read_key(key_file) if key_file else None)
    return _Start(entry, client, log, server, Meter.of_plan(entry.server, plan))


def _ending(entry: Entry) -> Exception:
    if entry.state is not State.FAILED:
        return Over()
    code = ExitCode.SERVER_DIED if entry.exit_code is None else ExitCode(entry.exit_code)
    return OtherEndedError(entry.findings, code)


def _state(entry: Entry, look: Look) -> str:
    if entry.state is not State.READY:
        return str(entry.state.value)
    return _word(look) if entry.llmtp.is_alive else Standing.UNSUPERVISED.value


def _word(look: Look) -> str:
    if not look.answered:
        return "no answer"
    if look.busy is None:
        return "answers"
    return "busy" if look.busy else "idle"


def _costs(plan: Mapping[str, Any]) -> Costs | None:
    steps, source = plan.get("step_costs"), plan.get("step_costs_source")
    if not isinstance(steps, list) or not isinstance(source, str):
        return None
    known = [one for one in map(number, steps) if one]
    return Costs(tuple(known), source) if known and len(known) == len(steps) else None
