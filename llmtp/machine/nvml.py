"""NVIDIA cards through NVML, opened on the first question; no driver means no cards."""

from __future__ import annotations

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


def used_bytes(engine_name: str) -> int | None:
    """Bytes in use on the one card whose name the engine's device name contains."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            if _name(handle) in engine_name:
                # The second version does not count what the driver reserves for itself.
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
                return int(memory.used)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
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
