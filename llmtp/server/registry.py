"""The servers that llmtp runs here: a private file each, which only who keeps the server up writes.

A computer has a folder of its own, because homes may be shared. Files are replaced as a whole, so
whoever reads sees an old entry or a new one. The lock is for those who choose an id.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import platform
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmtp import paths, signals
from llmtp.errors import ExitCode, Finding, UsageError
from llmtp.machine.marks import DETACHED, MARK, marked
from llmtp.server.access import key_file
from llmtp.server.entry import Entry, id_for, parse_entry
from llmtp.server.life import State

#: Of servers that have ended: so long `wait` and `logs` know them.
KEPT = 20
_LOCK_WAIT_S = 60.0
_LOCK_POLL_S = 0.05
_MOST_BYTES = 1 << 20
_FORGOTTEN_S = 120.0
_ASKED_FOR = (ExitCode.OK, ExitCode.INTERRUPTED, ExitCode.TERMINATED)


@functools.cache
@signals.hold()
def _here() -> str:
    """Where a number of a process means the same: on one machine, and in one container of it.

    Its name would do, but that may change while a server runs.
    """
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()[:12]
        numbers = re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
    except (OSError, UnicodeDecodeError):
        machine, numbers = "", ""
    here = f"{machine}-{numbers}" if machine and numbers else platform.node()
    return re.sub(r"[^A-Za-z0-9.-]", "_", here).strip(".")[:64] or "here"


def folder() -> Path:
    """Where the entries of this computer are."""
    return paths.state_dir() / "servers" / _here()


def mark_of(entry_id: str) -> str:
    """What marks the processes of that server: another home has other servers."""
    return f"{folder()}/{entry_id}"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is no entry of ours, and why."""

    path: Path
    why: str

    def finding(self) -> Finding:
        return Finding(
            "registry",
            "warning",
            f"{self.path} is no entry of a server: {self.why}",
            fix=f"if no server needs it: rm -r {self.path}",
        )


def entries() -> tuple[list[Entry], list[Unreadable]]:
    """All that are there, the oldest first."""
    known, unreadable = [], []
    for path in sorted(folder().glob("*.json")):
        try:
            entry = _read(path)
        except FileNotFoundError:
            continue  # gone since
        except ValueError as error:
            unreadable.append(Unreadable(path, str(error)))
        else:
            known.append(entry)
    return sorted(known, key=lambda one: one.started_at), unreadable


def kept() -> list[Entry]:
    """Those that an llmtp keeps up now, the oldest first."""
    return [one for one in entries()[0] if not one.is_over and one.llmtp.is_alive]


def kept_for(wanted: str, port: int | None, besides: str | None = None) -> Entry | None:
    """One that was started with the same wishes, and keeps its port, if that is asked for."""
    for entry in kept():
        same = entry.wanted == wanted and port in (None, entry.port)
        if same and entry.id != besides:
            return entry
    return None


def read(entry_id: str) -> Entry | None:
    """One entry; None where there is none that can be read."""
    try:
        return _read(_file(entry_id))
    except (FileNotFoundError, ValueError):
        return None


def _file(entry_id: str) -> Path:
    return folder() / f"{entry_id}.json"


def _stop_file(entry: Entry) -> Path:
    return folder() / f"{entry.id}.{entry.llmtp.pid}.stop"


@signals.hold()
def _read(path: Path) -> Entry:
    """Raises FileNotFoundError, and ValueError for what is no entry."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("it is no file")
            text = file.read(_MOST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from None
    entry = parse_entry(text)
    if entry.id != path.name.removesuffix(".json"):
        raise ValueError("it is another one's")
    return entry


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _write(entry: Entry) -> os.stat_result:
    """Replace the file as a whole; raises OSError."""
    path = _file(entry.id)
    part = path.with_name(f"{entry.id}.{os.getpid()}.part")
    paths.private_dir(path.parent)
    try:
        with signals.hold():
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(entry.to_json() + "\n")
                file.flush()
                written = os.fstat(file.fileno())
            part.replace(path)
            return written
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Let nobody else choose an id. Raises UsageError where that cannot be had."""
    path, deadline = folder() / "lock", time.monotonic() + _LOCK_WAIT_S
    with contextlib.ExitStack() as stack:
        try:
            with signals.hold():
                paths.private_dir(path.parent)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                stack.callback(os.close, descriptor)
        except OSError as error:
            raise _unwritable(error) from error
        while not _lock(descriptor):
            if time.monotonic() > deadline:
                raise UsageError(
                    f"another llmtp has held {path} for {_LOCK_WAIT_S:.0f} s",
                    rule="registry",
                    fix="see what hangs: ps aux | grep llmtp",
                )
            threading.Event().wait(_LOCK_POLL_S)
        yield


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return True
    return True


