"""The tiny pair in the forms of the other sizes: experts, per-layer embeddings, shared KV."""

from __future__ import annotations

import random
from array import array

from edit import BOOL, I32, U32, Edited, Row
from make_crafted_pair import CRAFTED

MAIN = "gemma4."
_LAYERS = len(CRAFTED.layers)


def with_experts(main: Edited) -> None:
    """As the 26B-A4B: a router and experts in every layer, on top of the dense network."""
    experts, wide = 4, 32
    main.set(f"{MAIN}expert_count", U32, experts)
    main.set(f"{MAIN}expert_used_count", U32, 2)
    main.set(f"{MAIN}expert_feed_forward_length", U32, wide)
    for i in range(_LAYERS):
        at = f"blk.{i}."
        main.tensors[f"{at}ffn_gate_inp.weight"] = noise(CRAFTED.width, experts)
        for name in ("ffn_gate_inp.scale", "pre_ffw_norm_2.weight", "post_ffw_norm_1.weight",
                     "post_ffw_norm_2.weight"):  # fmt: skip
            main.tensors[at + name] = noise(CRAFTED.width)
        main.tensors[f"{at}ffn_gate_up_exps.weight"] = noise(CRAFTED.width, 2 * wide, experts)
        main.tensors[f"{at}ffn_down_exps.weight"] = noise(wide, CRAFTED.width, experts)


def with_per_layer_embeddings(main: Edited) -> None:
    """As the E2B: per-layer embeddings, the last layers without keys of their own, more width."""
    per_layer, shared, tokens = 32, 2, main.tensors["token_embd.weight"].shape[1]
    main.set(f"{MAIN}embedding_length_per_layer_input", U32, per_layer)
    main.set(f"{MAIN}attention.shared_kv_layers", U32, shared)
    main.set(f"{MAIN}attention.head_count_kv", I32, [2, 1] * (_LAYERS // 2))
    main.set(f"{MAIN}attention.sliding_window_pattern", BOOL, [True, False] * (_LAYERS // 2))
    main.set(f"{MAIN}feed_forward_length", I32, [CRAFTED.feed_forward] * 4 + [64] * 2)
    main.tensors["per_layer_token_embd.weight"] = noise(per_layer * _LAYERS, tokens)
    main.tensors["per_layer_model_proj.weight"] = noise(CRAFTED.width, per_layer * _LAYERS)
    main.tensors["per_layer_proj_norm.weight"] = noise(per_layer)
    for i in range(_LAYERS):
        at, sliding = f"blk.{i}.", i % 2 == 0
        head = CRAFTED.head_sliding if sliding else CRAFTED.head_full
        kv = head * (2 if sliding else 1)
        wide = CRAFTED.feed_forward if i < 4 else 64
        for name, row in {
            "attn_q.weight": noise(CRAFTED.width, head * CRAFTED.heads),
            "attn_q_norm.weight": noise(head),
            "attn_output.weight": noise(head * CRAFTED.heads, CRAFTED.width),
            "ffn_gate.weight": noise(CRAFTED.width, wide),
            "ffn_up.weight": noise(CRAFTED.width, wide),
            "ffn_down.weight": noise(wide, CRAFTED.width),
            "inp_gate.weight": noise(CRAFTED.width, per_layer),
            "proj.weight": noise(per_layer, CRAFTED.width),
            "post_norm.weight": Row((CRAFTED.width,), 0, bytes(4 * CRAFTED.width)),
        }.items():
            main.tensors[at + name] = row
        for name in ("attn_k.weight", "attn_k_norm.weight", "attn_v.weight"):
            main.tensors.pop(at + name, None)
        if i < _LAYERS - shared:
            main.tensors[f"{at}attn_k.weight"] = noise(CRAFTED.width, kv)
            main.tensors[f"{at}attn_k_norm.weight"] = noise(head)
            main.tensors[f"{at}attn_v.weight"] = noise(CRAFTED.width, kv)


def noise(*shape: int) -> Row:
    """Small float32 numbers, always the same."""
    dice, count = random.Random(str(shape)), 1
    for length in shape:
        count *= length
    return Row(shape, 0, array("f", (dice.uniform(-0.1, 0.1) for _ in range(count))).tobytes())
