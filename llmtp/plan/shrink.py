"""A machine after a plan for it has failed: with less memory than that plan took."""

from __future__ import annotations

from dataclasses import replace

from llmtp.machine.devices import Device, Machine
from llmtp.plan.place import HOST_MARGIN, device_margin
from llmtp.plan.result import Plan
from llmtp.units import MiB

#: A plan that failed although there seemed to be room was wrong by something: the next one takes
#: less by this, by a quarter where it is small, and by a thirty-second where it is large.
_STEP = 256 * MiB
_SMALL, _LARGE = 4, 32


def shrunk(machine: Machine, failed: Plan, margin: int | None, *, in_ram: bool) -> Machine:
    """What is free now, but less than the plan took, on its GPUs or `in_ram`; with the margin that
    was asked for, on top of which the next plan is made."""
    if in_ram or not failed.gpus:
        shared = sum(one.parts.total for one in failed.used_devices if one.device.shares_ram)
        kept = HOST_MARGIN if margin is None or failed.gpus else margin
        most, host = _less(failed.host_parts.total + shared) + kept, machine.host
        return replace(machine, host=replace(host, available_bytes=min(host.available_bytes, most)))
    taken = {one.device.key: one.parts.total for one in failed.used_devices}

    def with_less(device: Device) -> Device:
        if device.key not in taken or device.free_bytes is None:
            return device
        less = _less(taken[device.key])
        most = less + device_margin(margin, less)
        return replace(device, free_bytes=min(device.free_bytes, most))

    return replace(machine, devices=tuple(map(with_less, machine.devices)))


def _less(taken: int) -> int:
    return taken - max(min(_STEP, taken // _SMALL), taken // _LARGE)
