"""Weights in GGUF: matrices in Q8_0, vectors in float32."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch
from gemma4_form import BOS, CHAT_TEMPLATE, EOS, MASK, PAD, UNK, head_sizes
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader, GGUFWriter

from demo_pair.model import Assistant, Main, Model
from demo_pair.shape import Shape
from demo_pair.tokens import Vocabulary

LICENCE = "mit"
ROPE = "rope_freqs.weight"
NOT_TURNED = 1e30


def read(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a file as the engine sees it, in float32."""
    return {
        row.name: torch.from_numpy(
            np.array(gguf.quants.dequantize(row.data, row.tensor_type), np.float32)
        )
        for row in GGUFReader(path).tensors
    }


def write_main(path: Path, model: Main, vocabulary: Vocabulary) -> None:
    shape = model.shape
    writer = _begin(path, "gemma4", shape.width, shape.feed_forward, shape.sliding(), shape)
    writer.add_shared_kv_layers(0)
    writer.add_final_logit_softcapping(shape.softcap)
    _finish(writer, model, vocabulary)


def write_assistant(path: Path, model: Assistant, vocabulary: Vocabulary) -> None:
    shape, arch = model.shape, "gemma4-assistant"
    layers = shape.draft_sliding()
    writer = _begin(path, arch, shape.draft_width, shape.draft_feed_forward, layers, shape)
    writer.add_shared_kv_layers(len(layers))
    writer.add_embedding_length_out(shape.width)
    writer.add_nextn_predict_layers(len(layers))
    _finish(writer, model, vocabulary)


def _begin(
    path: Path, arch: str, width: int, feed_forward: int, sliding: tuple[bool, ...], shape: Shape
) -> GGUFWriter:
    writer = GGUFWriter(path, arch)
    writer.add_type("model")
    writer.add_name("llmtp demo" + (" assistant" if "assistant" in arch else ""))
    writer.add_license(LICENCE)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(len(sliding))
    writer.add_context_length(shape.context)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv([shape.kv_heads(slides) for slides in sliding])
    writer.add_layer_norm_rms_eps(shape.epsilon)
    sizes = head_sizes(shape.head_full, shape.head_sliding, shape.window)
    for key, value in sizes.items():
        writer.add_uint32(f"{arch}.{key}", value)
    writer.add_array(f"{arch}.attention.sliding_window_pattern", list(sliding))
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_float32(f"{arch}.rope.freq_base_swa", shape.rope_base_sliding)
    return writer


def _finish(writer: GGUFWriter, model: Model, vocabulary: Vocabulary) -> None:
    shape = model.shape
    writer.add_tokenizer_model("gemma4")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_scores([0.0] * len(vocabulary.tokens))
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_eot_token_id(vocabulary.end_of_turn)
    writer.add_unk_token_id(UNK)
    writer.add_pad_token_id(PAD)
    writer.add_mask_token_id(MASK)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    pairs = shape.head_full // 2
    turned = int(pairs * shape.rotated_share)
    writer.add_tensor(ROPE, np.array([1.0] * turned + [NOT_TURNED] * (pairs - turned), np.float32))
    for name, weight in model.named().items():
        values = weight.detach().float().cpu().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            blocks = gguf.quants.quantize(values, Kind.Q8_0)
            writer.add_tensor(name, blocks, raw_dtype=Kind.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
