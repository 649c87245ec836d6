"""Ask every witness once and make one picture of the machine."""

from __future__ import annotations

from llmtp.machine.devices import Machine, merge_devices, parse_list_devices


def detect(list_devices_output: str) -> Machine:
    """The machine as seen now, with the devices that the engine named in its `--list-devices`."""
    from llmtp.machine.host import read_host
    from llmtp.machine.nvml import nvidia_devices

    devices = merge_devices(parse_list_devices(list_devices_output), nvidia_devices())
    return Machine(read_host(), devices)
