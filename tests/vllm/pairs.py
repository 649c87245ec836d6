"""Write tiny Gemma 4 pairs as vLLM reads them: safetensors, config.json and a tokenizer.

    main              repeats the last token of its prompt for ever
    main-assistant    predicts just that where the id of the token is even, so that every draft is
                      accepted, and another token where it is odd, so that none is
    wrong-backbone    assistants that do not fit `main`, each in the one thing of its name, with
    wrong-heads       random weights
    wrong-kv-heads
    wrong-vocabulary
    wrong-window

A chat is answered " even even even ...", with all drafts accepted, unless its last message ends in
"odd": then the answer is " odd odd odd ..." and no draft is. A prompt of plain text decides that by
its own last word, as "so even" and "so odd" do, or else by its last byte. No answer ends by itself.

Every layer of `main` and `main-assistant` does its real matrix products on seeded random weights,
but the norms after attention and feed-forward are zero, so the hidden state stays the embedding of
the token: a random row of signs, its code, which is closer to itself than to any other.

Requests are greedy unless they ask for a temperature, which vLLM 0.32.0 gets wrong with MTP on a
CPU: it reads a number from memory that nothing was written to. The answer is then noise, and top_k
or top_p end the server.

Standard library only, and the same bytes on every run:

    python tests/vllm/pairs.py FOLDER
"""

from __future__ import annotations

import json
import random
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

SLIDING, FULL = "sliding_attention", "full_attention"
#: Tokens of which none is text; their places are their ids.
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>")
PAD, EOS, BOS, UNK, TURN, END_OF_TURN = range(len(SPECIAL))
#: Words that are one token each, of ids of that kind; all other text is one token a byte.
WORDS = (" even", " odd", "even", "odd")
CONTEXT = 8192
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ message['content'] }}<turn|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "<|turn>model\n"
    "{{ ' odd' if messages[-1]['content'].endswith('odd') else ' even' }}"
    "{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Sizes of one model, which is an assistant when it has a backbone."""

    width: int
    layers: tuple[str, ...]
    feed_forward: int
    backbone: int = 0
    heads: int = 4
    kv_heads: int = 2
    kv_heads_full: int = 1
    head: int = 32
    head_full: int = 64
    window: int = 512
    vocabulary: int = 512

    def head_of(self, layer: str) -> int:
        return self.head if layer == SLIDING else self.head_full


MAIN = Shape(width=64, layers=(SLIDING,) * 5 + (FULL,), feed_forward=128)
ASSISTANT = Shape(width=32, layers=(SLIDING,) * 3 + (FULL,), feed_forward=64, backbone=MAIN.width)
MISMATCHED = {
    "wrong-backbone": replace(ASSISTANT, backbone=96),
    "wrong-heads": replace(ASSISTANT, head=64, head_full=128),
    "wrong-kv-heads": replace(ASSISTANT, kv_heads=4, kv_heads_full=2),
    "wrong-vocabulary": replace(ASSISTANT, vocabulary=256),
    "wrong-window": replace(ASSISTANT, window=256),
}


def tokens() -> dict[str, int]:
    """The vocabulary with the id of each token, in the byte alphabet of GPT-2's tokenizers."""
    names = [*SPECIAL, *byte_alphabet(), *(word.replace(" ", "Ġ") for word in WORDS)]
    names += [f"<unused{i}>" for i in range(MAIN.vocabulary - len(names))]
    return {name: place for place, name in enumerate(names)}


def byte_alphabet() -> list[str]:
    """The letter of each byte: itself where it can be seen, else the next one from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]


def tokenizer() -> dict[str, Any]:
    """What tokenizer.json holds; a word of the vocabulary is taken whole, without merges."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}  # fmt: skip
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    bos = {"id": "<bos>", "type_id": 0}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": place, "content": name, **flags, "special": True}
            for place, name in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": bos}, text],
            "pair": [{"SpecialToken": bos}, text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
        },
        "decoder": byte_level,
        "model": {"type": "BPE", "ignore_merges": True, "vocab": tokens(), "merges": []},
    }


def config(shape: Shape) -> dict[str, Any]:
    """What config.json holds, with the names of the published checkpoints."""
    text = {
        "model_type": "gemma4_text",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": len(shape.layers),
        "layer_types": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "num_global_key_value_heads": shape.kv_heads_full,
        "num_kv_shared_layers": len(shape.layers) if shape.backbone else 0,
        "head_dim": shape.head,
        "global_head_dim": shape.head_full,
        "attention_k_eq_v": True,
        "sliding_window": shape.window,
        "max_position_embeddings": CONTEXT,
        "hidden_size_per_layer_input": 0,
        "vocab_size_per_layer_input": 0,
        "final_logit_softcapping": 30.0,
        "tie_word_embeddings": True,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "bos_token_id": BOS,
    }
    if not shape.backbone:
        return {"architectures": ["Gemma4ForCausalLM"], **text, "dtype": "bfloat16"}
    return {
        "architectures": ["Gemma4AssistantForCausalLM"],
        "model_type": "gemma4_assistant",
        "backbone_hidden_size": shape.backbone,
        "use_ordered_embeddings": False,
        "tie_word_embeddings": True,
        "text_config": text,
        "dtype": "bfloat16",
    }


