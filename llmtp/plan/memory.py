"""Memory of a Gemma 4 server by part, in bytes.

Weights and KV are exact; compute is what was measured on CUDA, and near it elsewhere; overhead is
a measurement of one card. Names of the llama.cpp sources that each rule mirrors stand beside it
(read at b11434). tests/measured_memory.csv is what engines and drivers said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtp.gguf.model import ModelFacts
from llmtp.plan.compute import draft_compute_bytes, host_compute_bytes, main_compute_bytes
from llmtp.plan.kv import kv_bytes
from llmtp.plan.settings import Settings
from llmtp.units import MiB

#: What no line of the engine names: the driver's context and kernels, scratch of theirs. The
#: medians of one H100 with driver 580, CUDA by b11434 and Vulkan by b10068, after a request of
#: 1,200 tokens. Metal, ROCm and others: not seen.
_CUDA, _CUDA_DRAFTER, _CUDA_EXPERTS = 618 * MiB, 11 * MiB, 97 * MiB
_VULKAN, _VULKAN_QUANTISED_KV, _VULKAN_EXPERTS = 285 * MiB, 190 * MiB, 345 * MiB
_OVERHEAD_GUESS = 256 * MiB
#: Scratch for images: 8 times the weights, but no more than the largest that was measured, one
#: image of 1,089 tokens in a tower of 27 layers (b11434, CPU): 641 MiB. What it really takes
#: depends on the image; the engine's own figure is for one of 256 tokens.
_MMPROJ_SCRATCH = 640 * MiB
_CPU = "cpu"
#: Server, tokenizer and chat template in RAM: guessed high for a 262,144-token vocabulary.
_HOST_OVERHEAD_PER_TOKEN = 1200


@dataclass(frozen=True, slots=True)
class Parts:
    """Bytes on one device, or in RAM."""

    weights: int = 0
    kv: int = 0
    compute: int = 0
    draft: int = 0
    overhead: int = 0
    mmproj: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.draft + self.overhead + self.mmproj

    def to_dict(self) -> dict[str, Any]:
        return {
            "used_bytes": self.total,
            "weights_bytes": self.weights,
            "kv_bytes": self.kv,
            "compute_bytes": self.compute,
            "draft_bytes": self.draft,
            "overhead_bytes": self.overhead,
            "mmproj_bytes": self.mmproj,
        }


def on_device(
    main: ModelFacts, draft: ModelFacts | None, settings: Settings, backend: str
) -> Parts:
    """A GPU that holds all layers. Token embeddings stay in RAM; where they are also the output
    matrix (no `output.weight`), the device has a copy (llama-model.cpp, TENSOR_DUPLICATED)."""
    weights = main.tensor_bytes.total - _host_tensors(main)
    return Parts(
        weights=weights,
        kv=kv_bytes(main.shape, settings),
        compute=main_compute_bytes(main.shape, settings, backend),
        draft=_draft_bytes(main, draft, settings, backend),
        overhead=_device_overhead(main, draft, settings, backend),
    )


def beside_device(main: ModelFacts, draft: ModelFacts | None, settings: Settings) -> Parts:
    """RAM that a server uses although all layers are on a GPU."""
    used = draft if settings.draft else None
    draft_bytes = 0
    if used is not None:
        pinned = host_compute_bytes(main.shape, settings, draft=True)
        draft_bytes = used.tensor_bytes.token_embd + pinned + _output_bytes(used, settings)
    return Parts(
        weights=main.tensor_bytes.token_embd + main.tensor_bytes.per_layer_token_embd,
        compute=host_compute_bytes(main.shape, settings, draft=False)
        + _output_bytes(main, settings),
        draft=draft_bytes,
        overhead=_host_overhead(main),
    )


def on_host(main: ModelFacts, draft: ModelFacts | None, settings: Settings) -> Parts:
    """Everything in RAM."""
    return Parts(
        weights=main.tensor_bytes.total,
        kv=kv_bytes(main.shape, settings),
        compute=main_compute_bytes(main.shape, settings, _CPU) + _output_bytes(main, settings),
        draft=_draft_bytes(main, draft, settings, _CPU),
        overhead=_host_overhead(main),
    )


def _draft_bytes(
    main: ModelFacts, draft: ModelFacts | None, settings: Settings, backend: str
) -> int:
    """Weights and compute of the drafter; it has no KV of its own, it reads the target's."""
    if draft is None or not settings.draft:
        return 0
    compute = draft_compute_bytes(draft.shape, main.shape, settings, backend)
    return draft.tensor_bytes.total + compute


def _output_bytes(model: ModelFacts, settings: Settings) -> int:
    """Logits of one token a slot (llama-context.cpp, output_reserve)."""
    return 4 * (model.vocabulary_size or 0) * settings.parallel


def _device_overhead(
    main: ModelFacts, draft: ModelFacts | None, settings: Settings, backend: str
) -> int:
    experts = main.shape.n_experts > 0
    if backend == "cuda":
        drafts = draft is not None and settings.draft
        return _CUDA + _CUDA_DRAFTER * drafts + _CUDA_EXPERTS * experts
    if backend == "vulkan":
        quantised = settings.kv_type not in ("f32", "f16", "bf16")
        return _VULKAN + _VULKAN_QUANTISED_KV * quantised + _VULKAN_EXPERTS * experts
    return _OVERHEAD_GUESS


def mmproj_bytes(mmproj: ModelFacts | None) -> int:
    """Weights of a vision projector, and what it computes in: an estimate."""
    if mmproj is None:
        return 0
    weights = mmproj.tensor_bytes.total
    return weights + min(8 * weights, _MMPROJ_SCRATCH)


def _host_tensors(main: ModelFacts) -> int:
    tensors = main.tensor_bytes
    return tensors.per_layer_token_embd + (tensors.token_embd if tensors.output else 0)


def _host_overhead(main: ModelFacts) -> int:
    return 32 * MiB + _HOST_OVERHEAD_PER_TOKEN * (main.vocabulary_size or 0)
