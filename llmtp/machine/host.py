"""RAM, CPU and the memory of one process, as the operating system tells."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from llmtp import signals
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


@signals.hold()
def cpu_flags() -> frozenset[str]:
    """What the CPU can do, in the words of Linux (`avx2`, `fma`); none where nobody tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    named = (line for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(named, "").partition(":")[2].split())


def usable_cores() -> int:
    """Cores that this process may use; of hyperthreads, one each, where that is known."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    physical = psutil.cpu_count(logical=False)
    return max(min(usable or 1, physical or usable or 1), 1)


def in_container() -> bool:
    """Are we in one of Docker's or Podman's?"""
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


class ProcessMeter:
    """Memory of one process; unknown once it is gone."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._process: psutil.Process | None = None

    @signals.hold()
    def rss_bytes(self) -> int | None:
        try:
            self._process = self._process or psutil.Process(self._pid)
            return int(self._process.memory_info().rss)
        except psutil.Error:
            return None


@signals.hold()
def _cpu_name() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None
