"""Every llama-server here: what it is, whether it can run Gemma 4 with MTP, and what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtp.doctor.check import Check, Status
from llmtp.engine.build import Build, Unusable
from llmtp.engine.find import Candidate, Engine
from llmtp.errors import Finding
from llmtp.machine.devices import Device, parse_list_devices
from llmtp.packages import System
from llmtp.text import clean

_VARIABLE, _CONFIG = "LLMTP_ENGINE", "config.yaml"
#: Kinds of back ends by what their libraries are called beside the program.
_BACKENDS = {"vulkan": "Vulkan", "cuda": "CUDA", "hip": "ROCm", "metal": "Metal", "sycl": "SYCL",
             "opencl": "OpenCL", "rpc": "RPC", "cpu": "CPU"}  # fmt: skip
_GPU_BACKENDS = {"Vulkan", "CUDA", "ROCm", "Metal", "SYCL", "OpenCL"}
_OF_DEVICES = {"vulkan": "Vulkan", "cuda": "CUDA", "rocm": "ROCm", "metal": "Metal",
               "sycl": "SYCL", "opencl": "OpenCL"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looked:
    """One that was named. `build` is None where it cannot serve; then `reason` says why.

    `backends` are those whose libraries are beside it; none where it is all in one file. `listed`
    is what it printed of its devices.
    """

    shown: str
    source: str
    path: Path | None
    build: Build | None
    reason: str | None
    fix: str | None
    backends: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    listed: str = ""
    engine: Engine | None = None

    @property
    def may_use_gpu(self) -> bool:
        """Unknown counts as yes."""
        return not self.backends or not _GPU_BACKENDS.isdisjoint(self.backends)

    def to_dict(self) -> dict[str, Any]:
        """An entry of `data.engines`."""
        build = self.build
        return {
            "path": None if self.path is None else str(self.path),
            "source": self.source,
            "mtp": build is not None,
            "reason": self.reason,
            "spec_types": list(build.spec_types) if build else [],
            "can": [name for name, flag in _ABILITIES.items() if build and build.has(flag)],
            "backends": list(self.backends),
            "devices": [device.id for device in self.devices],
        }


_ABILITIES = {
    "images": "--mmproj",
    "draft-p-min": "--spec-draft-p-min",
    "closed-cors": "--cors-origins",
    "metrics": "--metrics",
    "rpc": "--rpc",
}


def look(named: Candidate | Finding, system: System) -> Looked:
    """Ask one anew, which takes some tenths of a second."""
    if isinstance(named, Finding):
        bad = f"unset {_VARIABLE}" if f"({_VARIABLE})" in named.message else named.fix
        return Looked(named.message, "", None, None, named.message, bad)
    verdict = named.examine(anew=True)
    shown = f"{clean(str(named.path), 300)} ({named.source})"
    if isinstance(verdict, Unusable):
        fix = _mend(named, verdict, system)
        return Looked(shown, named.source, named.path, None, verdict.reason, fix)
    listed = verdict.list_devices()
    devices = tuple(parse_list_devices(listed))
    backends = backends_of(named.path, devices)
    return Looked(
        shown, named.source, named.path, verdict.build, None, None, backends, devices, listed,
        verdict,
    )  # fmt: skip


def backends_of(program: Path, devices: Sequence[Device]) -> tuple[str, ...]:
    """The back ends of a build, by its devices and by the libraries that were installed with it."""
    real = program.resolve()
    folders = (real.parent, real.parent.parent / "lib")
    names = {file.name for folder in folders for file in folder.glob("libggml-*")}
    kinds = {name.removeprefix("libggml-").split(".")[0].split("-")[0] for name in names}
    found = {_BACKENDS[kind] for kind in kinds if kind in _BACKENDS}
    found |= {_OF_DEVICES[one.backend] for one in devices if one.backend in _OF_DEVICES}
    return tuple(name for name in _BACKENDS.values() if name in found)


def engine_checks(looked: Sequence[Looked], system: System) -> list[Check]:
    """One for the engine that `run` takes, and one for every other."""
    usable = [one for one in looked if one.build is not None]
    if not usable:
        return [_none(looked, system), *(_other(n, one, used=None) for n, one in _numbered(looked))]
    used = usable[0]
    others = [_other(n, one, used=used) for n, one in _numbered(looked) if one is not used]
    return [Check("engine", "engine", "pass", f"{_words(used)}; {used.shown}"), *others]


def _words(one: Looked) -> str:
    backends = f"{', '.join(one.backends)}; " if one.backends else ""
    seen = ", ".join(f"{device.id}" for device in one.devices if device.id) or "no GPU"
    return f"proved to run Gemma 4 with MTP; {backends}sees {seen}"


def _none(looked: Sequence[Looked], system: System) -> Check:
    if not looked:
        words = "there is no llama-server on this machine"
    elif len(looked) == 1:
        words = f"the only llama-server here {looked[0].reason}"
    else:
        words = f"none of {len(looked)} llama-servers here can run Gemma 4 with MTP"
    fixes = [one.fix for one in looked if one.fix and one.path is not None]
    return Check("engine", "engine", "fail", words, next(iter(fixes), system.install_engine()))


def _other(number: int, one: Looked, used: Looked | None) -> Check:
    name = f"engine-{number}"
    if one.build is not None:
        return Check("engine", name, "pass", f"{_words(one)}; not used, comes later: {one.shown}")
    told = one.reason if one.path is None else f"{one.shown} {one.reason}"
    status: Status = "warn" if used else "fail"
    return Check("engine", name, status, f"{told}{'; not used' if used else ''}", one.fix)


def _numbered(looked: Sequence[Looked]) -> list[tuple[int, Looked]]:
    return list(enumerate(looked, 1))


def _mend(named: Candidate, verdict: Unusable, system: System) -> str:
    """What makes it usable, or brings another one."""
    if verdict.missing_library is not None:
        installed = system.install(verdict.missing_library)
        if installed is not None:
            return installed
    if named.source.startswith("llmtp[") and verdict.missing_library is None:
        return system.from_source()
    return system.install_engine()
