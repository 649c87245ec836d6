"""The KV cache of a main model, in cells and bytes: exact. A drafter has none, it reads this one.

Mirrors llama-context.cpp, llama-kv-cache.cpp and llama-kv-cache-iswa.cpp of llama.cpp; held
against the engine by tests/test_measured_memory.py.
"""

from __future__ import annotations

from llmtp.gguf.shape import TextModel
from llmtp.plan.settings import Settings

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


def is_quantised(kv_type: str) -> bool:
    """In blocks, and not one value by one."""
    return KV_TYPES[kv_type][0] > 1


def takes(model: TextModel, kv_type: str) -> bool:
    """Do its blocks divide the heads of a model?"""
    block, _ = KV_TYPES[kv_type]
    heads = (model.head_full, model.value_full, model.head_sliding, model.value_sliding)
    return not any(length % block for length in heads)


def round_context(ctx_size: int, parallel: int) -> int:
    """The total context that the engine really makes of `-c` (llama-context.cpp)."""
    return _padded(-(-ctx_size // parallel)) * parallel


def streams(settings: Settings) -> int:
    """How many caches there are: one a slot, or one for all."""
    return 1 if settings.unified else settings.parallel


def full_cells(settings: Settings) -> int:
    """Cells of a full layer in one stream."""
    return round_context(settings.ctx_size, streams(settings)) // streams(settings)


def window_cells(model: TextModel, settings: Settings) -> int:
    """Cells of a sliding layer in one stream: the windows of its slots, and one ubatch."""
    slots = settings.parallel if settings.unified else 1
    return _padded(min(full_cells(settings), model.window * slots + settings.ubatch))


def widest_values(model: TextModel) -> int:
    """Values a cell of the widest layer (n_embd_v_gqa_max)."""
    return max(heads * model.value_head(i) for i, heads in enumerate(model.kv_heads))


def kv_bytes(model: TextModel, settings: Settings) -> int:
    """Full and sliding KV cache over all slots."""
    return sum(kv_by_layer(model, settings))


def kv_by_layer(model: TextModel, settings: Settings) -> list[int]:
    """Of each layer that has a cache; those that share another's are the last.

    Without flash attention all values are as wide as the widest.
    """
    full, window = full_cells(settings), window_cells(model, settings)
    block, block_bytes = KV_TYPES[settings.kv_type]
    widest, sizes = widest_values(model), []
    for layer in range(model.n_layers - model.shared_kv_layers):
        heads, cells = model.kv_heads[layer], window if model.sliding[layer] else full
        keys, values = heads * model.head(layer), heads * model.value_head(layer)
        width = keys + (values if settings.flash else widest)
        sizes.append(width * block_bytes // block * cells * streams(settings))
    return sizes


def checkpoint_bytes(model: TextModel, settings: Settings) -> int:
    """One copy of a slot's sliding layers, which the server keeps in RAM to go back to
    (server-context.cpp, create_checkpoint)."""
    cells = min(model.window, full_cells(settings))
    sizes = zip(kv_by_layer(model, settings), model.sliding, strict=False)
    sliding = sum(size for size, slides in sizes if slides)
    return sliding * cells // (window_cells(model, settings) * streams(settings))


def _padded(cells: int) -> int:
    return -(-cells // _CELL_PAD) * _CELL_PAD
