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


def kv_bytes(model: TextModel, settings: Settings) -> int:
    """Full and sliding KV cache over all slots; layers that share KV keep none."""
    full, window = full_cells(settings), window_cells(model, settings)
    block, block_bytes = KV_TYPES[settings.kv_type]
    total = 0
    for layer in range(model.n_layers - model.shared_kv_layers):
        values = model.kv_heads[layer] * (model.head(layer) + model.value_head(layer))
        total += values * block_bytes // block * (window if model.sliding[layer] else full)
    return total * streams(settings)


def _padded(cells: int) -> int:
    return -(-cells // _CELL_PAD) * _CELL_PAD
