"""Where each number of a plan comes from, in words."""

from __future__ import annotations

from llmtp.machine.devices import Device
from llmtp.plan.result import Plan

#: How near compute came to what engines reserved, in tests/measured_memory.csv.
_MEASURED = {"cuda": "within 2% of b11434", "vulkan": "within 2% of b10068"}
_CPU = "within 2% of b10068"


def part_sources(plan: Plan) -> dict[str, str]:
    """By the names of `Parts`, and `free`."""
    device = plan.device
    published = plan.main.is_published
    backend = device.backend or "it" if device else "cpu"
    near = _MEASURED.get(backend, f"CUDA's rule: nobody measured {backend}") if device else _CPU
    header = "estimated for the published shape" if published else "header"
    return {
        "weights": header,
        "kv": "exact, by llama-kv-cache.cpp",
        "compute": f"rule of ggml-alloc.c, {near}",
        "draft": f"{header}, and the same rule",
        "mmproj": "estimate: it depends on the image",
        "overhead": _overhead(device),
        "free": device.source if device else plan.host.source,
    }


def _overhead(device: Device | None) -> str:
    if device is None:
        return "measured with b10068"
    if device.learned is not None:
        return f"measured here on {device.learned.at}"
    if device.backend in _MEASURED:
        return "default, of an H100; a run measures yours"
    return "a guess; a run measures yours"
