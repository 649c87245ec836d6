"""What the engine reserves to compute in, by one ubatch with flash attention.

A graph's buffer is as large as what lives at its fullest moment (ggml-alloc.c): the attention
masks all the time (llama-graph.cpp, build_attn_inp_kq_mask), and with them either a feed-forward
network or an attention whose keys and values must be converted first (build_attn_mha). The graphs
are those of src/models/gemma4.cpp and gemma4-assistant.cpp. On CUDA this is what was measured, to
a few hundredths; other back ends order their graphs otherwise, so that a little more lives at once.
"""

from __future__ import annotations

from llmtp.gguf.shape import TextModel
from llmtp.plan.kv import full_cells, streams, window_cells
from llmtp.plan.settings import Settings

_F16, _F32 = 2, 4
_AS_THEY_ARE = {"f16", "bf16"}


def main_compute_bytes(model: TextModel, settings: Settings, backend: str) -> int:
    """Of the main model's context, without its outputs."""
    inputs = 4 * model.width + model.per_layer_width * model.n_layers
    network = _values(settings, _network(model, backend) + inputs)
    attention = _conversion(model, max(model.n_heads), settings, backend)
    if attention:
        attention += _values(settings, inputs)
    return _masks(model, settings) + _rotations(model, settings) + max(network, attention)


def draft_compute_bytes(draft: TextModel, main: TextModel, settings: Settings, backend: str) -> int:
    """Of the drafter's context, which attends to the cache of the main model.

    Its input is the target's embedding beside the target's hidden state.
    """
    state = 2 * main.width
    queries = 2 * max(draft.n_heads) * draft.head_full
    network = max(3 * max(draft.feed_forward), queries) + state
    most = _values(settings, max(network, 2 * state))
    attention = _conversion(main, max(draft.n_heads), settings, backend)
    if attention:
        attention += _values(settings, state)
    return _masks(main, settings) + _rotations(main, settings) + max(most, attention)


def host_compute_bytes(main: TextModel, settings: Settings, *, draft: bool) -> int:
    """Pinned in RAM beside a GPU: what the context of the main model, or of its drafter, sends it.

    Masks, rotations and embeddings, of which the drafter gets half and none by layer.
    """
    inputs = 2 * main.width
    if not draft:
        inputs += 2 * main.width
        if main.per_layer_width:
            inputs += main.width + main.per_layer_width * main.n_layers
    return _masks(main, settings) + _rotations(main, settings) + _values(settings, inputs)


def _network(model: TextModel, backend: str) -> int:
    """Values a token at the fullest moment of a feed-forward network: gate, up and their product.

    Behind narrower layers (E2B) a hole is left that nothing wider fits in. Experts: those of all
    that are used, with their outputs before and after the weights.
    """
    wide, narrow = max(model.feed_forward), min(model.feed_forward)
    dense = 3 * wide + (narrow if narrow < wide else 0)
    if backend != "cuda":
        dense += model.width
    if backend == "vulkan":
        dense += model.per_layer_width * model.n_layers
    used, product = model.n_experts_used, 3 * model.expert_feed_forward
    outputs = 1 if backend == "vulkan" else 2
    return max(dense, used * (outputs * model.width + product))


def _conversion(model: TextModel, heads: int, settings: Settings, backend: str) -> int:
    """Keys and values of one layer as float16, the queries and the answer: the larger kind.

    Flash attention on CUDA wants float16; that of other back ends takes quantised ones too.
    """
    if settings.kv_type in _AS_THEY_ARE or (settings.kv_type != "f32" and backend != "cuda"):
        return 0
    most = 0
    for layer, sliding in enumerate(model.sliding):
        cells = window_cells(model, settings) if sliding else full_cells(settings)
        keys_and_values = model.kv_heads[layer] * (model.head(layer) + model.value_head(layer))
        queries = 2 * heads * model.head(layer)
        converted = _F16 * cells * streams(settings) * keys_and_values
        most = max(most, converted + _values(settings, queries))
    return most


def _masks(model: TextModel, settings: Settings) -> int:
    """Which cells each token of a ubatch may attend to, in full and in sliding layers."""
    cells = full_cells(settings) + window_cells(model, settings)
    return _F16 * cells * settings.ubatch


def _rotations(model: TextModel, settings: Settings) -> int:
    """Quantised caches are rotated by a Hadamard matrix for each size of head."""
    if settings.kv_type in _AS_THEY_ARE | {"f32"}:
        return 0
    return _F32 * (model.head_full**2 + model.head_sliding**2)


def _values(settings: Settings, per_token: int) -> int:
    return _F32 * settings.ubatch * per_token
