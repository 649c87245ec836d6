"""A process and all that came of it: what they compute, where they listen, and their end."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from llmtp import signals

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_KILL_WAIT_S = 2.0


class Family:
    """A process and those that came of it, as they are now; no other process ever takes a place.

    A started engine may be a script that starts the real one. No look is broken off by a signal:
    it would leave a file of /proc open.
    """

    @signals.hold()
    def __init__(self, pid: int) -> None:
        self._members: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(pid)
            self._members = [first, *first.children(recursive=True)]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._members]

    def computed_s(self) -> float | None:
        """CPU time so far of those that are there; None where nobody tells."""

        def of(process: psutil.Process) -> float:
            times = process.cpu_times()
            return float(times.user + times.system)

        return self._sum(of)

    def loaded_bytes(self) -> int | None:
        """How much of their files they have in memory or have read, where told.

        Mapped files count as resident shared pages, others as characters read (Linux).
        """

        def of(process: psutil.Process) -> float:
            read = process.io_counters().read_chars if hasattr(process, "io_counters") else None
            if read is None:
                raise psutil.AccessDenied
            return max(read, getattr(process.memory_info(), "shared", 0))

        total = self._sum(of)
        return None if total is None else int(total)

    @signals.hold()
    def _sum(self, of: Callable[[psutil.Process], float]) -> float | None:
        told = []
        for process in self._members:
            with contextlib.suppress(psutil.Error):
                told.append(of(process))
        return sum(told) if told else None

    @signals.hold()
    def largest(self, otherwise: int) -> int:
        """The one with the most memory, which is the engine where a script started it."""
        sizes = []
        for process in self._members:
            with contextlib.suppress(psutil.Error):
                sizes.append((process.memory_info().rss, process.pid))
        return max(sizes)[1] if sizes else otherwise

    @signals.hold()
    def kill(self) -> None:
        """End those that are left."""
        for process in self._members:
            with contextlib.suppress(psutil.Error):
                process.kill()

    @signals.hold()
    def listens_at(self, host: str, port: int) -> bool | None:
        """Does one of them listen at that IP address? None where nobody may look."""
        try:
            return any(
                (connection.status, connection.laddr.port) == (psutil.CONN_LISTEN, port)
                and connection.laddr.ip.removeprefix("::ffff:") in (host, "0.0.0.0", "::")  # noqa: S104 - compared, not bound
                for process in self._members
                for connection in process.net_connections("tcp")
            )
        except psutil.Error:
            return None

    def is_connected_to(self, port: int) -> bool | None:
        """Has one of them a connection to that port of any machine? None where nobody may look."""
        ends = self.connected_to()
        return None if ends is None else any(of == port for _, of in ends)

    @signals.hold()
    def connected_to(self) -> frozenset[tuple[str, int]] | None:
        """Addresses and ports at the other ends of their connections; None where nobody may
        look."""
        try:
            return frozenset(
                (connection.raddr.ip.removeprefix("::ffff:"), connection.raddr.port)
                for process in self._members
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_ESTABLISHED
            )
        except psutil.Error:
            return None


@signals.hold()
def listener(port: int) -> tuple[int, str] | None:
    """Who listens at a port: number and name of the process, where we may know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            at = connection.laddr.port if connection.laddr else None
            if (connection.status, at) == (psutil.CONN_LISTEN, port) and connection.pid:
                return connection.pid, psutil.Process(connection.pid).name()
    return None


@signals.hold()
def supervisor_of(pid: int) -> int | None:
    """The llmtp that started a process, and would start another one for it; None where none did."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid).parent()
        words = parent.cmdline() if parent is not None else []
        if parent is not None and any(Path(word).name == "llmtp" for word in words[:2]):
            return int(parent.pid)
    return None


def adopt_orphans() -> None:
    """Become the parent of all that came of us and loses its own (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> Callable[[], None] | None:
    """For a child to call before it becomes a program: it ends with us (on Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    return ask


@signals.hold()
def kill_orphans(besides: int) -> None:
    """End all children of ours but the engine: what left its group and lost its parent.

    There is one engine at a time, and whoever starts another child waits for it.
    """
    for child in psutil.Process().children():
        if child.pid != besides:
            with contextlib.suppress(psutil.Error):
                child.kill()
                child.wait(_KILL_WAIT_S)
