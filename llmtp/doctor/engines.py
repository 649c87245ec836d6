"""Every llama-server here: what it is, whether it can run Gemma 4 with MTP, and what it sees."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtp.config import value_of
from llmtp.doctor.check import Check
from llmtp.engine.command import quote
from llmtp.engine.kinds import VLLM, names_vllm
from llmtp.engine.llama import find
from llmtp.engine.llama.build import Build, Unusable
from llmtp.engine.llama.find import WHEEL, Candidate, Engine
from llmtp.engine.vllm.find import find_vllm
from llmtp.errors import EngineError
from llmtp.machine.devices import Device, parse_list_devices
from llmtp.packages import System
from llmtp.paths import config_dir
from llmtp.text import clean

#: Kinds of back ends by what their libraries are called beside the program.
_BACKENDS = {"vulkan": "Vulkan", "cuda": "CUDA", "hip": "ROCm", "metal": "Metal", "sycl": "SYCL",
             "opencl": "OpenCL", "rpc": "RPC", "cpu": "CPU"}  # fmt: skip
_GPU_BACKENDS = {"Vulkan", "CUDA", "ROCm", "Metal", "SYCL", "OpenCL"}
_OF_DEVICES = {"vulkan": "Vulkan", "cuda": "CUDA", "rocm": "ROCm", "metal": "Metal",
               "sycl": "SYCL", "opencl": "OpenCL"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looked:
    """One that was named. `build` is None where it cannot serve; then `reason` says why, and `mend`
    is the command that brings what it misses, where that is known.

    `backends` are those whose libraries are beside it; none where it is all in one file. `listed`
    is what it printed of its devices.
    """

    shown: str
    source: str
    path: Path
    build: Build | None
    reason: str | None
    mend: str | None
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
            "path": str(self.path),
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


def look(named: Candidate, system: System) -> Looked:
    """Ask one anew, which takes some tenths of a second."""
    verdict = named.examine(anew=True)
    shown = f"{clean(str(named.path), 300)} ({named.source})"
    if isinstance(verdict, Unusable):
        library = verdict.missing_library
        mend = system.install(library) if library else None
        return Looked(shown, named.source, named.path, None, verdict.reason, mend)
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
    used = next((one for one in looked if one.build is not None), None)
    first = (
        _none(looked, system) if used is None else Check("engine", "engine", "pass", _good(used))
    )
    others = ((n, one) for n, one in enumerate(looked, 1) if one is not used)
    return [first, *(_other(n, one, used, system) for n, one in others)]


def vllm_checks() -> list[Check]:
    """Of vLLM, where there is one or one is named; many have no use for it."""
    named = names_vllm(value_of("engine").text)
    if not named and shutil.which(VLLM) is None:
        return []
    try:
        found = find_vllm(None, on_paper=False, asks_version=False)
    except EngineError as error:
        return [Check("engine", "vllm", "fail" if named else "warn", str(error),
                      error.findings[0].fix)]  # fmt: skip
    version = f"vLLM {found.version}" if found.version else "vLLM of an unknown version"
    place = "on the CPU, to try it" if found.on_cpu else "on GPUs"
    words = f"{version}, {place}; {clean(str(found.path), 300)} ({found.source})"
    return [Check("engine", "vllm", "pass", words)]


def _good(one: Looked) -> str:
    backends = f"{', '.join(one.backends)}; " if one.backends else ""
    seen = ", ".join(device.id for device in one.devices if device.id) or "no GPU"
    return f"proved to run Gemma 4 with MTP; {backends}sees {seen}; {one.shown}"


def _none(looked: Sequence[Looked], system: System) -> Check:
    if not looked:
        words = "there is no llama-server on this machine"
    elif len(looked) == 1:
        words = f"the only llama-server here {looked[0].reason}"
    else:
        words = f"none of {len(looked)} llama-servers here can run Gemma 4 with MTP"
    return Check("engine", "engine", "fail", words, _mend(looked, system))


def _mend(looked: Sequence[Looked], system: System) -> str:
    """What makes one of them usable, or brings another one."""
    known = next((one.mend for one in looked if one.mend), None)
    if known is not None:
        return known
    has_wheel = any(one.source == WHEEL for one in looked)
    return system.from_source() if has_wheel and system.takes_wheel else system.install_engine()


def _other(number: int, one: Looked, used: Looked | None, system: System) -> Check:
    name = f"engine-{number}"
    if one.build is not None:
        return Check("engine", name, "pass", f"{_good(one)}: not used, comes later")
    words = f"{one.shown} {one.reason}"
    if used is None:
        return Check("engine", name, "fail", words, one.mend or _mend([one], system))
    return Check("engine", name, "warn", f"{words}; not used", _leave_out(one))


def _leave_out(one: Looked) -> str | None:
    """What makes an engine usable, or not tried any more, that is in the way of a good one."""
    match one.source:
        case find.VARIABLE:
            return f"unset {find.VARIABLE}"
        case find.CONFIG:
            return edit_config()
    return one.mend


def edit_config() -> str:
    """The command that opens the user's config."""
    return f"${{EDITOR:-vi}} {quote(str(config_dir() / find.CONFIG))}"
