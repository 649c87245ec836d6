"""Where each number of a plan comes from, in words."""

from __future__ import annotations

from llmtp.machine.devices import Device
from llmtp.plan.overhead import MEASURED_BACKENDS
from llmtp.plan.result import Plan

#: Builds whose compute buffers were the same to 0.02 MiB in tests/measured_memory.csv, by back end
#: and by whether they mix batches.
_SAME_AS = {("cuda", True): "b11434", ("vulkan", False): "b10068", ("cpu", True): "b11434",
            ("cpu", False): "b10068"}  # fmt: skip


def part_sources(plan: Plan) -> dict[str, str]:
    """By the names of `Parts`, and `free`."""
    device = plan.device
    published = plan.main.is_published
    backend = device.backend if device else "cpu"
    build = _SAME_AS.get((backend or "", plan.mixed_batches))
    header = "estimated for the published shape" if published else "header"
    return {
        "weights": header,
        "kv": "exact, by llama-kv-cache.cpp",
        "compute": f"as {build} allocates" if build else "by ggml-alloc.c; not measured",
        "draft": f"{header}, and the same",
        "mmproj": "estimate: it depends on the image",
        "overhead": _overhead(device),
        "free": device.source if device else plan.host.source,
    }


def _overhead(device: Device | None) -> str:
    if device is None:
        return "measured with b10068"
    if device.learned is not None:
        return f"measured here on {device.learned.at}"
    if device.backend in MEASURED_BACKENDS:
        return "default, of an H100; a run measures yours"
    return "a guess; a run measures yours"
