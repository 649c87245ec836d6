"""How fast memory can be read at best: that bounds decoding, which reads all weights a token."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Sequence

from llmtp.machine.devices import Device
from llmtp.units import MiB

_COPY = 32 * MiB
_COPY_FOR_S = 0.25
#: Enough to fill what memory a desktop has; more would take RAM that is not there.
_MOST_THREADS = 8


def cards_bytes_per_s(cards: Sequence[Device]) -> float | None:
    """Of the slowest card, by its bus and clock; None unless the driver tells of all."""
    numbers = [card.number for card in cards if card.number is not None]
    if not numbers or len(numbers) < len(cards):
        return None
    from llmtp.machine.nvml import CardMeter

    said = [CardMeter(number).bandwidth_bytes_per_s() for number in numbers]
    known = [one for one in said if one is not None]
    return min(known) if len(known) == len(said) else None


def ram_bytes_per_s() -> float | None:
    """Bytes read and written a second by copying on the cores, measured for a quarter of one."""
    threads = min(_usable_cores(), _MOST_THREADS)
    try:
        buffers = [[ctypes.create_string_buffer(_COPY) for _ in range(2)] for _ in range(threads)]
    except MemoryError:
        return None
    for source, target in buffers:
        ctypes.memmove(target, source, _COPY)
    copied = [0] * threads
    began = time.monotonic()

    def copy(number: int) -> None:
        source, target = buffers[number]
        while time.monotonic() - began < _COPY_FOR_S:
            ctypes.memmove(target, source, _COPY)  # other threads of Python go on meanwhile
            copied[number] += _COPY

    workers = [threading.Thread(target=copy, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return 2 * sum(copied) / (time.monotonic() - began)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
