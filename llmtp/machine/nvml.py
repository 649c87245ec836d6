"""NVIDIA cards through NVML, opened on the first question; no driver means no cards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pynvml

from llmtp.machine.devices import Device, User
from llmtp.text import clean

_MOST_USERS = 4


def nvidia_devices() -> list[Device]:
    """Every card that the driver names; memory that it will not tell is None."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_device(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def driver_version() -> str | None:
    """As the driver tells it, `580.95.05`."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return clean(str(pynvml.nvmlSystemGetDriverVersion()), 40)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


class CardMeter:
    """Memory of one card by its number; all unknown where the driver does not know it any more.

    NVML stays open, so that a reading costs microseconds.
    """

    def __init__(self, number: int) -> None:
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        except pynvml.NVMLError:
            self._handle = None

    def used_bytes(self) -> int | None:
        """In use by all programs, without what the driver reserves for itself."""
        # Only the second version of the answer leaves that out.
        memory = self._ask(pynvml.nvmlDeviceGetMemoryInfo, version=pynvml.nvmlMemory_v2)
        return None if memory is None else int(memory.used)

    def free_bytes(self) -> int | None:
        memory = self._ask(pynvml.nvmlDeviceGetMemoryInfo)
        return None if memory is None else int(memory.free)

    def power_w(self) -> float | None:
        """Drawn now by the whole card."""
        milliwatts = self._ask(pynvml.nvmlDeviceGetPowerUsage)
        return None if milliwatts is None else milliwatts / 1000

    def busy_share(self) -> float | None:
        """The share of the last moment in which it computed anything, of any program."""
        use = self._ask(pynvml.nvmlDeviceGetUtilizationRates)
        return None if use is None else use.gpu / 100

    def bandwidth_bytes_per_s(self) -> float | None:
        """Of its memory at the highest clock, which moves data twice a cycle."""
        bits = self._ask(pynvml.nvmlDeviceGetMemoryBusWidth)
        megahertz = None
        if self._handle is not None:
            megahertz = self._ask(pynvml.nvmlDeviceGetMaxClockInfo, type=pynvml.NVML_CLOCK_MEM)
        return 2e6 * megahertz * bits / 8 if bits and megahertz else None

    def process_bytes(self, pid: int) -> int | None:
        """In use by one process; unknown in containers, which see other process numbers."""
        computing = self._ask(pynvml.nvmlDeviceGetComputeRunningProcesses) or []
        drawing = self._ask(pynvml.nvmlDeviceGetGraphicsRunningProcesses) or []
        used = [one.usedGpuMemory for one in (*computing, *drawing) if one.pid == pid]
        return max((int(count) for count in used if count is not None), default=None)

    def _ask(self, question: Callable[..., Any], **options: Any) -> Any:
        """The driver's answer, or None where it has none."""
        if self._handle is None:
            return None
        try:
            return question(self._handle, **options)
        except pynvml.NVMLError:
            return None


def cards_of(pids: Sequence[int]) -> list[CardMeter]:
    """The cards on which one of these processes has memory; none in containers, as there."""
    try:
        pynvml.nvmlInit()
        meters = [CardMeter(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    return [one for one in meters if any(one.process_bytes(pid) is not None for pid in pids)]


def _device(index: int) -> Device:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        memory = None
    return Device(
        id=None,
        name=_name(handle),
        backend=None,
        total_bytes=None if memory is None else int(memory.total),
        free_bytes=None if memory is None else int(memory.free),
        source="NVML",
        number=index,
        users=tuple(_users(handle)),
    )


def _users(handle: object) -> Iterator[User]:
    """Who holds memory of a card, the most first; nobody in containers, which see no others."""
    found: dict[int, int | None] = {}
    drawing: set[int] = set()
    for question in (
        pynvml.nvmlDeviceGetComputeRunningProcesses,
        pynvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        try:
            told = {one.pid: one.usedGpuMemory for one in question(handle)}
        except pynvml.NVMLError:
            continue
        if question is pynvml.nvmlDeviceGetGraphicsRunningProcesses:
            drawing = set(told)
        found |= told
    for pid, used in sorted(found.items(), key=lambda one: one[1] or 0, reverse=True)[:_MOST_USERS]:
        try:
            path = pynvml.nvmlSystemGetProcessName(pid)
        except pynvml.NVMLError:
            path = f"process {pid}"
        name = str(path).replace("\\", "/").rpartition("/")[2]
        taken = None if used is None else int(used)
        yield User(clean(name, 40), taken, pid, pid not in drawing)


def _name(handle: object) -> str:
    return clean(str(pynvml.nvmlDeviceGetName(handle)), 80)
