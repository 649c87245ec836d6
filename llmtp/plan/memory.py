"""Memory of a Gemma 4 server by part, in bytes.

Weights and KV are exact; compute, drafter compute and overhead are estimates and say so. Names of
the llama.cpp sources that each rule mirrors stand beside it (read at b11434).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtp.gguf.model import ModelFacts
from llmtp.gguf.shape import TextModel
from llmtp.units import MiB

UBATCH = 512
_CELL_PAD = 256

#: Block size and bytes of the cache types that llama-server takes (arg.cpp, kv_cache_types).
KV_TYPES = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q8_0": (32, 34),
    "q5_1": (32, 24),
    "q5_0": (32, 22),
    "q4_1": (32, 20),
    "q4_0": (32, 18),
    "iq4_nl": (32, 18),
}

#: What the driver takes for itself, by back end: CUDA as measured on an H100 (b11434), Vulkan as
#: on an H200 (b10068 and b10434, driver 580: 284; an H100 took 50). With a quantised KV cache
#: Vulkan takes 143 MiB more, which is left to the margin. Metal, ROCm and others: not seen.
_OVERHEAD = {"cuda": 600 * MiB, "vulkan": 288 * MiB}
_OVERHEAD_GUESS = 256 * MiB
#: Scratch for images: 8 times the weights, but no more than the largest that was measured, one
#: image of 1,089 tokens in a tower of 27 layers (b11434, CPU): 641 MiB. What it really takes
#: depends on the image; the engine's own figure is for one of 256 tokens.
_MMPROJ_SCRATCH = 640 * MiB
#: Server, tokenizer and chat template in RAM: guessed high for a 262,144-token vocabulary.
_HOST_OVERHEAD_PER_TOKEN = 1200


@dataclass(frozen=True, slots=True)
class Settings:
    """What changes memory: total context, slots, KV type, and whether the drafter is loaded."""

    ctx_size: int
    parallel: int = 1
    kv_type: str = "f16"
    draft: bool = True


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


def round_context(ctx_size: int, parallel: int) -> int:
    """The total context that the engine really makes of `-c` (llama-context.cpp)."""
    per_slot = -(-ctx_size // parallel)
    return -(-per_slot // _CELL_PAD) * _CELL_PAD * parallel


def kv_bytes(model: TextModel, settings: Settings) -> int:
    """Full and sliding KV cache over all slots (llama-kv-cache-iswa.cpp, not unified).

    Sliding layers keep the window and one ubatch; layers that share KV keep none.
    """
    per_slot = round_context(settings.ctx_size, settings.parallel) // settings.parallel
    window = min(per_slot, model.window + UBATCH)
    window = -(-window // _CELL_PAD) * _CELL_PAD
    block, block_bytes = KV_TYPES[settings.kv_type]
    total = 0
    for layer in range(model.n_layers - model.shared_kv_layers):
        sliding = model.sliding[layer]
        key = model.head_sliding if sliding else model.head_full
        value = model.value_sliding if sliding else model.value_full
        row = model.kv_heads[layer] * (key + value) * block_bytes // block
        total += row * (window if sliding else per_slot)
    return total * settings.parallel


def on_device(
    main: ModelFacts, draft: ModelFacts | None, settings: Settings, backend: str
) -> Parts:
    """A GPU that holds all layers. Token embeddings stay in RAM; where they are also the output
    matrix (no `output.weight`), the device has a copy (llama-model.cpp, TENSOR_DUPLICATED)."""
    weights = main.tensor_bytes.total - _host_tensors(main)
    return Parts(
        weights=weights,
        kv=kv_bytes(main.shape, settings),
        compute=_compute(main.shape, settings),
        draft=_draft_bytes(draft, settings),
        overhead=_OVERHEAD.get(backend, _OVERHEAD_GUESS),
    )


def beside_device(main: ModelFacts, draft: ModelFacts | None, settings: Settings) -> Parts:
    """RAM that a server uses although all layers are on a GPU."""
    used = draft if settings.draft else None
    return Parts(
        weights=main.tensor_bytes.token_embd + main.tensor_bytes.per_layer_token_embd,
        draft=used.tensor_bytes.token_embd if used else 0,
        overhead=_host_overhead(main),
    )


def on_host(main: ModelFacts, draft: ModelFacts | None, settings: Settings) -> Parts:
    """Everything in RAM."""
    return Parts(
        weights=main.tensor_bytes.total,
        kv=kv_bytes(main.shape, settings),
        compute=_compute(main.shape, settings),
        draft=_draft_bytes(draft, settings),
        overhead=_host_overhead(main),
    )


def _compute(model: TextModel, settings: Settings) -> int:
    """Estimate: the widest activations of one ubatch, and the attention mask of one slot."""
    routed = model.n_experts_used * (3 * model.expert_feed_forward + model.width)
    activations = 4 * UBATCH * (3 * max(model.feed_forward) + 4 * model.width + routed)
    return activations + 2 * UBATCH * settings.ctx_size // settings.parallel


def _draft_bytes(draft: ModelFacts | None, settings: Settings) -> int:
    """Weights and compute of the drafter; it has no KV of its own, it reads the target's."""
    if draft is None or not settings.draft:
        return 0
    model = draft.shape
    concatenated = 4 * UBATCH * (model.target_width or 0)
    return draft.tensor_bytes.total + concatenated + _compute(model, settings)


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
