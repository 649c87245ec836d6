"""Which tensors llama.cpp demands of a Gemma 4 model, and which types it can compute with.

Mirrors load_arch_tensors of src/models/gemma4.cpp and gemma4-assistant.cpp, and the checks of
llama_model_loader: a missing or misshapen tensor and one that nobody asked for end the load. The
types were tried in the engine: it aborts on these in any matrix, and on anything but float32 in
norms, scales and rope factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llmtp.gguf.kind import Kind
from llmtp.gguf.model import TensorFault
from llmtp.gguf.reader import TensorInfo
from llmtp.gguf.shape import TextModel
from llmtp.text import clean

_NO_KERNELS = {"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"}
_MATRIX_TYPES = "a type with kernels, such as Q4_K, Q8_0 or F16"
_MAX_FAULTS = 8
_SCALED = {"attn_q", "attn_k", "attn_v", "attn_output", "attn_qkv", "ffn_gate", "ffn_up",
           "ffn_down"}  # fmt: skip
_SCALED_EXPERTS = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    shape: Shape
    required: bool = True


def find_faults(
    model: TextModel, kind: Kind, vocabulary_size: int, tensors: Iterable[TensorInfo]
) -> tuple[TensorFault, ...]:
    """The first faults of a tensor table; empty for one that llama.cpp takes."""
    table = {tensor.name: tensor for tensor in tensors}
    tensors_of = _main if kind is Kind.MAIN else _assistant
    wanted = dict(tensors_of(model, vocabulary_size, table))
    wanted |= dict(_scales(model, wanted))
    faults = [fault for name, want in wanted.items() if (fault := _judge(name, want, table))]
    faults += [
        TensorFault("tensor-unknown", clean(name, 80), None, None)
        for name in table
        if name not in wanted
    ]
    return tuple(faults[:_MAX_FAULTS])


def _judge(name: str, want: _Wanted, table: dict[str, TensorInfo]) -> TensorFault | None:
    tensor = table.get(name)
    if tensor is None:
        return TensorFault("tensor-missing", name, _by(want.shape), None) if want.required else None
    if _padded(tensor.shape) != _padded(want.shape):
        return TensorFault("tensor-shape", name, _by(want.shape), _by(tensor.shape))
    is_vector = len(want.shape) == 1
    if is_vector and tensor.type.name != "F32":
        return TensorFault("tensor-type", name, "F32", tensor.type.name)
    if tensor.type.name in _NO_KERNELS:
        return TensorFault("tensor-type", name, _MATRIX_TYPES, tensor.type.name)
    return None


def _scales(model: TextModel, wanted: dict[str, _Wanted]) -> Iterator[tuple[str, _Wanted]]:
    """Scales of quantised matrices, per tensor or per expert, may stand beside them."""
    for name in wanted:
        stem = name.removesuffix(".weight")
        matrix = stem.rpartition(".")[2]
        if matrix in _SCALED or matrix in _SCALED_EXPERTS:
            length = 1 if matrix in _SCALED else model.n_experts
            for suffix in (".scale", ".input_scale"):
                yield stem + suffix, _Wanted((length,), required=False)


def _main(
    m: TextModel, vocabulary_size: int, table: dict[str, TensorInfo]
) -> Iterator[tuple[str, _Wanted]]:
    yield "token_embd.weight", _Wanted((m.width, vocabulary_size))
    yield "output.weight", _Wanted((m.width, vocabulary_size), required=False)
    yield "output_norm.weight", _Wanted((m.width,))
    per_layer = m.per_layer_width
    if per_layer:
        every = per_layer * m.n_layers
        yield "per_layer_token_embd.weight", _Wanted((every, vocabulary_size))
        yield "per_layer_model_proj.weight", _Wanted((m.width, every))
        yield "per_layer_proj_norm.weight", _Wanted((per_layer,))
    yield from _rope_factors(m)
    for i in range(m.n_layers):
        at = f"blk.{i}."
        keys = m.head(i) * m.kv_heads[i]
        values = m.value_head(i) * m.kv_heads[i]
        yield from _block(m, i)
        if f"{at}attn_qkv.weight" in table:
            fused = m.head(i) * m.n_heads[i] + keys + values
            yield f"{at}attn_qkv.weight", _Wanted((m.width, fused))
        else:
            has_keys = i < m.n_layers - m.shared_kv_layers
            yield f"{at}attn_q.weight", _Wanted((m.width, m.head(i) * m.n_heads[i]))
            yield f"{at}attn_k.weight", _Wanted((m.width, keys), has_keys)
            yield f"{at}attn_v.weight", _Wanted((m.width, values), required=False)
        yield f"{at}attn_k_norm.weight", _Wanted((m.head(i),), i < m.n_layers - m.shared_kv_layers)
        yield f"{at}layer_output_scale.weight", _Wanted((1,), required=False)
        if f"{at}ffn_gate_inp.weight" in table:
            yield from _experts(m, at, table)
        if per_layer:
            yield f"{at}inp_gate.weight", _Wanted((m.width, per_layer))
            yield f"{at}proj.weight", _Wanted((per_layer, m.width))
            yield f"{at}post_norm.weight", _Wanted((m.width,))


def _experts(m: TextModel, at: str, table: dict[str, TensorInfo]) -> Iterator[tuple[str, _Wanted]]:
    wide, n = m.expert_feed_forward, m.n_experts
    yield f"{at}ffn_gate_inp.weight", _Wanted((m.width, n))
    for name in ("ffn_gate_inp.scale", "pre_ffw_norm_2.weight", "post_ffw_norm_1.weight",
                 "post_ffw_norm_2.weight"):  # fmt: skip
        yield at + name, _Wanted((m.width,))
    if f"{at}ffn_gate_up_exps.weight" in table:
        yield f"{at}ffn_gate_up_exps.weight", _Wanted((m.width, 2 * wide, n))
    else:
        yield f"{at}ffn_gate_exps.weight", _Wanted((m.width, wide, n))
        yield f"{at}ffn_up_exps.weight", _Wanted((m.width, wide, n))
    yield f"{at}ffn_down_exps.weight", _Wanted((wide, m.width, n))


def _assistant(
    m: TextModel, vocabulary_size: int, _table: dict[str, TensorInfo]
) -> Iterator[tuple[str, _Wanted]]:
    yield "token_embd.weight", _Wanted((m.width, vocabulary_size))
    yield "output_norm.weight", _Wanted((m.width,))
    if m.target_width is not None:
        yield "nextn.pre_projection.weight", _Wanted((2 * m.target_width, m.width))
        yield "nextn.post_projection.weight", _Wanted((m.width, m.target_width))
    yield from _rope_factors(m)
    for i in range(m.n_layers):
        yield from _block(m, i)
        yield f"blk.{i}.attn_q.weight", _Wanted((m.width, m.head(i) * m.n_heads[i]))
        yield f"blk.{i}.layer_output_scale.weight", _Wanted((1,))


def _rope_factors(m: TextModel) -> Iterator[tuple[str, _Wanted]]:
    if not all(m.sliding):
        yield "rope_freqs.weight", _Wanted((m.head_full // 2,))


def _block(m: TextModel, i: int) -> Iterator[tuple[str, _Wanted]]:
    """What the layers of main models and assistants have in common."""
    at, width, wide = f"blk.{i}.", m.width, m.feed_forward[i]
    for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
        yield f"{at}{norm}.weight", _Wanted((width,))
    yield f"{at}attn_q_norm.weight", _Wanted((m.head(i),))
    yield f"{at}attn_output.weight", _Wanted((m.head(i) * m.n_heads[i], width))
    yield f"{at}ffn_gate.weight", _Wanted((width, wide))
    yield f"{at}ffn_up.weight", _Wanted((width, wide))
    yield f"{at}ffn_down.weight", _Wanted((wide, width))


def _padded(shape: Shape) -> Shape:
    return (*shape, 1, 1, 1, 1)[:4]


def _by(shape: Shape) -> str:
    return " x ".join(map(str, shape))