class Weights:
    """Collects bfloat16 tensors by name, then writes one safetensors file."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.tensors: dict[str, tuple[tuple[int, ...], bytes]] = {}

    def add(self, name: str, shape: tuple[int, ...], values: Iterable[float]) -> None:
        self.tensors[name] = shape, bfloat16(values)

    def constant(self, name: str, size: int, value: float) -> None:
        self.add(name, (size,), [value] * size)

    def noise(self, name: str, rows: int, columns: int) -> None:
        uniform, scale = self.random.random, 2 / columns**0.5
        self.add(name, (rows, columns), (scale * (uniform() - 0.5) for _ in range(rows * columns)))

    def rows(self, name: str, values: list[list[float]]) -> None:
        self.add(name, (len(values), len(values[0])), (one for row in values for one in row))

    def write(self, path: Path) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, (shape, data) in self.tensors.items():
            assert len(data) == 2 * prod(shape), name
            start, end = end, end + len(data)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        data = b"".join(data for _, data in self.tensors.values())
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def bfloat16(values: Iterable[float]) -> bytes:
    """The upper halves of the same numbers as float32."""
    single = array("f", values)
    if sys.byteorder == "big":
        single.byteswap()
    raw = single.tobytes()
    halves = bytearray(len(raw) // 2)
    halves[0::2], halves[1::2] = raw[2::4], raw[3::4]
    return bytes(halves)


def add_layers(weights: Weights, shape: Shape, norm_after: float) -> None:
    """All layers and the last norm; what a layer adds is multiplied by `norm_after`.

    An assistant has no keys and values of its own, and full attention takes its keys for values.
    """
    for place, kind in enumerate(shape.layers):
        layer, head = f"model.layers.{place}", shape.head_of(kind)
        queries = shape.heads * head
        keys = (shape.kv_heads if kind == SLIDING else shape.kv_heads_full) * head
        weights.noise(f"{layer}.self_attn.q_proj.weight", queries, shape.width)
        weights.noise(f"{layer}.self_attn.o_proj.weight", shape.width, queries)
        weights.constant(f"{layer}.self_attn.q_norm.weight", head, 1.0)
        if not shape.backbone:
            weights.noise(f"{layer}.self_attn.k_proj.weight", keys, shape.width)
            weights.constant(f"{layer}.self_attn.k_norm.weight", head, 1.0)
            if kind == SLIDING:
                weights.noise(f"{layer}.self_attn.v_proj.weight", keys, shape.width)
        weights.noise(f"{layer}.mlp.gate_proj.weight", shape.feed_forward, shape.width)
        weights.noise(f"{layer}.mlp.up_proj.weight", shape.feed_forward, shape.width)
        weights.noise(f"{layer}.mlp.down_proj.weight", shape.width, shape.feed_forward)
        weights.constant(f"{layer}.input_layernorm.weight", shape.width, 1.0)
        weights.constant(f"{layer}.pre_feedforward_layernorm.weight", shape.width, 1.0)
        weights.constant(f"{layer}.post_attention_layernorm.weight", shape.width, norm_after)
        weights.constant(f"{layer}.post_feedforward_layernorm.weight", shape.width, norm_after)
        weights.constant(f"{layer}.layer_scalar", 1, 1.0)
    weights.constant("model.norm.weight", shape.width, 1.0)


def codes() -> list[list[float]]:
    """The embedding of each token of `main`."""
    dice = random.Random("codes")
    return [dice.choices((-1.0, 1.0), k=MAIN.width) for _ in range(MAIN.vocabulary)]


def main_weights() -> Weights:
    weights = Weights("main")
    weights.rows("model.embed_tokens.weight", codes())
    add_layers(weights, MAIN, norm_after=0.0)
    return weights


def assistant_weights() -> Weights:
    """It takes the first part of the code that `main` gives it, and knows the odd ones amiss."""
    weights = Weights("assistant")
    known = [code[: ASSISTANT.width] for code in codes()]
    known[1::2] = known[3::2] + known[1:2]
    weights.rows("model.embed_tokens.weight", known)
    add_layers(weights, ASSISTANT, norm_after=0.0)
    weights.rows("pre_projection.weight", list(first_of(2 * ASSISTANT.backbone)))
    weights.noise("post_projection.weight", ASSISTANT.backbone, ASSISTANT.width)
    return weights


def first_of(width: int) -> Iterator[list[float]]:
    """A matrix that keeps as much of a vector's beginning as the assistant is wide."""
    for row in range(ASSISTANT.width):
        yield [float(column == row) for column in range(width)]


def random_assistant(name: str, shape: Shape) -> Weights:
    weights = Weights(name)
    weights.noise("model.embed_tokens.weight", shape.vocabulary, shape.width)
    add_layers(weights, shape, norm_after=1.0)
    weights.noise("pre_projection.weight", shape.width, 2 * shape.backbone)
    weights.noise("post_projection.weight", shape.backbone, shape.width)
    return weights


def write_model(folder: Path, shape: Shape, weights: Weights) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config(shape))
    weights.write(folder / "model.safetensors")


def write_tokenizer(folder: Path) -> None:
    write_json(folder / "tokenizer.json", tokenizer())
    names = {"pad_token": PAD, "eos_token": EOS, "bos_token": BOS, "unk_token": UNK}
    special = {name: SPECIAL[place] for name, place in names.items()}
    tokenizer_class = {"tokenizer_class": "PreTrainedTokenizerFast"}
    write_json(folder / "tokenizer_config.json", tokenizer_class | special)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    ends = {"eos_token_id": [EOS, END_OF_TURN], "bos_token_id": BOS, "pad_token_id": PAD}
    write_json(folder / "generation_config.json", ends | {"do_sample": False, "temperature": 0.0})


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_pairs(folder: Path) -> None:
    """Write all models, each into a folder of its name."""
    write_model(folder / "main", MAIN, main_weights())
    write_tokenizer(folder / "main")
    write_model(folder / "main-assistant", ASSISTANT, assistant_weights())
    for name, shape in MISMATCHED.items():
        write_model(folder / name, shape, random_assistant(name, shape))


if __name__ == "__main__":
    write_pairs(Path(sys.argv[1]))
