"""The computer around the GPUs: CPU, RAM, swap, power, and the limits of what it runs in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmtp.doctor.check import Check
from llmtp.machine.devices import Host
from llmtp.packages import System
from llmtp.units import GiB, format_bytes

#: Without these the ready-built engine ends with an illegal instruction.
NEEDED = ("avx2", "fma", "f16c", "bmi2")
_LITTLE_RAM = 2 * GiB
_MUCH_SWAP = 0.25
_LARGEST = "ps -A -o rss,pid,comm | sort -rn | head"
_WSL_RAM = 12 * GiB
_CPU = Path("/sys/devices/system/cpu")
#: With these drivers `powersave` is as fast as it has to be.
_MANAGED = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")


@dataclass(frozen=True, slots=True)
class Power:
    """What slows the CPU down; None is not known, or not there (desktops have no battery)."""

    on_battery: bool | None = None
    governor: str | None = None
    driver: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Computer:
    """Facts from the operating system. `flags` are those of the CPU, `swap` bytes in use and in
    all; `cores` are those that we may use."""

    host: Host
    cores: int
    flags: frozenset[str]
    swap: tuple[int, int]
    power: Power
    in_container: bool = False


def read_power() -> Power:
    """As it is now."""
    import psutil

    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    scaling = _CPU / "cpu0" / "cpufreq"
    return Power(
        on_battery=None if battery is None or battery.power_plugged is None
        else not battery.power_plugged,
        governor=_word(scaling / "scaling_governor"),
        driver=_word(scaling / "scaling_driver"),
        profile=_word(Path("/sys/firmware/acpi/platform_profile")),
    )  # fmt: skip


def computer_checks(computer: Computer, system: System) -> Iterator[Check]:
    """CPU and RAM always, the rest where there is something to say."""
    yield _cpu(computer, system)
    yield _ram(computer)
    used, total = computer.swap
    if total and used > _MUCH_SWAP * computer.host.total_bytes and not computer.in_container:
        words = f"{format_bytes(used)} of memory are swapped out: what is needed again comes slowly"
        has_room = computer.host.available_bytes > used + _LITTLE_RAM
        fix = system.as_root("sh -c 'swapoff -a && swapon -a'") if has_room else _LARGEST
        yield Check("machine", "swap", "warn", words, fix)
    yield from _power(computer.power, system)
    if system.is_wsl and computer.host.total_bytes < _WSL_RAM:
        words = (
            f"WSL gives Linux {format_bytes(computer.host.total_bytes)} of the RAM: memory= under "
            "[wsl2] in .wslconfig gives more, after wsl.exe --shutdown"
        )
        fix = r"powershell.exe -Command 'notepad $env:USERPROFILE\.wslconfig'"
        yield Check("machine", "wsl", "warn", words, fix)


def _cpu(computer: Computer, system: System) -> Check:
    name = computer.host.cpu or system.machine
    words = f"{name}, {computer.cores} core{'' if computer.cores == 1 else 's'}"
    if not computer.flags or system.machine not in ("x86_64", "AMD64"):
        return Check("machine", "cpu", "pass", words)
    missing = [flag.upper() for flag in NEEDED if flag not in computer.flags]
    if missing:
        words += f", without {', '.join(missing)}: only an engine built on this machine runs on it"
        return Check("machine", "cpu", "warn", words, system.from_source())
    more = "AVX-512" if "avx512f" in computer.flags else "AVX2"
    return Check("machine", "cpu", "pass", f"{words}, {more}")


def _ram(computer: Computer) -> Check:
    host = computer.host
    words = f"{format_bytes(host.total_bytes)}, {format_bytes(host.available_bytes)} free"
    limited = host.source != "operating system"
    words += f" (a {host.source})" if limited else ""
    if host.available_bytes >= _LITTLE_RAM:
        return Check("machine", "ram", "pass", words)
    return Check("machine", "ram", "warn", f"{words}: too little for most models", _LARGEST)


def _power(power: Power, system: System) -> Iterator[Check]:
    if power.on_battery:
        yield Check("machine", "power", "warn", "on battery: everything is slower than it could be")
    if power.profile == "low-power":
        words = "the power profile is low-power"
        yield Check("machine", "power-profile", "warn", words, "powerprofilesctl set performance")
    if power.governor == "powersave" and power.driver not in _MANAGED:
        words = "the CPU is kept at its lowest clock (governor powersave)"
        fix = system.as_root(
            "sh -c 'for f in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; "
            "do echo performance > $f; done'"
        )
        yield Check("machine", "governor", "warn", words, fix)


def _word(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None
