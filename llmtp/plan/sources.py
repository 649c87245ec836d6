"""Where each number of a plan comes from, in words."""

from __future__ import annotations

from llmtp.plan.overhead import MEASURED_BACKENDS
from llmtp.plan.result import Plan

#: Builds whose compute buffers were the same to 0.02 MiB in tests/measured_memory.csv, by back end
#: and by whether they mix batches.
_SAME_AS = {("cuda", True): "b11434", ("vulkan", False): "b10068", ("cpu", True): "b11434",
            ("cpu", False): "b10068"}  # fmt: skip


def part_sources(plan: Plan) -> dict[str, str]:
    """By the names of `Parts`, and `free`."""
    device = plan.gpus[0] if plan.gpus else None
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
        "overhead": _overhead(plan),
        "free": device.source if device else plan.host.source,
    }


def _overhead(plan: Plan) -> str:
    device = plan.gpus[0] if plan.gpus else None
    if device is None:
        return "measured with b10068"
    if plan.learned is not None:
        return f"measured here on {plan.learned.at}"
    if device.backend not in MEASURED_BACKENDS:
        return "a guess: nobody measured it"
    measures = "; a run measures yours" if device.source in ("NVML", "--vram") else ""
    return f"default, of an H100{measures}"


def vllm_part_sources(plan: Plan) -> dict[str, str]:
    """The same of a plan for vLLM."""
    device = plan.gpus[0] if plan.gpus else None
    sizes = "estimated for the published shape" if plan.main.is_published else "size of the files"
    return {
        "weights": f"{sizes}, on each card its share",
        "kv": "all that is left of vLLM's share" if device else "for the requests planned",
        "compute": "estimate; vLLM measures it when it starts",
        "draft": f"{sizes}, whole on each card" if device else sizes,
        "mmproj": "none",
        "overhead": "estimate, with captured graphs" if device else "measured with vLLM 0.32.0",
        "free": device.source if device else plan.host.source,
    }
