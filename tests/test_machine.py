"""Devices from several witnesses in one list."""

from __future__ import annotations

from dataclasses import replace

import psutil
import pytest

from llmtp.machine.detect import detect
from llmtp.machine.devices import Device, merge_devices, parse_list_devices
from llmtp.machine.family import Family
from llmtp.machine.host import ProcessMeter, read_host
from llmtp.units import GiB, MiB

LISTED = """Available devices:
  CUDA0: NVIDIA H100 80GB HBM3 (81090 MiB, 80500 MiB free)
  Vulkan1: AMD Radeon RX 7900 XTX (RADV NAVI31) (24560 MiB, 24000 MiB free)
  BLAS: Accelerate (0 MiB, 0 MiB free)
"""


def card(name: str, free: int | None = 1 * GiB) -> Device:
    return Device(None, name, None, 2 * GiB, free, "NVML")


def test_engine_devices_are_parsed() -> None:
    first, second = parse_list_devices(LISTED)
    assert (first.id, first.backend, first.total_bytes) == ("CUDA0", "cuda", 81090 * MiB)
    assert (second.name, second.free_bytes) == (
        "AMD Radeon RX 7900 XTX (RADV NAVI31)",
        24000 * MiB,
    )
    assert parse_list_devices("Available devices:\n  (none)\n") == []
    assert parse_list_devices("garbage\n  X: \x1b[31m (1 MiB, 1 MiB free)\n")[0].name == "�[31m"


def test_nvml_memory_wins_where_it_is_the_same_card() -> None:
    merged = merge_devices(parse_list_devices(LISTED), [card("NVIDIA H100 80GB HBM3")])
    assert [(d.id, d.source) for d in merged] == [("CUDA0", "NVML"), ("Vulkan1", "engine")]
    assert merged[0].free_bytes == 1 * GiB


def twins(backend: str, *numbers: int) -> list[Device]:
    return [
        Device(f"{backend}{i}", "NVIDIA Twin", backend.lower(), 3 * GiB, 3 * GiB, "engine")
        for i in numbers
    ]


def test_cards_of_one_name_are_in_the_same_order_for_cuda() -> None:
    """And for no other back end, so that the engine's figures are kept there."""
    seen = [replace(card("NVIDIA Twin", free), number=i) for i, free in enumerate((7, 8, 9))]
    cuda = merge_devices(twins("CUDA", 0, 1, 2), seen)
    assert [(d.free_bytes, d.number, d.source) for d in cuda] == [
        (7, 0, "NVML"), (8, 1, "NVML"), (9, 2, "NVML"),
    ]  # fmt: skip
    vulkan = merge_devices(twins("Vulkan", 0, 1, 2), seen)
    assert {(d.free_bytes, d.number, d.source) for d in vulkan} == {(3 * GiB, None, "engine")}


@pytest.mark.parametrize(
    ("visible", "numbers"),
    [("2,0", [2, 0]), ("1", [1]), (" 1 , 2 ", [1, 2]), ("GPU-1234", [None]), ("7", [None])],
)
def test_what_cuda_shows_is_in_the_order_of_its_variable(
    visible: str, numbers: list[int | None]
) -> None:
    seen = [replace(card("NVIDIA Twin", free), number=i) for i, free in enumerate((7, 8, 9))]
    merged = merge_devices(twins("CUDA", *range(len(numbers))), seen, visible)
    assert [device.number for device in merged] == numbers


def test_a_card_that_the_engine_does_not_see_is_listed_but_unusable() -> None:
    merged = merge_devices([], [card("NVIDIA T4", free=None)])
    assert [(d.name, d.usable, d.free_bytes) for d in merged] == [("NVIDIA T4", False, None)]


def test_this_machine_without_a_driver_has_its_ram() -> None:
    machine = detect("")
    assert 0 < machine.host.available_bytes <= machine.host.total_bytes
    assert machine.host.total_bytes <= psutil.virtual_memory().total
    assert read_host().source in ("operating system", "cgroup limit")


def test_a_process_that_is_gone_is_unknown() -> None:
    gone = max(psutil.pids()) + 100_000
    assert ProcessMeter(gone).rss_bytes() is None
    assert Family(gone).loaded_bytes() is None
    assert Family(gone).computed_s() is None
    assert (ProcessMeter(psutil.Process().pid).rss_bytes() or 0) > 1 * MiB
