"""Graphics cards on the bus, whether a driver knows them or not (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_DEVICES = Path("/sys/bus/pci/devices")
_RENDER = Path("/dev/dri")
_DISPLAY = "0x03"
_MAKERS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}


@dataclass(frozen=True, slots=True)
class PciCard:
    """`address` is that of the bus, `driver` the module of the kernel that has it."""

    address: str
    maker: str
    driver: str | None


def graphics_cards(devices: Path = _DEVICES) -> list[PciCard]:
    """Those of makers whose GPUs llama.cpp can use, in the order of the bus."""
    found = []
    for place in sorted(devices.glob("*")):
        maker = _MAKERS.get(_line(place / "vendor"))
        if maker is not None and _line(place / "class").startswith(_DISPLAY):
            driver = place / "driver"
            found.append(
                PciCard(place.name, maker, driver.resolve().name if driver.exists() else None)
            )
    return found


def may_render(devices: Path = _RENDER) -> bool | None:
    """May this user open the device files through which Mesa draws? None where there is none."""
    files = sorted(devices.glob("renderD*"))
    return any(os.access(file, os.R_OK | os.W_OK) for file in files) if files else None


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