def see_to(error: OSError) -> str:
    """What helps where the folder cannot be written."""
    is_full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
    return "make room on its disk" if is_full else f"see to {folder()}"


def _unwritable(error: OSError) -> UsageError:
    return UsageError(
        f"{folder()} cannot be written: {error.strerror}",
        rule="registry",
        expected="a place for what llmtp knows of its servers",
        fix=f"{see_to(error)}, or name another place in XDG_STATE_HOME",
    )


class Registration:
    """The entry of one server, for who keeps it up.

    An entry that cannot be written is lost, and the server goes on: `take_error` tells that once.
    """

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._written: tuple[int, int] | None = None
        self._error: OSError | None = None
        self._is_told = False

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def marks(self) -> dict[str, str | None]:
        """What the server's environment has more."""
        return {MARK: mark_of(self.id), DETACHED: None}

    @property
    def stop_is_asked(self) -> bool:
        """Did `llmtp stop` ask for its end?"""
        return _stop_file(self.entry).exists()

    def change(self, **fields: Any) -> None:
        """Write what is new."""
        self.entry = replace(self.entry, **fields)
        self._write()

    def keep(self) -> None:
        """Write it anew where somebody has removed or changed the file."""
        try:
            now = _file(self.id).stat()
        except OSError:
            now = None
        if now is None or (now.st_ino, now.st_mtime_ns) != self._written:
            self._write()

    @signals.hold()
    def end(self, code: ExitCode, findings: Sequence[Finding]) -> None:
        """The last word, and nothing of it is left but the entry itself."""
        state = State.STOPPED if code in _ASKED_FOR else State.FAILED
        self.change(
            state=state,
            server=None,
            draining=0,
            exit_code=int(code),
            ended_at=time.time(),
            findings=tuple(findings),
        )
        sweep(self.entry)

    def take_error(self) -> OSError | None:
        """Why it could not be written, once."""
        if self._is_told or self._error is None:
            return None
        self._is_told = True
        return self._error

    def check(self) -> None:
        """Raises UsageError where it could not be written."""
        if self._error is not None:
            raise _unwritable(self._error)

    def _write(self) -> None:
        try:
            written = _write(self.entry)
        except OSError as error:
            self._error, self._written = error, None
        else:
            self._error, self._written = None, (written.st_ino, written.st_mtime_ns)


def end_for(entry: Entry, code: ExitCode, findings: Sequence[Finding]) -> Entry:
    """Write the end of a server whose llmtp cannot, unless that has or another one has its id.

    What the entry is now; raises UsageError where the lock cannot be had.
    """
    with locked():
        now = read(entry.id)
        if now is None or now.llmtp != entry.llmtp or now.is_over:
            sweep(entry)
            return now or entry
        registration = Registration(now)
        registration.end(code, findings)
        return registration.entry


def sweep(entry: Entry) -> None:
    """Remove what belongs to a server that has ended: its key, and who asked for its end. Both
    are named after its llmtp, too, so no other server's go."""
    with contextlib.suppress(OSError):
        _stop_file(entry).unlink(missing_ok=True)
        if entry.key_is_made:
            key_file(entry.id, entry.llmtp.pid).unlink(missing_ok=True)


def register(model: str, make: Callable[[str], Entry]) -> Registration:
    """A new entry under an id that no live server has; `make` gets it.

    Where nothing can be written the server may run all the same: see `Registration.take_error`.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(UsageError):
            stack.enter_context(locked())
        return claim(model, make)


def claim(model: str, make: Callable[[str], Entry]) -> Registration:
    """The same for who holds the lock."""
    known, unreadable = entries()
    taken = {one.path.name.removesuffix(".json") for one in unreadable}
    taken |= {one.id for one in known if not one.is_over and one.llmtp.is_alive}
    taken |= {mark.removeprefix(mark_of("")) for mark in marked()}
    over = sorted((one for one in known if one.id not in taken), key=_ended_at)
    gone = [_file(one.id) for one in over[: max(len(over) - KEPT + 1, 0)]]
    with contextlib.suppress(OSError):
        for path in (*gone, *_forgotten()):
            path.unlink(missing_ok=True)
    registration = Registration(make(id_for(model, taken)))
    registration.change()
    return registration


def _forgotten() -> Iterator[Path]:
    """Files of those who were killed while they wrote, or asked for an end."""
    for path in (*folder().glob("*.part"), *folder().glob("*.stop")):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _FORGOTTEN_S:
                yield path


def _ended_at(entry: Entry) -> float:
    return entry.ended_at or entry.started_at


def ask_to_stop(entry: Entry) -> None:
    """Say that `llmtp stop` ends it, for who keeps it up; on a full disk that looks like another
    signal."""
    with signals.hold(), contextlib.suppress(OSError):
        os.close(os.open(_stop_file(entry), os.O_WRONLY | os.O_CREAT, 0o600))
