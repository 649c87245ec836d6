"""NVIDIA cards through NVML, opened on the first question; no driver means no cards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml

from llmtp.machine.devices import Device
from llmtp.text import clean


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


class CardMeter:
    """Memory of the one card whose name the engine's device name contains; else all unknown.

    NVML stays open, so that a reading costs microseconds.
    """

    def __init__(self, engine_name: str) -> None:
        try:
            pynvml.nvmlInit()
            handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
            self._handle = next((h for h in handles if _name(h) in engine_name), None)
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
    )


def _name(handle: object) -> str:
    return clean(str(pynvml.nvmlDeviceGetName(handle)), 80)
