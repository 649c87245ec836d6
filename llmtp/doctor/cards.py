"""The GPUs: their memory and who holds it, and those that no engine uses, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmtp.doctor.check import Check
from llmtp.doctor.engines import Looked
from llmtp.engine.command import quote
from llmtp.machine.devices import Device, User
from llmtp.machine.pci import PciCard
from llmtp.packages import System
from llmtp.units import format_bytes

#: A desktop takes as much; more of a card than that is missed.
_MUCH = 0.1
_HIDING = ("CUDA_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
           "ROCR_VISIBLE_DEVICES")  # fmt: skip
_MESA = {"AMD", "Intel"}


@dataclass(frozen=True, slots=True)
class Vulkan:
    """What NVIDIA's Vulkan driver lacks: libraries, or that the loader finds it. `elsewhere` is
    the file that would name it."""

    missing: tuple[str, ...] = ()
    registered: bool = True
    elsewhere: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What all witnesses say of GPUs; `servers` are the pids of ours by their ids."""

    devices: tuple[Device, ...]
    bus: tuple[PciCard, ...]
    driver: str | None
    used: Looked | None
    vulkan: Vulkan
    environ: Mapping[str, str]
    servers: Mapping[int, str]
    in_container: bool = False


def card_checks(seen: Seen, system: System) -> list[Check]:
    """One for every GPU that is here; one that says so where there is none."""
    checks = [_card(n, device, seen, system) for n, device in enumerate(seen.devices)]
    checks += _without_driver(seen, system)
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
        return Check("machine", name, "warn", words, _real_driver(seen, system))
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
    fixes = [fix for user in large if (fix := _release(user, seen.servers)) is not None]
    return Check("machine", name, "warn", f"{words}; {who}", " && ".join(fixes) or None)


def _release(user: User, servers: Mapping[int, str]) -> str | None:
    """The command that ends it; a desktop is left alone."""
    if user.pid is None or not user.computes:
        return None
    ours = servers.get(user.pid)
    return f"llmtp stop {ours}" if ours else f"kill {user.pid}"


def _why_unseen(seen: Seen, system: System) -> tuple[str, str | None]:
    """Why an engine does not use a card of NVIDIA whose driver answers."""
    hiding = [name for name in _HIDING if name in seen.environ]
    if hiding:
        return f"{', '.join(hiding)} may hide it", f"unset {' '.join(hiding)}"
    used = seen.used
    if used is not None and not used.may_use_gpu:
        return f"it was built for {' and '.join(used.backends)} alone", system.install_engine()
    if seen.vulkan.missing:
        missing = ", ".join(seen.vulkan.missing)
        return f"its Vulkan driver misses {missing}", system.install(*seen.vulkan.missing)
    if not seen.vulkan.registered:
        if seen.vulkan.elsewhere is not None:
            file = seen.vulkan.elsewhere
            return "Vulkan does not find its driver", f"export VK_DRIVER_FILES={quote(file)}"
        if seen.in_container:
            return (
                "the container has no Vulkan driver",
                "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=all IMAGE",
            )
        return "the driver came without Vulkan", system.install_nvidia_driver()
    path = used.path if used is not None else None
    return "it does not say why", f"{quote(str(path))} --list-devices" if path else None


def _without_driver(seen: Seen, system: System) -> list[Check]:
    """Cards on the bus that no witness knows."""
    known = any(not one.is_software for one in seen.devices)
    nvidia = [card for card in seen.bus if card.maker == "NVIDIA"]
    if nvidia and seen.driver is None and not known:
        count = f"{len(nvidia)} cards" if len(nvidia) > 1 else "a card"
        has = f" (the kernel gave it to {nvidia[0].driver})" if nvidia[0].driver else ""
        fix = system.install_nvidia_driver()
        if seen.in_container:
            fix = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=all IMAGE"
        words = f"{count} of NVIDIA is here, and no driver of NVIDIA that answers{has}"
        return [Check("machine", "driver", "fail", words, fix)]
    others = [card for card in seen.bus if card.maker in _MESA]
    software = any(one.is_software for one in seen.devices)
    if others and not known and not software and seen.used is not None:
        words = f"a GPU of {others[0].maker} is here, and the engine does not see it"
        return [Check("machine", "driver", "warn", words, _real_driver(seen, system))]
    return []


def _real_driver(seen: Seen, system: System) -> str | None:
    makers = {card.maker for card in seen.bus}
    if makers & _MESA:
        return system.install("mesa-vulkan")
    return system.install_nvidia_driver() if "NVIDIA" in makers else None
