"""The GPUs: their memory and who holds it, and those that no engine uses, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from llmtp.doctor.check import Check
from llmtp.doctor.engines import Looked
from llmtp.doctor.hiding import hiding, hiding_all
from llmtp.engine.command import quote
from llmtp.machine.devices import Device, User
from llmtp.machine.pci import PciCard
from llmtp.packages import System
from llmtp.units import format_bytes

#: A desktop takes as much; more of a card than that is missed.
_MUCH = 0.1
_NVIDIA = "NVIDIA"
#: Makers whose GPUs Mesa drives.
_MESA = {"AMD", "Intel"}
#: Of the kernel, for a card that a virtual machine has.
_GIVEN_AWAY = "vfio-pci"
_GIVE_TO_CONTAINER = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=all IMAGE"


@dataclass(frozen=True, slots=True)
class Vulkan:
    """What NVIDIA's Vulkan driver lacks: libraries, or that the loader finds it. `elsewhere` is
    the file that would name it."""

    missing: tuple[str, ...] = ()
    registered: bool = True
    elsewhere: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What all witnesses say of GPUs.

    `nvidia` are the names of the cards that NVIDIA's driver knows; `servers` the pids of ours by
    their ids, `ours` those of other programs that this user may end. `renders` is None where there
    is no device file for drawing, else whether we may open it.
    """

    devices: tuple[Device, ...]
    bus: tuple[PciCard, ...]
    driver: str | None
    used: Looked | None
    vulkan: Vulkan
    environ: Mapping[str, str]
    servers: Mapping[int, str]
    ours: Set[int] = frozenset()
    nvidia: tuple[str, ...] = ()
    renders: bool | None = None
    in_container: bool = False

    @property
    def backends(self) -> Sequence[str]:
        return self.used.backends if self.used is not None else ()


def card_checks(seen: Seen, system: System) -> list[Check]:
    """One for every GPU that is here; one that says so where there is none."""
    checks = [_card(n, device, seen, system) for n, device in enumerate(seen.devices)]
    checks += [*_left_out(seen), *_without_driver(seen, system), *_unused(seen, system)]
    if checks:
        return checks
    return [Check("machine", "gpu", "pass", "none: models run on the CPU, the small ones well")]


def unused_cards(devices: Sequence[Device]) -> list[Device]:
    """Those that the driver knows and the engine does not."""
    return [one for one in devices if one.id is None]


def _card(number: int, device: Device, seen: Seen, system: System) -> Check:
    name = f"gpu-{number}"
    if device.is_software:
        words = f"{device.id} is {device.name}: a CPU that calls itself a GPU, and not used"
        mesa = any(card.maker in _MESA for card in seen.bus)
        return Check(
            "machine", name, "warn", words, system.install("mesa-vulkan") if mesa else None
        )
    memory = f"{format_bytes(device.total_bytes)}, {format_bytes(device.free_bytes)} free"
    driver = f", driver {seen.driver}" if seen.driver and device.source == "NVML" else ""
    words = f"{device.name}: {memory}{driver}"
    if device.id is not None:
        return _held(name, f"{words}, {device.id}", device, seen)
    if seen.used is None:
        return Check("machine", name, "pass", f"{words}; no engine is there to use it")
    why, fix = _why_unseen(seen, system)
    return Check("machine", name, "fail", f"{words}; the engine does not see it: {why}", fix)


def _held(name: str, words: str, device: Device, seen: Seen) -> Check:
    """A card in use by others is theirs to a part."""
    total, free = device.total_bytes, device.free_bytes
    if total is None or free is None or total - free <= _MUCH * total:
        return Check("machine", name, "pass", words)
    large = [user for user in device.users if (user.used_bytes or 0) > _MUCH * total]
    if not large:
        fix = "nvidia-smi" if device.source == "NVML" else None
        taken = format_bytes(total - free)
        return Check("machine", name, "warn", f"{words}; {taken} are held by other programs", fix)
    who = ", ".join(f"{user.name} holds {format_bytes(user.used_bytes)}" for user in large)
    fixes = [fix for user in large if (fix := _release(user, seen)) is not None]
    return Check("machine", name, "warn", f"{words}; {who}", " && ".join(fixes) or None)


