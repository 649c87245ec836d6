"""One list of devices from several witnesses; each fact keeps its source, unknown stays None."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmtp.machine.learned import Learned
from llmtp.machine.tuned import Tuned
from llmtp.machine.workers import Worker
from llmtp.text import clean
from llmtp.told import count
from llmtp.units import MiB

_ENGINE_LINE = re.compile(
    r"^\s+(?P<id>\w+): (?P<name>.+) \((?P<total>\d+) MiB, (?P<free>\d+) MiB free\)$"
)
RPC = "rpc"
_BACKENDS = {"CUDA": "cuda", "Vulkan": "vulkan", "Metal": "metal", "MTL": "metal", "ROCm": "rocm",
             "HIP": "rocm", "SYCL": "sycl", "CANN": "cann", "OpenCL": "opencl",
             "RPC": RPC}  # fmt: skip
#: As ggml-vulkan prints a device when it looks for them: `ggml_vulkan: 0 = NAME (RADV) | uma: 1 |`.
_VULKAN_UMA = re.compile(r"ggml_vulkan: (?P<number>\d+) = .* \| uma: 1 \|")
_SOFTWARE = ("llvmpipe", "lavapipe", "swiftshader")
#: Of a device whose engine counts all of it as free, as engines do of a CPU's RAM: what other
#: programs take of that is not known.
_OF_ALL_FREE = 7 / 8


@dataclass(frozen=True, slots=True)
class User:
    """A program that holds memory of a card; how much is None where the driver will not say.

    One that `computes` is no desktop that only draws.
    """

    name: str
    used_bytes: int | None
    pid: int | None = None
    computes: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU. `id` is what the engine calls it, None when the engine does not see it.

    `learned` is what starts on it taught, by their kind. One that `shares_ram` has no memory of
    its own (Apple silicon, integrated GPUs; neither was seen by anybody with llmtp yet). `number`
    is that of the driver, where its memory is known from there. What a `worker` has is reached
    over the network, as number `worker_index` of the `worker_devices` that it lends; what kind of
    device it is there, nobody tells, and its `id` is None where the engine is not told of that
    worker.
    """

    id: str | None
    name: str
    backend: str | None
    total_bytes: int | None
    free_bytes: int | None
    source: str
    learned: Mapping[str, Learned] = field(default_factory=dict)
    shares_ram: bool = False
    users: tuple[User, ...] = ()
    number: int | None = None
    worker: Worker | None = None
    worker_index: int = 0
    worker_devices: int = 1

    @property
    def usable(self) -> bool:
        """Can the plan put a model there? Not on a CPU that calls itself a Vulkan device."""
        is_seen = self.id is not None or self.worker is not None
        return is_seen and self.free_bytes is not None and not self.is_software

    @property
    def key(self) -> tuple[str | None, str | int | None]:
        """Which one it is, also where another plan gives it another id."""
        if self.worker is None:
            return None, self.id
        return self.worker.endpoint, self.worker_index

    @property
    def is_software(self) -> bool:
        """Is it a CPU that draws as a GPU would?"""
        return self.worker is None and any(word in self.name.lower() for word in _SOFTWARE)

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "backend": self.backend,
            "total_bytes": self.total_bytes,
            "free_bytes": self.free_bytes,
            "source": self.source,
            "shares_ram": self.shares_ram,
            "number": self.number,
            "worker": self.worker.endpoint if self.worker else None,
            "worker_index": self.worker_index if self.worker else None,
            "worker_devices": self.worker_devices if self.worker else None,
        }


@dataclass(frozen=True, slots=True)
class Host:
    """RAM and CPU. `available_bytes` respects a container's memory limit."""

    cpu: str | None
    total_bytes: int
    available_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class Machine:
    """The host and its GPUs at one moment, and what the engine on it can do.

    `mixed_batches`: it prepares batches of tokens and images, for which it reserves memory.
    `tuned` is what `tune` has found here.
    """

    host: Host
    devices: tuple[Device, ...]
    mixed_batches: bool = True
    tuned: tuple[Tuned, ...] = ()


def parse_list_devices(output: str) -> list[Device]:
    """Devices from llama-server's `--list-devices`, without those that have no memory."""
    return [device for device in _listed(output) if device.total_bytes]


def _listed(output: str) -> list[Device]:
    unified = {f"Vulkan{found['number']}" for found in _VULKAN_UMA.finditer(output)}
    devices = []
    for line in output.splitlines():
        match = _ENGINE_LINE.match(line)
        if match is None:
            continue
        backend = next((b for p, b in _BACKENDS.items() if match["id"].startswith(p)), None)
        devices.append(
            Device(
                id=match["id"],
                name=clean(match["name"], 80),
                backend=backend,
                total_bytes=int(match["total"]) * MiB,
                free_bytes=int(match["free"]) * MiB,
                source="engine",
                shares_ram=backend == "metal" or match["id"] in unified,
            )
        )
    return devices


