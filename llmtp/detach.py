"""A server that goes on without us: a second llmtp, in a session of its own, keeps it up.

It tells on a pipe what happens until its server is ready and proved, and lets go of it then.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from llmtp import signals
from llmtp.chain import Prepared
from llmtp.errors import (
    ExitCode,
    Finding,
    LlmtpError,
    OtherEndedError,
    StartFailedError,
    UsageError,
)
from llmtp.machine.identity import ProcessId
from llmtp.machine.marks import DETACHED
from llmtp.registered import fingerprint, new_entry
from llmtp.server import registry
from llmtp.server.entry import Entry
from llmtp.server.life import State
from llmtp.server.registry import Registration
from llmtp.story import Event
from llmtp.text import clean

_LOOK_S = 0.1
#: `python -P`: nothing is imported from the folder where somebody happens to be.
_LLMTP = (sys.executable, "-P", "-m", "llmtp")
_MOST_WORDS = 1 << 16


def detach(
    prepared: Prepared,
    argv: Sequence[str],
    *,
    makes_key: bool,
    on_event: Callable[[Event], None],
    on_finding: Callable[[Finding], None],
    on_wait: Callable[[Entry], None],
) -> tuple[Entry, bool]:
    """Start a server that stays, or wait for one that is the same; and whether it was there.

    `argv` is the command line of `run` that was typed; `on_wait` is told which one is waited for.
    Raises the error of a start that fails.
    """
    wanted = fingerprint(prepared, makes_key=makes_key)
    serving = prepared.request.serving
    port = serving.port if serving.port_was_asked else None
    while True:
        with contextlib.ExitStack() as stack:
            with registry.locked():
                same = registry.kept_for(wanted, port)
                if same is None:
                    with signals.hold():
                        other = stack.enter_context(_Other(argv))
                        other.claim(prepared, wanted)
            if same is None:
                return other.until_ready(on_event, on_finding), False
        on_wait(same)
        if (entry := _until_ready(same)) is not None:
            return entry, True


def _until_ready(entry: Entry) -> Entry | None:
    """Wait for somebody else's start; None where it fails."""
    while True:
        signals.check()
        now = registry.read(entry.id)
        if now is None or now.is_over or now.wanted != entry.wanted or not now.llmtp.is_alive:
            return None
        if now.state is State.READY:
            return now
        threading.Event().wait(_LOOK_S)


class _Other:
    """The second llmtp, which waits on its stdin for the id of its entry."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._registration: Registration | None = None
        self._is_over = False
        with signals.hold(), contextlib.ExitStack() as stack:
            self._words = stack.enter_context(tempfile.TemporaryFile())
            (hears, ours), (told, tells) = _pipe(), _pipe()
            self._ours = stack.enter_context(os.fdopen(ours, "w", encoding="utf-8"))
            self._told = stack.enter_context(os.fdopen(told, encoding="utf-8"))
            words = _lifted(self._words.fileno())
            try:
                self._pid = _spawn([*_LLMTP, *argv], (hears, tells, words))
            finally:
                for end in (hears, tells, words):
                    os.close(end)
            self._open = stack.pop_all()

    def __enter__(self) -> _Other:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """It goes on where it is ready; nobody wants it any more where somebody interrupts, or it
        cannot be known."""
        with signals.hold(), self._open:
            unwanted = kind is signals.Interrupted or self._registration is None
            if unwanted and not self._is_over:
                _end(self._pid)

    def claim(self, prepared: Prepared, wanted: str) -> None:
        """Make its entry; raises UsageError where nothing can be written."""
        llmtp = ProcessId.of(self._pid)
        if llmtp is None:
            return  # dead already: its end tells why
        with signals.hold():
            registration = registry.claim(
                prepared.plan.name,
                lambda name: new_entry(name, prepared, wanted, llmtp, detached=True),
            )
            registration.check()
            self._registration = registration
            with contextlib.suppress(BrokenPipeError):
                self._ours.write(registration.id)
                self._ours.close()

    def until_ready(
        self, on_event: Callable[[Event], None], on_finding: Callable[[Finding], None]
    ) -> Entry:
        """Hand on what it tells; raises the error that it ends with."""
        url = ""
        for line in self._told:
            value = json.loads(line)
            match value.pop("event"):
                case "finding":
                    on_finding(Finding.parse(value["finding"]))
                case "exit":
                    self._wait_ended()
                    raise self._failed(_failure(value))
                case "kept" if self._registration is not None:
                    entry = self._registration.entry
                    return registry.read(entry.id) or replace(entry, state=State.READY, url=url)
                case name:
                    value.pop("at")
                    url = value.get("url", url)
                    on_event(Event(name, value))
        code = self._wait_ended()
        self._words.seek(0)
        words = self._words.read(_MOST_WORDS).decode("utf-8", "replace")
        raise self._failed(_silent_end(code, words))

    @signals.hold()
    def _wait_ended(self) -> int:
        """It has told its last word."""
        _, status = os.waitpid(self._pid, 0)
        self._is_over = True
        return os.waitstatus_to_exitcode(status)

    def _failed(self, error: LlmtpError) -> LlmtpError:
        """Write that, where it could not: it may have ended before it had its entry."""
        if self._registration is not None:
            with contextlib.suppress(UsageError):
                registry.end_for(self._registration.entry, error.exit_code, error.findings)
        return error


def _pipe() -> tuple[int, int]:
    """Its ends, above the three that every process has."""
    low = os.pipe()
    read, write = map(_lifted, low)
    for end in low:
        os.close(end)
    return read, write


def _lifted(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def _spawn(argv: list[str], streams: tuple[int, int, int]) -> int:
    """A process in a session of its own, that nobody has to wait for; raises StartFailedError."""
    try:
        return os.posix_spawn(
            argv[0],
            argv,
            {**os.environ, DETACHED: "1"},
            file_actions=[(os.POSIX_SPAWN_DUP2, one, i) for i, one in enumerate(streams)],
            setsid=True,
        )
    except OSError as error:
        raise StartFailedError(
            f"another llmtp cannot be started: {error.strerror}",
            fix="free memory or processes, or run it in the foreground",
        ) from error


def _failure(ending: dict[str, Any]) -> LlmtpError:
    """What the second llmtp failed with, as if it were our own failure."""
    code = ExitCode(ending["exit_code"])
    if code in (ExitCode.OK, ExitCode.TERMINATED):
        return StartFailedError(
            "the server was stopped before it was ready", rule="stopped", fix="type the same again"
        )
    findings = [Finding.parse(one) for one in ending["findings"]]
    return OtherEndedError([one for one in findings if one.level == "error"], code)


def _silent_end(code: int, words: str) -> StartFailedError:
    last = clean((words.strip().splitlines() or [""])[-1], 300)
    return StartFailedError(
        f"the llmtp that keeps the server up ended with {code}{': ' if last else ''}{last}",
        fix="try it in the foreground: leave out --detach",
    )


def _end(child: int) -> None:
    """Tell it that nobody wants the server any more; a second signal to us is one to it."""
    told = -1
    while True:
        if signals.count() > told:
            told = max(signals.count(), 1)
            os.kill(child, signal.SIGTERM)
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        threading.Event().wait(_LOOK_S)
