"""NVIDIA cards through NVML, opened on the first question; no driver means no cards."""

from __future__ import annotations

from collections.abc import Callable

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


def device_meter(engine_name: str) -> Callable[[], int | None]:
    """Bytes in use on the one card whose name the engine's device name contains.

    NVML stays open, so that a reading costs microseconds.
    """
    try:
        pynvml.nvmlInit()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        handle = next((h for h in handles if _name(h) in engine_name), None)
    except pynvml.NVMLError:
        handle = None

    def used_bytes() -> int | None:
        if handle is None:
            return None
        try:
            # The second version does not count what the driver reserves for itself.
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        except pynvml.NVMLError:
            return None
        return int(memory.used)

    return used_bytes


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
