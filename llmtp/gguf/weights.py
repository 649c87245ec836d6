"""What the tensors of a shape take, where there is no table of them to add up."""

from __future__ import annotations

from llmtp.gguf.model import TensorBytes
from llmtp.gguf.shape import TextModel

_F32_BITS = 32


def estimate_tensor_bytes(
    model: TextModel,
    vocabulary_size: int,
    bits: float,
    embedding_bits: float,
    *,
    full_values: bool,
) -> TensorBytes:
    """Matrices as src/models/gemma4.cpp and gemma4-assistant.cpp load them, without an output
    matrix of their own, at so many bits a weight. `full_values`: full layers have values too."""

    def embeddings(width: int) -> int:
        return round(width * vocabulary_size * embedding_bits / 8)

    every = model.per_layer_width * model.n_layers
    projections = model.width * every + 3 * model.width * (model.target_width or 0)
    layers = (_layer(model, i, full_values=full_values) for i in range(model.n_layers))
    experts = 3 * model.width * model.expert_feed_forward * model.n_experts
    routers = model.width * model.n_experts * _F32_BITS // 8
    return TensorBytes(
        token_embd=embeddings(model.width),
        per_layer_token_embd=embeddings(every),
        output=0,
        other=round(projections * bits / 8),
        layers=tuple(round(weights * bits / 8) + routers for weights in layers),
        experts=(round(experts * bits / 8),) * model.n_layers,
    )


def _layer(model: TextModel, i: int, *, full_values: bool) -> int:
    """Weights of a layer without its experts."""
    width, head, kv_heads = model.width, model.head(i), model.kv_heads[i]
    weights = 2 * width * head * model.n_heads[i]
    if model.target_width is None and i < model.n_layers - model.shared_kv_layers:
        values = model.value_head(i) if model.sliding[i] or full_values else 0
        weights += width * kv_heads * (head + values)
    return weights + 3 * width * model.feed_forward[i] + 2 * width * model.per_layer_width
