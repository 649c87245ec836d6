"""Somewhere that could hold a model: RAM, a GPU, several, or a GPU with some of it in RAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from llmtp.gguf.model import ModelFacts, block_of, is_expert
from llmtp.gguf.shape import TextModel
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Device, Machine, named_for
from llmtp.machine.workers import MOST_DEVICES
from llmtp.plan import memory
from llmtp.plan.compute import main_compute
from llmtp.plan.kv import kv_by_layer
from llmtp.plan.memory import Needed
from llmtp.plan.overhead import REMOTE, overhead_kind
from llmtp.plan.reserve.schedule import MOST_INPUTS
from llmtp.plan.settings import ALL_LAYERS, Placement, Settings
from llmtp.units import GiB, MiB

#: On a GPU, and by its share of what is planned there where that is more.
DEVICE_MARGIN, _MARGIN_SHARE = 256 * MiB, 40
HOST_MARGIN = 1 * GiB
#: The drafter reads the caches of the last two layers, so that its GPU has them and the output.
LEAST_LAYERS = 3
#: More than what a start teaches ever takes off the overhead of a plan.
_LEARNED_LESS = 512 * MiB
#: A back end's context and buffers alone take this; a card with less is no use for a split.
_LEAST_OF_SPLIT = 1 * GiB


@dataclass(frozen=True, slots=True)
class Place:
    """GPUs (none: RAM) that hold the last `gpu_layers`, those of workers first, so that the output
    and the drafter are near; the experts of the first `cpu_experts` layers stay in RAM. `margin`
    None is the default one."""

    machine: Machine
    devices: tuple[Device, ...]
    margin: int | None
    gpu_layers: int = ALL_LAYERS
    cpu_experts: int = 0

    @property
    def name(self) -> str:
        return " + ".join(f"{d.name} ({d.id})" for d in self.devices) or "RAM"

    @property
    def is_whole(self) -> bool:
        """Nothing that a GPU could hold is in RAM."""
        return bool(self.devices) and self.gpu_layers == ALL_LAYERS and not self.cpu_experts

    def device_margin(self, used_bytes: int) -> int:
        """What stays free of a GPU of which so much is used."""
        return device_margin(self.margin, used_bytes)

    @property
    def host_margin(self) -> int:
        return HOST_MARGIN if self.margin is None or self.devices else self.margin

    def placement(self, ref: Reference, settings: Settings) -> Placement:
        """As the engine is told it."""
        mixed = self.machine.mixed_batches
        if not self.devices:
            return Placement(mixed_batches=mixed)
        backend = self.devices[-1].backend or "unknown"
        n_remote = sum(device.worker is not None for device in self.devices)
        plain = Placement(backend, self.gpu_layers, self.cpu_experts, mixed, n_remote=n_remote)
        return replace(plain, split=self._split(ref, settings, plain))

    def needed(self, ref: Reference, settings: Settings) -> Needed:
        """By GPU and in RAM, with what was learned on the only GPU, and the projector on the first
        that is no worker's, if there is one."""
        mmproj = memory.mmproj_bytes(ref.mmproj)
        found = memory.needed(ref.main, ref.draft, settings, self.placement(ref, settings))
        if not self.devices:
            return replace(found, host=replace(found.host, mmproj=mmproj))
        on = self._projector_on
        sees = replace(found.devices[on], mmproj=mmproj)
        if len(self.devices) == 1:
            kind = overhead_kind(ref.main.shape, settings.kv_type, drafts=settings.drafts)
            learned = self.devices[0].learned.get(kind)
            if learned is not None:
                # What fell far short of it was measured while another program let memory go.
                overhead = max(learned.overhead_bytes, sees.overhead // 2)
                sees = replace(sees, overhead=overhead)
        devices = (*found.devices[:on], sees, *found.devices[on + 1 :])
        return replace(found, devices=devices)

    @property
    def _projector_on(self) -> int:
        return next((i for i, device in enumerate(self.devices) if device.worker is None), 0)

    def shortfall(self, ref: Reference, settings: Settings) -> int:
        """Bytes that are missing with the margin kept; 0 or less fits."""
        missing = self.device_shortfall(ref, settings)
        if missing > 0:
            return missing
        in_ram = self.host_shortfall(ref, settings)
        return max(missing, in_ram) if self.devices else in_ram

    def device_shortfall(self, ref: Reference, settings: Settings) -> int:
        """On the GPU that misses most; where that is much, it may be a little more."""
        if not self.devices:
            return 0
        if len(self.devices) == 1:
            device = self.devices[0]
            (least,) = memory.least(ref.main, ref.draft, settings, self.placement(ref, settings))
            room = (device.free_bytes or 0) - self.device_margin(least)
            if least - (_LEARNED_LESS if device.learned else 0) > room:
                return least - room
        pairs = zip(self.devices, self.needed(ref, settings).devices, strict=True)
        return max(
            parts.total + self.device_margin(parts.total) - (device.free_bytes or 0)
            for device, parts in pairs
        )

    def host_shortfall(self, ref: Reference, settings: Settings) -> int:
        """In RAM, with what GPUs without memory of their own take of it."""
        found = self.needed(ref, settings)
        in_ram = found.host.total + self.shared_bytes(found)
        return in_ram + self.host_margin - self.machine.host.available_bytes

    def shared_bytes(self, needed: Needed) -> int:
        """On GPUs that have no memory of their own."""
        pairs = zip(self.devices, needed.devices, strict=True)
        return sum(parts.total for device, parts in pairs if device.shares_ram)

    def aborts(self, ref: Reference, settings: Settings) -> bool:
        """Would the build abort on it? Too much is copied between RAM and the GPU at once."""
        if self.machine.mixed_batches or not self.devices or self.is_whole:
            return False
        reserved = main_compute(ref.main, settings, self.placement(ref, settings))
        return reserved.most_inputs > MOST_INPUTS

    def _split(self, ref: Reference, settings: Settings, plain: Placement) -> tuple[int, ...]:
        """So many layers each that every card has about the same share of its room left."""
        if len(self.devices) < 2:
            return ()
        sizes = _by_layer(ref.main, settings, plain)[plain.first_on_gpu(ref.main.shape) :]
        drafter = ref.draft.tensor_bytes.total if ref.draft and settings.drafts else 0
        taken = [_least_of_split(device) for device in self.devices]
        taken[self._projector_on] += memory.mmproj_bytes(ref.mmproj)
        taken[-1] += drafter
        room = [
            max((device.free_bytes or 0) - other, MiB)
            for device, other in zip(self.devices, taken, strict=True)
        ]
        return tuple(len(part) for part in _shared(sizes, room))


def _least_of_split(device: Device) -> int:
    return _LEAST_OF_SPLIT if device.worker is None else REMOTE + DEVICE_MARGIN


def device_margin(asked: int | None, used_bytes: int) -> int:
    """What stays free of a GPU of which so much is used; `asked` is --margin."""
    return max(DEVICE_MARGIN, used_bytes // _MARGIN_SHARE) if asked is None else asked


def usable_devices(machine: Machine) -> list[Device]:
    """GPUs that a plan may use, the one with the most free memory first, and those of workers last;
    those that share RAM only where there is no other."""
    usable = [device for device in machine.devices if device.usable]
    far = [device for device in usable if device.worker is not None]
    near = [device for device in usable if device.worker is None]
    own = [device for device in near if not device.shares_ram]
    return [*_freest_first(own or near), *_freest_first(far)]


def _freest_first(devices: Sequence[Device]) -> list[Device]:
    return sorted(devices, key=lambda device: device.free_bytes or 0, reverse=True)


def whole_places(machine: Machine, margin: int | None, text: TextModel) -> list[Place]:
    """The freest GPU, the freest two of its back end, and so on, then with one of a worker, with
    two, and so on, and those of workers alone; RAM where there is no GPU."""
    devices = usable_devices(machine)
    if not devices:
        return [Place(machine, (), margin)]
    far = [device for device in devices if device.worker is not None]
    near = [device for device in devices if device.worker is None]
    alike = [
        device
        for device in near
        if device.backend == near[0].backend and (device.free_bytes or 0) >= _LEAST_OF_SPLIT
    ]
    near = alike or near[:1]
    if text.shared_kv_layers:
        # Layers share a cache: a drafter's may be on another card than the layers it follows.
        return [_place(machine, some, margin) for some in (near[:1], far[:1]) if some]
    alone = [near[: n + 1] for n in range(len(near))]
    with_far = [[*near, *far[: n + 1]] for n in range(min(len(far), MOST_DEVICES - len(near)))]
    # A small card here would have to hold what the drafter needs.
    far_alone = [far[: n + 1] for n in range(min(len(far), MOST_DEVICES)) if near]
    return [_place(machine, some, margin) for some in (*alone, *with_far, *far_alone)]


def widest(places: Sequence[Place]) -> Place:
    """With most devices; of equal ones the first."""
    return max(places, key=lambda place: len(place.devices))


def _place(machine: Machine, some: Sequence[Device], margin: int | None) -> Place:
    """On some devices of a machine, of whose workers the engine is told only what it needs."""
    named = replace(machine, devices=named_for(machine.devices, some))
    used = [new for old, new in zip(machine.devices, named.devices, strict=True) if old in some]
    return Place(named, tuple(sorted(used, key=lambda device: device.worker is None)), margin)


def _by_layer(main: ModelFacts, settings: Settings, placement: Placement) -> list[int]:
    """Weights and KV of each layer, and of the output behind them, without experts in RAM."""
    n_layers = main.shape.n_layers
    sizes = [0] * (n_layers + 1)
    for name, size in main.tensor_bytes.by_name.items():
        layer = block_of(name)
        if layer is not None and not (is_expert(name) and placement.experts_in_ram(layer)):
            sizes[layer] += size
    sizes[n_layers] = main.tensor_bytes.output or main.tensor_bytes.token_embd
    for layer, size in enumerate(kv_by_layer(main.shape, settings)):
        sizes[layer] += size
    return sizes


def _shared(sizes: Sequence[int], room: Sequence[int]) -> list[list[int]]:
    """Layers in their order, cut so that each part is about as large as its room; the last has
    what a drafter needs."""
    ends = [end * sum(sizes) / sum(room) for end in accumulate(room)]
    parts: list[list[int]] = [[] for _ in room]
    done = 0.0
    for at, size in enumerate(sizes):
        part = next((i for i, end in enumerate(ends[:-1]) if done + size / 2 <= end), len(room) - 1)
        if at >= len(sizes) - LEAST_LAYERS:
            part = len(room) - 1
        parts[part].append(size)
        done += size
    return parts
