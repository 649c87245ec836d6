"""What a report says of the system: kernel, CPU, memory, cards and limits."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmtp.machine.cgroup import least_room
from llmtp.machine.detect import detect, nvidia_driver
from llmtp.machine.host import cpu_flags, in_container
from llmtp.report.redaction import Redaction
from llmtp.units import format_bytes

#: Of a CPU, what a build of llama.cpp may be made for.
_FLAGS = (
    "sse3", "ssse3", "sse4_2", "avx", "avx2", "f16c", "fma", "bmi2", "avx_vnni", "avx512f",
    "avx512bw", "avx512vl", "avx512_vbmi", "avx512_vnni", "avx512_bf16", "amx_tile",
    "amx_int8", "amx_bf16", "neon", "asimd", "asimddp", "sve", "i8mm", "bf16", "sve2",
    "hypervisor",
)  # fmt: skip
_PREFIXES = (
    "GGML_", "LLAMA_", "CUDA_", "NVIDIA_", "VK_", "HF_", "LLMTP_", "HIP_", "ROCR_", "HSA_", "SYCL_",
    "ONEAPI_", "OMP_", "GOMP_", "KMP_", "MESA_", "RADV_", "AMD_VULKAN_", "MALLOC_",
)  # fmt: skip
_NAMES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "HUGGING_FACE_HUB_TOKEN")
_LIMITS = (
    ("RLIMIT_AS", "address space"),
    ("RLIMIT_DATA", "data"),
    ("RLIMIT_MEMLOCK", "locked memory"),
    ("RLIMIT_STACK", "stack"),
)
_DRM = Path("/sys/class/drm")


def system_lines() -> Iterator[str]:
    """As it is now, in the shell that makes the report."""
    yield f"system      {_distribution()}"
    yield f"kernel      {platform.system()} {platform.release()} {platform.machine()}{_inside()}"
    libc = " ".join(platform.libc_ver())
    yield f"C library   {libc.strip() or 'unknown'}"
    machine = detect("")
    host = machine.host
    yield f"CPU         {host.cpu or 'unknown'}, {_cpus()}"
    yield f"CPU flags   {_cpu_flags()}"
    total, available = format_bytes(host.total_bytes), format_bytes(host.available_bytes)
    yield f"RAM         {total}, {available} available ({host.source})"
    room = least_room()
    limit = None if room is None or room.limit_bytes > host.total_bytes else room.limit_bytes
    yield f"cgroup      memory limit {'none' if limit is None else format_bytes(limit)}"
    for device in machine.devices:
        memory = f"{format_bytes(device.total_bytes)}, {format_bytes(device.free_bytes)} free"
        yield f"GPU         {device.name}, {memory} ({device.source})"
    driver = nvidia_driver()
    yield f"NVIDIA      driver {driver}" if driver else "NVIDIA      no driver that answers"
    for card in sorted(_DRM.glob("card[0-9]")):
        yield f"DRM         {_drm_card(card)}"
    for name, words in _LIMITS:
        number = getattr(resource, name, None)
        if number is not None:
            yield f"ulimit      {words} {_limit(resource.getrlimit(number)[0])}"


def variable_lines(environ: Mapping[str, str], redact: Redaction) -> Iterator[str]:
    """The variables that llama.cpp, its back ends and llmtp read; of secrets only that they are."""
    for name in sorted(environ):
        if name.startswith(_PREFIXES) or name in _NAMES:
            yield f"{name}={redact.value_of(name, environ[name])}"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(terse=True)


def _inside() -> str:
    if "microsoft" in platform.release().lower():
        return " (WSL)"
    return " (container)" if in_container() else ""


def _cpus() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return f"{os.cpu_count()} logical, {usable or 'unknown'} usable"


def _cpu_flags() -> str:
    words = cpu_flags()
    return " ".join(flag for flag in _FLAGS if flag in words) or "none of those that matter"


def _drm_card(card: Path) -> str:
    """Numbers of maker and model, and the driver of the kernel."""
    ids = ":".join(_first_line(card / "device" / name) for name in ("vendor", "device"))
    driver = card / "device" / "driver"
    return f"{card.name} {ids} {driver.resolve().name if driver.exists() else 'no driver'}"


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return "?"


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else format_bytes(value)