def _release(user: User, seen: Seen) -> str | None:
    """The command that ends it, if it is surely that process; a desktop is left alone."""
    if user.pid is None or not user.computes:
        return None
    if (server := seen.servers.get(user.pid)) is not None:
        return f"llmtp stop {server}"
    return f"kill {user.pid}" if user.pid in seen.ours else None


def _why_unseen(seen: Seen, system: System) -> tuple[str, str | None]:
    """Why an engine does not use a card of NVIDIA whose driver answers."""
    used = seen.used
    if used is not None and not used.may_use_gpu:
        return f"it was built for {' and '.join(used.backends)} alone", system.install_engine()
    if hidden := hiding_all(seen.environ, seen.backends):
        return f"{', '.join(hidden)} hides it", f"unset {' '.join(hidden)}"
    if seen.vulkan.missing:
        missing = ", ".join(seen.vulkan.missing)
        return f"its Vulkan driver misses {missing}", system.install(*seen.vulkan.missing)
    if not seen.vulkan.registered:
        if seen.vulkan.elsewhere is not None:
            file = seen.vulkan.elsewhere
            return "Vulkan does not find its driver", f"export VK_DRIVER_FILES={quote(file)}"
        if seen.in_container:
            return "the container has no Vulkan driver", _GIVE_TO_CONTAINER
        return "the driver came without Vulkan", system.install_nvidia_driver()
    return "it does not say why", f"{quote(str(used.path))} --list-devices" if used else None


def _left_out(seen: Seen) -> list[Check]:
    """Cards of NVIDIA beside others of the same name that the engine sees."""
    there, shown = Counter(seen.nvidia), Counter[str]()
    for name in there:
        shown[name] = sum(name in device.name for device in seen.devices)
    missing = {name: there[name] - shown[name] for name in there if 0 < shown[name] < there[name]}
    hidden = hiding(seen.environ, seen.backends)
    fix = f"unset {' '.join(hidden)}" if hidden else None
    return [
        Check("machine", "gpu-more", "warn", f"{count} more {name}, not seen by the engine", fix)
        for name, count in missing.items()
    ]


def _without_driver(seen: Seen, system: System) -> list[Check]:
    """Cards of NVIDIA on the bus that no driver of NVIDIA knows."""
    if seen.driver is not None or any(_NVIDIA in one.name for one in seen.devices):
        return []
    cards = [card for card in seen.bus if card.maker == _NVIDIA]
    bare = [card for card in cards if card.driver != _GIVEN_AWAY]
    if not cards:
        return []
    if not bare:
        return [Check("machine", "driver", "pass", "a card of NVIDIA is a virtual machine's")]
    count = f"{len(bare)} cards" if len(bare) > 1 else "a card"
    has = f" (the kernel gave it to {bare[0].driver})" if bare[0].driver else ""
    fix = _GIVE_TO_CONTAINER if seen.in_container else system.install_nvidia_driver()
    words = f"{count} of NVIDIA is here, and no driver of NVIDIA that answers{has}"
    return [Check("machine", "driver", "fail", words, fix)]


def _unused(seen: Seen, system: System) -> list[Check]:
    """A GPU of AMD or Intel that an engine could use, where it uses none."""
    makers = [card.maker for card in seen.bus if card.maker in _MESA]
    if seen.used is None or not makers or seen.devices:
        return []
    words = f"a GPU of {makers[0]} is here, and the engine does not see it"
    if not seen.used.may_use_gpu:
        why = f"it was built for {' and '.join(seen.backends)} alone"
        fix: str | None = system.install_engine()
    elif hidden := hiding_all(seen.environ, seen.backends):
        why, fix = f"{', '.join(hidden)} hides it", f"unset {' '.join(hidden)}"
    elif seen.renders is False:
        why = "its device file is for members of the group render"
        fix = system.as_root('usermod -aG render "$(id -un)"') + " && newgrp render"
    else:
        why, fix = "its Vulkan driver is missing", system.install("mesa-vulkan")
    return [Check("machine", "gpu-unused", "warn", f"{words}: {why}", fix)]
