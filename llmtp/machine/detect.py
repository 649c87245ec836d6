"""Ask every witness once and make one picture of the machine."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from llmtp.machine.devices import (
    Device,
    Machine,
    merge_devices,
    parse_list_devices,
    visible_cards,
)
from llmtp.machine.learned import recall


def detect(list_devices_output: str) -> Machine:
    """The machine as seen now, with the devices that the engine named in its `--list-devices`."""
    from llmtp.machine.host import read_host

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = parse_list_devices(list_devices_output)
    devices = merge_devices(listed, nvidia_cards(), visible)
    return Machine(read_host(), tuple(_with_learned(device) for device in devices))


def _with_learned(device: Device) -> Device:
    return replace(device, learned=recall(device.name, device.backend))


def cuda_cards(devices: Sequence[Device]) -> tuple[Device, ...]:
    """NVIDIA's cards that CUDA shows, by its names: for an engine that does not list them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = devices if visible is None else visible_cards(devices, visible)
    return tuple(
        replace(card, id=f"CUDA{number}", backend="cuda") for number, card in enumerate(shown)
    )


def has_nvidia_driver() -> bool:
    """May there be one? Without its library pynvml need not be imported (18 ms)."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return False
    return True


def nvidia_cards() -> list[Device]:
    """Those that NVIDIA's driver knows."""
    if not has_nvidia_driver():
        return []
    from llmtp.machine.nvml import nvidia_devices

    return nvidia_devices()


def nvidia_driver() -> str | None:
    """The version of NVIDIA's driver; None where there is none that answers."""
    if not has_nvidia_driver():
        return None
    from llmtp.machine.nvml import driver_version

    return driver_version()
