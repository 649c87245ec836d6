"""Memory of a Gemma 4 server by place and part, in bytes.

Weights, KV and compute are what the engine allocates; overhead is a measurement of one card, which
the first start on another one replaces. Names of the llama.cpp sources that each rule mirrors stand
beside it (read at b11434 and b10068). tests/measured_memory.csv is what engines and drivers said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

from llmtp.gguf.model import ModelFacts, block_of, is_expert
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

    def __add__(self, other: Parts) -> Parts:
        return Parts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Parts)))

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
    """What a server takes on each GPU, in their order, and in RAM.

    `mapped_bytes` of the RAM are pages of the files, which the system may drop and read again; the
    rest is anonymous.
    """

    devices: tuple[Parts, ...]
    host: Parts
    mapped_bytes: int

    @property
    def used_bytes(self) -> int:
        """On all GPUs, or in RAM where there is none."""
        return sum(parts.total for parts in self.devices) or self.host.total

    @property
    def device(self) -> Parts:
        """On the only GPU; nothing where there is none."""
        return self.devices[0] if self.devices else Parts()


def needed(
    main: ModelFacts, draft: ModelFacts | None, settings: Settings, placement: Placement
) -> Needed:
    """Of a main model and, where settings say so, its drafter, which is on the last GPU."""
    used = draft if settings.drafts else None
    weights, kv = _weights(main, placement), _kv(main, settings, placement)
    compute = main_compute(main, settings, placement)
    draft_on_gpu, draft_in_ram = _draft(used, main, settings, placement)
    last = placement.n_gpus - 1
    devices = tuple(
        Parts(
            weights=weights[gpu],
            kv=kv[gpu],
            compute=compute.devices[gpu],
            draft=draft_on_gpu if gpu == last else 0,
            overhead=device_overhead(
                main.shape,
                settings,
                placement,
                compute.fuses_attention,
                drafts=gpu == last,
                is_remote=gpu < placement.n_remote,
            ),
        )
        for gpu in range(placement.n_gpus)
    )
    host = Parts(
        weights=weights[None],
        kv=kv[None],
        compute=compute.host + _output_bytes(main, settings),
        draft=draft_in_ram,
        overhead=host_overhead(main, used, settings, placement)
        + request_overhead(main, used, settings, placement),
    )
    mapped = weights[None] + (used.tensor_bytes.token_embd if used else 0)
    if not placement.has_gpu:
        models = [main, *([used] if used else [])]
        mapped = sum(one.tensor_bytes.total - one.repackable_bytes for one in models)
    return Needed(devices, host, mapped)


def least(
    main: ModelFacts, draft: ModelFacts | None, settings: Settings, placement: Placement
) -> list[int]:
    """What each GPU takes at least: all but what is computed in, which takes time to know."""
    weights, kv = _weights(main, placement), _kv(main, settings, placement)
    sizes = []
    for gpu in range(placement.n_gpus):
        is_last = gpu == placement.n_gpus - 1
        size = weights[gpu] + kv[gpu]
        is_remote = gpu < placement.n_remote
        size += device_overhead(
            main.shape, settings, placement, True, drafts=is_last, is_remote=is_remote
        )
        if draft is not None and settings.drafts and is_last:
            size += draft.tensor_bytes.total
        sizes.append(size)
    return sizes


#: Bytes by the number of the GPU; None is RAM.
Spread = Counter[int | None]


def _weights(main: ModelFacts, placement: Placement) -> Spread:
    """Where each matrix is (llama-model.cpp, load_tensors).

    Token embeddings stay in RAM; where they are the output matrix too, the GPU that has the output
    has a copy of them (TENSOR_DUPLICATED).
    """
    n_layers, spread = main.shape.n_layers, Spread()
    for name, size in main.tensor_bytes.by_name.items():
        layer = block_of(name)
        if layer is None:
            layer = 0 if name in _WITH_FIRST_LAYER else n_layers
        stays = name in _INPUTS or (is_expert(name) and placement.experts_in_ram(layer))
        spread[None if stays else placement.gpu_of(main.shape, layer)] += size
    output_on = placement.gpu_of(main.shape, n_layers)
    if output_on is not None and not main.tensor_bytes.output:
        spread[output_on] += main.tensor_bytes.token_embd
    return spread


def _kv(main: ModelFacts, settings: Settings, placement: Placement) -> Spread:
    """Each layer's is where the layer is (llama-kv-cache.cpp, offload)."""
    spread = Spread()
    for layer, size in enumerate(kv_by_layer(main.shape, settings)):
        spread[placement.gpu_of(main.shape, layer)] += size
    return spread


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
