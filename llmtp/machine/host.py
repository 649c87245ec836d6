"""RAM, CPU and single processes, as the operating system tells."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path

import psutil

from llmtp.machine.cgroup import least_room
from llmtp.machine.devices import Host


def read_host() -> Host:
    """RAM and CPU now."""
    memory = psutil.virtual_memory()
    total, available, source = memory.total, memory.available, "operating system"
    room = least_room()
    if room is not None and room.limit_bytes < total:
        total, available = room.limit_bytes, min(available, room.free_bytes)
        source = "cgroup limit"
    return Host(_cpu_name(), total, available, source)


class ProcessMeter:
    """Memory and reading progress of one process; all unknown once it is gone."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._process: psutil.Process | None = None

    def rss_bytes(self) -> int | None:
        process = self._open()
        try:
            return None if process is None else int(process.memory_info().rss)
        except psutil.Error:
            return None

    def loaded_bytes(self) -> int | None:
        """How much of its files a loading process has in memory or has read, where told.

        Mapped files count as resident shared pages, others as characters read (Linux).
        """
        process = self._open()
        try:
            if process is None or not hasattr(process, "io_counters"):
                return None
            io, memory = process.io_counters(), process.memory_info()
        except psutil.Error:
            return None
        return max(getattr(io, "read_chars", 0), getattr(memory, "shared", 0))

    def computed_s(self) -> float | None:
        """CPU time so far."""
        process = self._open()
        try:
            times = None if process is None else process.cpu_times()
        except psutil.Error:
            return None
        return None if times is None else float(times.user + times.system)

    def _open(self) -> psutil.Process | None:
        if self._process is None:
            try:
                self._process = psutil.Process(self._pid)
            except psutil.Error:
                return None
        return self._process


class Family:
    """A process and those that came of it, as they are now; no other process ever takes a place."""

    def __init__(self, pid: int) -> None:
        self._members: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            first = psutil.Process(pid)
            self._members = [first, *first.children(recursive=True)]

    def kill(self) -> None:
        """End those that are left."""
        for process in self._members:
            with contextlib.suppress(psutil.Error):
                process.kill()

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


def _cpu_name() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None
