"""Memory of a Gemma 4 server by place and part, in bytes.

Weights, KV and compute are what the engine allocates; overhead is a measurement of one card, which
the first start on another one replaces. Names of the llama.cpp sources that each rule mirrors stand
beside it (read at b11434 and b10068). tests/measured_memory.csv is what engines and drivers said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtp.gguf.model import ModelFacts, block_of
from llmtp.plan.compute import draft_compute, main_compute
from llmtp.plan.kv import kv_by_layer
from llmtp.plan.overhead import device_overhead, host_overhead, request_overhead
from llmtp.plan.settings import Placement, Settings
from llmtp.units import MiB

#: Scratch for images: 8 times the weights, but no more than the largest that was measured, one
#: image of 1,089 tokens in a tower of 27 layers (b11434, CPU): 641 MiB. What it really takes
#: depends on the image; the engine's own figure is for one of 256 tokens.
_MMPROJ_SCRATCH = 640 * MiB
_INPUTS = ("token_embd.weight", "per_layer_token_embd.weight")
_WITH_FIRST_LAYER = ("per_layer_model_proj.weight", "per_layer_proj_norm.weight")


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


@dataclass(frozen=True, slots=True)
class Needed:
    """What a server takes: on the GPU, nothing where there is none, and in RAM.

    `mapped_bytes` of the RAM are pages of the files, which the system may drop and read again; the
    rest is anonymous.
    """

    device: Parts
    host: Parts
    mapped_bytes: int


def needed(
    main: ModelFacts, draft: ModelFacts | None, settings: Settings, placement: Placement
) -> Needed:
    """Of a main model and, where settings say so, its drafter."""
    used = draft if settings.drafts else None
    on_gpu, in_ram = _weights(main, placement)
    kv_on_gpu, kv_in_ram = _kv(main, settings, placement)
    compute = main_compute(main, settings, placement)
    draft_on_gpu, draft_in_ram = _draft(used, main, settings, placement)
    device = Parts()
    if placement.has_gpu:
        device = Parts(
            weights=on_gpu,
            kv=kv_on_gpu,
            compute=compute.device,
            draft=draft_on_gpu,
            overhead=device_overhead(main.shape, settings, placement, compute.fuses_attention),
        )
    host = Parts(
        weights=in_ram,
        kv=kv_in_ram,
        compute=compute.host + _output_bytes(main, settings),
        draft=draft_in_ram,
        overhead=host_overhead(main, used, settings, placement)
        + request_overhead(main, used, settings, placement),
    )
    mapped = in_ram + (used.tensor_bytes.token_embd if used else 0)
    if not placement.has_gpu:
        models = [main, *([used] if used else [])]
        mapped = sum(one.tensor_bytes.total - one.repackable_bytes for one in models)
    return Needed(device, host, mapped)


def _weights(main: ModelFacts, placement: Placement) -> tuple[int, int]:
    """On the GPU and in RAM (llama-model.cpp, load_tensors).

    Token embeddings stay in RAM; where they are the output matrix too, a GPU that has the output
    has a copy of them (TENSOR_DUPLICATED).
    """
    first, n_layers = placement.first_on_gpu(main.shape), main.shape.n_layers
    on_gpu = in_ram = 0
    for name, size in main.tensor_bytes.by_name.items():
        layer = block_of(name)
        if layer is None:
            layer = 0 if name in _WITH_FIRST_LAYER else n_layers
        stays = name in _INPUTS or ("_exps" in name and placement.cpu_experts)
        if layer >= first and not stays:
            on_gpu += size
        else:
            in_ram += size
    if first <= n_layers and not main.tensor_bytes.output:
        on_gpu += main.tensor_bytes.token_embd
    return on_gpu, in_ram


def _kv(main: ModelFacts, settings: Settings, placement: Placement) -> tuple[int, int]:
    """Each layer's is where the layer is (llama-kv-cache.cpp, offload)."""
    first, sizes = placement.first_on_gpu(main.shape), kv_by_layer(main.shape, settings)
    return sum(sizes[first:]), sum(sizes[:first])


def _draft(
    draft: ModelFacts | None, main: ModelFacts, settings: Settings, placement: Placement
) -> tuple[int, int]:
    """Weights and compute of the drafter; it has no KV of its own, it reads the target's."""
    if draft is None:
        return 0, 0
    compute = draft_compute(draft, main, settings, placement)
    in_ram = compute.host + _output_bytes(draft, settings)
    weights, embeddings = draft.tensor_bytes.total, draft.tensor_bytes.token_embd
    if placement.has_gpu:
        return compute.device + weights, in_ram + embeddings
    return 0, in_ram + weights


def _output_bytes(model: ModelFacts, settings: Settings) -> int:
    """Logits of one token a slot (llama-context.cpp, output_reserve)."""
    return 4 * (model.vocabulary_size or 0) * settings.parallel


def mmproj_bytes(mmproj: ModelFacts | None) -> int:
    """Weights of a vision projector, and what it computes in: an estimate."""
    if mmproj is None:
        return 0
    weights = mmproj.tensor_bytes.total
    return weights + min(8 * weights, _MMPROJ_SCRATCH)
