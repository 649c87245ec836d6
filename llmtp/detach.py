"""A server that goes on without us: a second llmtp, in a session of its own, keeps it up.

It tells on a pipe what happens until its server is ready and proved, and lets go of it then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from llmtp import signals
from llmtp.chain import Prepared
from llmtp.errors import ExitCode, Finding, LlmtpError, OtherEndedError, StartFailedError
from llmtp.registered import VARIABLE, fingerprint, new_entry
from llmtp.server import registry
from llmtp.server.entry import Entry
from llmtp.server.life import State
from llmtp.server.registry import Registration
from llmtp.server.standing import Standing, live
from llmtp.story import Event
from llmtp.text import clean

_LOOK_S = 0.1
#: `python -P`: nothing is imported from the folder where somebody happens to be.
_LLMTP = (sys.executable, "-P", "-m", "llmtp")
_TEXT = ("utf-8", "replace")


def is_detached() -> bool:
    """Are we the llmtp that was started to keep a server up?"""
    return VARIABLE in os.environ


def running_already(wanted: str, port: int | None, besides: str | None = None) -> Entry | None:
    """A server that was started with the same wishes, and keeps its port, if that is asked for."""
    for known in live():
        entry = known.entry
        same = known.standing is Standing.SUPERVISED and entry.wanted == wanted
        if same and port in (None, entry.port) and entry.id != besides:
            return entry
    return None


def detach(
    prepared: Prepared,
    argv: Sequence[str],
    *,
    makes_key: bool,
    on_event: Callable[[Event], None],
    on_finding: Callable[[Finding], None],
) -> tuple[Entry, bool]:
    """Start a server that stays, or wait for one that is the same; and whether it was there.

    `argv` is the command line of `run` that keeps it. Raises the error of a start that fails.
    """
    wanted = fingerprint(prepared, makes_key=makes_key)
    serving = prepared.request.serving
    port = serving.port if serving.port_was_asked else None
    while True:
        with registry.locked():
            same = running_already(wanted, port)
            if same is None:
                registration = registry.claim(
                    prepared.plan.name,
                    lambda name: new_entry(name, prepared, wanted, detached=True),
                )
                registration.check()
        if same is None:
            with _ended_if_not_taken_over(registration):
                return _start(registration, argv, on_event, on_finding), False
        if (entry := _until_ready(same)) is not None:
            return entry, True


@contextlib.contextmanager
def _ended_if_not_taken_over(registration: Registration) -> Iterator[None]:
    """Who keeps the server up writes its end, unless there never was one."""
    try:
        yield
    except BaseException:
        now = registry.read(registration.id)
        if now is not None and now.llmtp == registration.entry.llmtp:
            registration.end(ExitCode.START_FAILED, [])
        raise


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


def _start(
    registration: Registration,
    argv: Sequence[str],
    on_event: Callable[[Event], None],
    on_finding: Callable[[Finding], None],
) -> Entry:
    started: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        with signals.hold():
            words = stack.enter_context(tempfile.TemporaryFile())
            told, ours = os.pipe()
            lines = stack.enter_context(os.fdopen(told, encoding="utf-8"))
            try:
                child = _spawn([*_LLMTP, *argv], registration.id, ours, words.fileno())
            finally:
                os.close(ours)
        try:
            for line in lines:
                value = json.loads(line)
                match value.pop("event"):
                    case "finding":
                        on_finding(Finding.parse(value["finding"]))
                    case "exit":
                        os.waitpid(child, 0)
                        raise _failure(value)
                    case name:
                        started |= value if name == "ready" else {}
                        on_event(Event(name, value))
        except signals.Interrupted:
            _end(child)
            raise
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            words.seek(0)
            raise _silent_end(os.waitstatus_to_exitcode(status), words.read().decode(*_TEXT))
    known = registry.read(registration.id)
    return known or replace(registration.entry, state=State.READY, url=started.get("url", ""))


def _spawn(argv: list[str], entry_id: str, stdout: int, stderr: int) -> int:
    """A process in a session of its own, that nobody has to wait for; raises StartFailedError."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        try:
            return os.posix_spawn(
                argv[0],
                argv,
                {**os.environ, VARIABLE: entry_id},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, stdout, 1),
                    (os.POSIX_SPAWN_DUP2, stderr, 2),
                ],
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
        return StartFailedError("the server was stopped before it was ready", rule="stopped")
    return OtherEndedError([Finding.parse(one) for one in ending["findings"]], code)


def _silent_end(code: int, words: str) -> StartFailedError:
    last = clean((words.strip().splitlines() or [""])[-1], 300)
    return StartFailedError(
        f"the llmtp that keeps the server up ended with {code}{': ' if last else ''}{last}",
        fix="try it in the foreground: leave out --detach",
    )


def _end(child: int) -> None:
    """Tell it that nobody wants the server any more; a second signal to us is one to it."""
    told = 0
    while True:
        if signals.count() > told:
            told = signals.count()
            os.kill(child, signal.SIGTERM)
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        threading.Event().wait(_LOOK_S)