def parse_remote_devices(
    output: str, workers: Sequence[Worker], source: str = "its worker"
) -> tuple[Device, ...]:
    """Devices of workers from `--rpc ... --list-devices`, whose names there are the endpoints.

    Those without memory (a library that only computes) are counted, as the engine does.
    """
    listed, found = _listed(output), []
    for worker in workers:
        own = [one for one in listed if one.backend == RPC and one.name == worker.endpoint]
        found += [
            _remote(device, worker, index, len(own), source)
            for index, device in enumerate(own)
            if device.total_bytes
        ]
    return tuple(found)


def _remote(device: Device, worker: Worker, index: int, of: int, source: str) -> Device:
    """With as much free as may be used of it."""
    total, free = device.total_bytes or 0, device.free_bytes or 0
    if worker.most_bytes is not None:
        total, source = min(total, worker.most_bytes), "--rpc"
        free = min(free, total)
    elif free == total:
        free, source = round(total * _OF_ALL_FREE), f"{source}, which counts all as free"
    return replace(
        device,
        name=f"worker {worker.endpoint}",
        total_bytes=total,
        free_bytes=free,
        source=source,
        worker=worker,
        worker_index=index,
        worker_devices=of,
    )


def remembered_devices(plan: Mapping[str, Any], worker: Worker) -> tuple[Device, ...]:
    """Those of a worker as a plan had them that somebody kept; what is no device is left out."""
    devices = plan.get("devices")
    known = [one for one in devices if isinstance(one, dict)] if isinstance(devices, list) else []
    found = []
    for one in known:
        sizes = [count(one.get(name)) for name in ("total_bytes", "free_bytes")]
        index, of = (count(one.get(f"worker_{name}")) for name in ("index", "devices"))
        if one.get("worker") != worker.endpoint or index is None or not of:
            continue
        device = Device(None, worker.endpoint, RPC, sizes[0], sizes[1], "its last start")
        found.append(_remote(device, worker, index, of, device.source))
    return tuple(found)


def named_for(devices: Sequence[Device], used: Sequence[Device]) -> tuple[Device, ...]:
    """All of them, with the ids that they have where the engine is told only of the workers of
    those that are `used`, in this order."""
    told = {device.worker for device in used}
    first, before = dict[Worker, int](), 0
    for device in devices:
        if device.worker in told and device.worker is not None and device.worker not in first:
            first[device.worker] = before
            before += device.worker_devices

    def named(device: Device) -> Device:
        if device.worker is None:
            return device
        at = first.get(device.worker)
        return replace(device, id=None if at is None else f"RPC{at + device.worker_index}")

    return tuple(map(named, devices))


def merge_devices(
    engine: Sequence[Device], nvml: Sequence[Device], visible: str | None = None
) -> tuple[Device, ...]:
    """Engine devices first, with NVML's memory where it is surely the same card.

    NVML is the better witness: the engine's own question costs it a driver context. Cards of one
    name are in the same order for CUDA and for NVML, by their bus, as far as `visible`
    (CUDA_VISIBLE_DEVICES) can be understood; for others the engine's figures are kept. Cards that
    only NVML sees come last, unusable.
    """
    merged = []
    claimed: set[str] = set()
    for device in engine:
        twins = [d for d in engine if d.name == device.name and d.backend == device.backend]
        same = [d for d in nvml if d.name in device.name]
        claimed.update(d.name for d in same)
        if visible is not None and device.backend == "cuda" and len(same) == len(nvml):
            same = visible_cards(same, visible)
        if len(twins) == len(same) and (len(same) == 1 or device.backend == "cuda"):
            card = same[twins.index(device)]
            device = replace(
                device,
                total_bytes=card.total_bytes,
                free_bytes=card.free_bytes,
                source="NVML",
                users=card.users,
                number=card.number,
            )
        merged.append(device)
    return (*merged, *(card for card in nvml if card.name not in claimed))


def visible_cards(cards: Sequence[Device], numbers: str) -> list[Device]:
    """Those that CUDA shows, in its order; all where the list is not of plain numbers."""
    chosen = [text.strip() for text in numbers.split(",")]
    if chosen[0] in ("", "-1"):
        return []
    if not all(text.isdigit() and int(text) < len(cards) for text in chosen):
        return list(cards)
    return [cards[int(text)] for text in chosen]
