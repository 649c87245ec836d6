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
    every = model.per_layer_width * model.n_layers
    embeddings = {"token_embd": model.width, "per_layer_token_embd": every}
    weights = {name: width * vocabulary_size for name, width in embeddings.items()}
    weights["per_layer_model_proj"] = model.width * every
    if model.target_width is not None:
        weights["nextn.pre_projection"] = 2 * model.target_width * model.width
        weights["nextn.post_projection"] = model.target_width * model.width
    for i in range(model.n_layers):
        of_layer = _layer(model, i, full_values=full_values)
        weights |= {f"blk.{i}.{name}": count for name, count in of_layer.items()}
    return TensorBytes(
        {
            f"{name}.weight": round(count * (embedding_bits if name in embeddings else
                                             _F32_BITS if "ffn_gate_inp" in name else bits) / 8)
            for name, count in weights.items()
            if count
        }
    )  # fmt: skip


def _layer(model: TextModel, i: int, *, full_values: bool) -> dict[str, int]:
    """Weights of each matrix of a layer."""
    width, head = model.width, model.head(i)
    wide, per_layer, n_experts = model.feed_forward[i], model.per_layer_width, model.n_experts
    weights = {"attn_q": width * head * model.n_heads[i]}
    weights["attn_output"] = weights["attn_q"]
    if model.target_width is None and i < model.n_layers - model.shared_kv_layers:
        weights["attn_k"] = width * model.kv_heads[i] * head
        if model.sliding[i] or full_values:
            weights["attn_v"] = width * model.kv_heads[i] * model.value_head(i)
    weights |= dict.fromkeys(("ffn_gate", "ffn_up", "ffn_down"), width * wide)
    weights |= dict.fromkeys(("inp_gate", "proj"), width * per_layer)
    experts = width * model.expert_feed_forward * n_experts
    weights |= {"ffn_gate_inp": width * n_experts, "ffn_gate_up_exps": 2 * experts}
    return weights | {"ffn_down_exps": experts}
