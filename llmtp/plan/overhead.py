"""What no line of the engine names: the driver's context and kernels, scratch of theirs, a server.

Medians of one H100 with driver 580, CUDA by b11434 and Vulkan by b10068, after a request of 1,200
tokens; RAM by b10068 on x86. Metal, ROCm and others: not seen.
"""

from __future__ import annotations

from llmtp.gguf.model import ModelFacts
from llmtp.gguf.shape import TextModel
from llmtp.plan.kv import full_cells, is_quantised, streams, window_cells
from llmtp.plan.settings import Placement, Settings
from llmtp.units import MiB

_CUDA, _CUDA_DRAFTER, _CUDA_EXPERTS = 618 * MiB, 11 * MiB, 97 * MiB
_VULKAN, _VULKAN_QUANTISED_KV = 285 * MiB, 170 * MiB
#: Rows that ggml_vk_mul_mat_id_q_f16 pads each of 128 experts to (prealloc_y), two bytes a value.
_VULKAN_TILE = 128
_GUESS = 256 * MiB
#: A worker's: its own context was there before it told what is free.
REMOTE = 128 * MiB
_F32 = 4
#: In RAM: the server; a tokenizer by token, most of it merges; a driver's and its library's share.
_SERVER = 14 * MiB
_TOKEN, _DRAFT_TOKEN = 368, 468
_DRIVER = {"cuda": 172 * MiB, "vulkan": 24 * MiB}
#: Position, extension and sequences of a cell (llama-kv-cells.h).
_CELL = 48
#: Candidates of the samplers, by token of the vocabulary; a further slot of a drafter adds to it.
_CANDIDATE, _DRAFT_SLOT = 12, 16
_SMALLEST_ROTATION = 64
#: Activations in the type that matrices are multiplied in: Q8_K, by value (ggml_graph_plan).
_Q8_K = 292 / 256
MEASURED_BACKENDS = ("cuda", "vulkan")


def device_overhead(
    model: TextModel,
    settings: Settings,
    placement: Placement,
    fuses_attention: bool,
    *,
    drafts: bool = True,
    is_remote: bool = False,
) -> int:
    """On a GPU, before a start there has taught better; `drafts`: it has the drafter, if any."""
    if is_remote:
        return REMOTE
    has_experts = model.n_experts > 0
    if placement.backend == "cuda":
        # Experts and attention without flash use a library that brings its own.
        library = _CUDA_EXPERTS * (has_experts or not fuses_attention)
        return _CUDA + _CUDA_DRAFTER * (settings.drafts and drafts) + library
    if placement.backend == "vulkan":
        quantised = is_quantised(settings.kv_type)
        experts = 2 * _VULKAN_TILE * model.width * settings.ubatch if has_experts else 0
        return _VULKAN + _VULKAN_QUANTISED_KV * quantised + experts
    return _GUESS


def overhead_kind(model: TextModel, kv_type: str, *, drafts: bool) -> str:
    """Starts of one kind leave the driver about the same share."""
    experts = f"experts of {model.width}" if model.n_experts else ""
    quantised = "quantised KV" if is_quantised(kv_type) else ""
    return ", ".join(filter(None, ("drafter" if drafts else "alone", experts, quantised)))


def host_overhead(
    main: ModelFacts, draft: ModelFacts | None, settings: Settings, placement: Placement
) -> int:
    """In RAM, from the start on: server, tokenizers, tables of the cache, rotations, drivers."""
    shape = main.shape
    cells = (full_cells(settings) + window_cells(shape, settings)) * streams(settings)
    total = _SERVER + _DRIVER.get(placement.backend, 0) + _CELL * cells
    total += _TOKEN * (main.vocabulary_size or 0) + _rotations(shape, settings)
    if draft is not None:
        more_slots = _DRAFT_SLOT * (settings.parallel - 1)
        total += (_DRAFT_TOKEN + more_slots) * (draft.vocabulary_size or 0)
        total += _rotations(shape, settings)
    return total


def request_overhead(
    main: ModelFacts, draft: ModelFacts | None, settings: Settings, placement: Placement
) -> int:
    """In RAM, from the first request on: candidates of samplers, and what the CPU multiplies."""
    candidates = sum(_CANDIDATE * (one.vocabulary_size or 0) for one in (main, draft) if one)
    if placement.has_gpu and not placement.is_partial(main.shape):
        return candidates
    return candidates + round(settings.ubatch * max(main.shape.feed_forward) * _Q8_K)


def _rotations(model: TextModel, settings: Settings) -> int:
    """Hadamard matrices of 64, 128 and so on to the size of a head (llama-kv-cache.cpp)."""
    if not is_quantised(settings.kv_type):
        return 0
    total = 0
    for head in (model.head_full, model.head_sliding):
        size = _SMALLEST_ROTATION
        while size <= head:
            total += _F32 * size * size
            size *= 2
    return total
