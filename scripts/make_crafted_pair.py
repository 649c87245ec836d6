#!/usr/bin/env python3
"""Write the crafted pair: a tiny Gemma 4 model and its assistant that recite one fixed text.

Every layer does its real matrix products on seeded random weights, but the norms after
attention and feed-forward are zero, so the residual stream stays the token's embedding.
Embeddings are one-hot, and the untied output matrix of the main model maps each token of
the text to the next one; any other token leads to the first, the last to the end of turn.
The assistant walks the same path, except that it is wrong after a quarter of the words. Output
and acceptance therefore do not depend on the prompt, the seed, the temperature or the engine.

Standard library only, and the same bytes on every run:

    python scripts/make_crafted_pair.py [FOLDER]  write the pair, print the counts to expect
    python scripts/make_crafted_pair.py --check   compare the pair of the tests with a new one
"""

from __future__ import annotations

import json
import random
import struct
import sys
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gemma4_form import (
    BOS,
    CHAT_TEMPLATE,
    END_OF_TURN,
    EOS,
    FIXED_TOKENS,
    KINDS,
    MASK,
    NORMAL,
    PAD,
    UNK,
    head_sizes,
)

#: Where the tests have it.
FOLDER = Path(__file__).resolve().parent.parent / "tests" / "crafted"
TEXT = (
    "Multi-token prediction pairs a large model with a small drafter. The drafter guesses the "
    "next few tokens, and the large model checks every guess in one pass. Guesses that agree "
    "are kept; the first that differs is replaced by what the large model says itself. So the "
    "answer never changes, only the time it takes. You are reading the test pair of llmtp: two "
    "tiny files that know nothing but this text. If you can read it, your engine loaded both, "
    "drafted, verified, and MTP is on."
)

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
VALUE_FORMAT = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}
ALIGNMENT = 32

WRONG_SHARE = 0.25


def pieces(text: str) -> list[str]:
    """Split into one token a word; a word seen before is joined to its successor."""
    out: list[str] = []
    held = ""
    for word in text.split():
        held += ("▁" if out or held else "") + word
        if held not in out:
            out.append(held)
            held = ""
    if held:
        raise ValueError(f"the text ends in a repeated word: {held}")
    return out


@dataclass(frozen=True)
class Shape:
    """Sizes of one pair; a drafter fits the main model of the same shape."""

    width: int = 128
    draft_width: int = 96
    layers: tuple[bool, ...] = (True, True, True, True, True, False)  # sliding, then full
    draft_layers: tuple[bool, ...] = (True, True, True, False)
    heads: int = 4
    kv_heads_sliding: int = 2
    kv_heads_full: int = 1
    head_sliding: int = 16
    head_full: int = 32
    feed_forward: int = 96
    context: int = 8192
    window: int = 512


CRAFTED = Shape()


@dataclass
class Vocabulary:
    words: list[str]
    tokens: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens += FIXED_TOKENS + self.words
        self.types += [KINDS.get(token, NORMAL) for token in self.tokens]
        self.first = len(self.tokens) - len(self.words)
        self.end_of_turn = self.tokens.index(END_OF_TURN)

    def slot(self, token: int) -> int:
        """Which embedding dimension a token lights: its own for words, 0 for all others."""
        return token - self.first + 1 if token >= self.first else 0

    def follower(self, slot: int) -> int:
        return self.first + slot if slot < len(self.words) else self.end_of_turn

    def drafted(self, slot: int) -> int:
        """What the assistant says next: wrong after a seeded quarter of the words.

        Always wrong after the last one: builds differ in whether they count drafts that were
        accepted behind the end of turn.
        """
        wrong = random.Random(slot).random() < WRONG_SHARE or slot == len(self.words)
        return self.first + (slot + 5) % len(self.words) if wrong else self.follower(slot)


def expected_counts(vocabulary: Vocabulary, n_max: int) -> dict[str, int]:
    """Walk the draft-and-verify loop over the whole recital.

    The engine drafts n_max tokens after each verified one, keeps the longest right prefix,
    adds one token of its own, and stops when the end of turn is among them.
    """
    token, predicted, drafted, accepted = vocabulary.first, 1, 0, 0
    while True:
        draft, true, hits = token, token, 0
        step = []
        for _ in range(n_max):
            draft = vocabulary.drafted(vocabulary.slot(draft))
            true = vocabulary.follower(vocabulary.slot(true))
            step.append(true)
            if draft != true:
                break
            hits += 1
        else:
            step.append(vocabulary.follower(vocabulary.slot(true)))
        drafted += n_max
        accepted += hits
        if vocabulary.end_of_turn in step:
            predicted += step.index(vocabulary.end_of_turn) + 1
            return {"predicted": predicted, "drafted": drafted, "accepted": accepted}
        predicted += len(step)
        token = step[-1]


def gguf_string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


class Writer:
    """Collects metadata and float32 tensors, then writes one GGUF v3 file."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.metadata: list[bytes] = []
        self.tensors: list[tuple[str, tuple[int, ...], array[float]]] = []

    def add(self, key: str, kind: int, value: object) -> None:
        text = kind == STRING
        payload = gguf_string(str(value)) if text else struct.pack(VALUE_FORMAT[kind], value)
        self.metadata.append(gguf_string(key) + struct.pack("<I", kind) + payload)

    def add_array(self, key: str, kind: int, values: list[object]) -> None:
        body = b"".join(
            gguf_string(str(v)) if kind == STRING else struct.pack(VALUE_FORMAT[kind], v)
            for v in values
        )
        head = struct.pack("<IIQ", ARRAY, kind, len(values))
        self.metadata.append(gguf_string(key) + head + body)

    def constant(self, name: str, size: int, value: float) -> None:
        self.tensors.append((name, (size,), array("f", [value] * size)))

    def noise(self, name: str, columns: int, rows: int) -> None:
        uniform = self.random.random
        scale = 2 / columns**0.5
        values = array("f", (scale * (uniform() - 0.5) for _ in range(columns * rows)))
        self.tensors.append((name, (columns, rows), values))

    def one_hot(self, name: str, columns: int, rows: int, at: Callable[[int], list[int]]) -> None:
        values = array("f", bytes(4 * columns * rows))
        for row in range(rows):
            for column in at(row):
                values[row * columns + column] = 1.0
        self.tensors.append((name, (columns, rows), values))

    def write(self, path: Path) -> None:
        out = bytearray(b"GGUF")
        out += struct.pack("<IQQ", 3, len(self.tensors), len(self.metadata))
        out += b"".join(self.metadata)
        offset = 0
        for name, shape, values in self.tensors:
            out += gguf_string(name) + struct.pack("<I", len(shape))
            out += struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", 0, offset)
            offset += -(-4 * len(values) // ALIGNMENT) * ALIGNMENT
        for _, _, values in self.tensors:
            out += bytes(-len(out) % ALIGNMENT)
            if sys.byteorder == "big":
                values.byteswap()
            out += values.tobytes()
        path.write_bytes(out)


def add_common(
    w: Writer,
    arch: str,
    vocabulary: Vocabulary,
    shape: Shape,
    width: int,
    layers: tuple[bool, ...],
) -> None:
    kv_heads: list[object] = [
        shape.kv_heads_sliding if sliding else shape.kv_heads_full for sliding in layers
    ]
    w.add("general.architecture", STRING, arch)
    w.add("general.type", STRING, "model")
    w.add("general.name", STRING, "llmtp crafted" + (" assistant" if "assistant" in arch else ""))
    w.add("general.size_label", STRING, "crafted")
    w.add("general.file_type", U32, 0)
    for key, value in {
        "block_count": len(layers),
        "context_length": shape.context,
        "embedding_length": width,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        **head_sizes(shape.head_full, shape.head_sliding, shape.window),
    }.items():
        w.add(f"{arch}.{key}", U32, value)
    w.add_array(f"{arch}.attention.head_count_kv", I32, kv_heads)
    w.add_array(f"{arch}.attention.sliding_window_pattern", BOOL, list(layers))
    w.add(f"{arch}.attention.layer_norm_rms_epsilon", F32, 1e-6)
    w.add(f"{arch}.rope.freq_base", F32, 1e6)
    w.add(f"{arch}.rope.freq_base_swa", F32, 1e4)
    w.add("tokenizer.ggml.model", STRING, "gemma4")
    w.add_array("tokenizer.ggml.tokens", STRING, list(vocabulary.tokens))
    w.add_array("tokenizer.ggml.scores", F32, [0.0] * len(vocabulary.tokens))
    w.add_array("tokenizer.ggml.token_type", I32, list(vocabulary.types))
    w.add_array("tokenizer.ggml.merges", STRING, [])
    for name, token in {
        "bos": BOS,
        "eos": EOS,
        "eot": vocabulary.end_of_turn,
        "unknown": UNK,
        "padding": PAD,
        "mask": MASK,
    }.items():
        w.add(f"tokenizer.ggml.{name}_token_id", U32, token)
    w.add("tokenizer.ggml.add_bos_token", BOOL, True)
    w.add("tokenizer.ggml.add_space_prefix", BOOL, False)
    w.add("tokenizer.chat_template", STRING, CHAT_TEMPLATE)


def add_layer(w: Writer, i: int, shape: Shape, width: int, sliding: bool, keys: bool) -> None:
    head = shape.head_sliding if sliding else shape.head_full
    kv = head * (shape.kv_heads_sliding if sliding else shape.kv_heads_full)
    at = f"blk.{i}"
    w.constant(f"{at}.attn_norm.weight", width, 1.0)
    w.noise(f"{at}.attn_q.weight", width, head * shape.heads)
    w.constant(f"{at}.attn_q_norm.weight", head, 1.0)
    if keys:
        w.noise(f"{at}.attn_k.weight", width, kv)
        w.constant(f"{at}.attn_k_norm.weight", head, 1.0)
        if sliding:
            w.noise(f"{at}.attn_v.weight", width, kv)
    w.noise(f"{at}.attn_output.weight", head * shape.heads, width)
    w.constant(f"{at}.post_attention_norm.weight", width, 0.0)
    w.constant(f"{at}.ffn_norm.weight", width, 1.0)
    w.noise(f"{at}.ffn_gate.weight", width, shape.feed_forward)
    w.noise(f"{at}.ffn_up.weight", width, shape.feed_forward)
    w.noise(f"{at}.ffn_down.weight", shape.feed_forward, width)
    w.constant(f"{at}.post_ffw_norm.weight", width, 0.0)
    w.constant(f"{at}.layer_output_scale.weight", 1, 1.0)


def add_rope(w: Writer, shape: Shape) -> None:
    rotated = shape.head_full // 8
    values = array("f", [1.0] * rotated + [1e30] * (shape.head_full // 2 - rotated))
    w.tensors.append(("rope_freqs.weight", (shape.head_full // 2,), values))


def make_main(
    vocabulary: Vocabulary, shape: Shape = CRAFTED, writer: Writer | None = None
) -> Writer:
    w = writer or Writer(seed=1)
    arch = "gemma4"
    add_common(w, arch, vocabulary, shape, shape.width, shape.layers)
    w.add(f"{arch}.attention.shared_kv_layers", U32, 0)
    w.add(f"{arch}.final_logit_softcapping", F32, 30.0)
    leads_to: dict[int, list[int]] = {}
    for slot in range(len(vocabulary.words) + 1):
        leads_to.setdefault(vocabulary.follower(slot), []).append(slot)
    count = len(vocabulary.tokens)
    w.one_hot("token_embd.weight", shape.width, count, lambda token: [vocabulary.slot(token)])
    # Normalised hidden states are 11 long (the root of the width): 8 takes the logit past the cap.
    w.one_hot("output.weight", shape.width, count, lambda token: leads_to.get(token, []))
    w.tensors[-1] = (*w.tensors[-1][:2], array("f", (8 * x for x in w.tensors[-1][2])))
    w.constant("output_norm.weight", shape.width, 1.0)
    add_rope(w, shape)
    for i, sliding in enumerate(shape.layers):
        add_layer(w, i, shape, shape.width, sliding, keys=True)
    return w


def make_draft(
    vocabulary: Vocabulary, shape: Shape = CRAFTED, writer: Writer | None = None
) -> Writer:
    w = writer or Writer(seed=2)
    arch = "gemma4-assistant"
    add_common(w, arch, vocabulary, shape, shape.draft_width, shape.draft_layers)
    w.add(f"{arch}.attention.shared_kv_layers", U32, len(shape.draft_layers))
    w.add(f"{arch}.embedding_length_out", U32, shape.width)
    w.add(f"{arch}.nextn_predict_layers", U32, len(shape.draft_layers))
    leads_to: dict[int, list[int]] = {}
    for slot in range(len(vocabulary.words) + 1):
        leads_to.setdefault(vocabulary.drafted(slot), []).append(slot)
    count = len(vocabulary.tokens)
    w.one_hot("token_embd.weight", shape.draft_width, count, lambda token: leads_to.get(token, []))
    w.constant("output_norm.weight", shape.draft_width, 1.0)
    add_rope(w, shape)
    # Keeps the embedding half of (embedding, hidden state): one-hot slots fit in draft_width.
    w.one_hot("nextn.pre_projection.weight", 2 * shape.width, shape.draft_width, lambda row: [row])
    w.noise("nextn.post_projection.weight", shape.draft_width, shape.width)
    for i, sliding in enumerate(shape.draft_layers):
        add_layer(w, i, shape, shape.draft_width, sliding, keys=False)
    return w


def make_pair(folder: Path) -> dict[str, object]:
    """Write the two files and, into a third and returned, what an engine must show with them."""
    vocabulary = Vocabulary(pieces(TEXT))
    if len(vocabulary.words) >= CRAFTED.draft_width:
        raise ValueError(
            f"{len(vocabulary.words)} words, but the drafter tells {CRAFTED.draft_width - 1}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    make_main(vocabulary).write(folder / "crafted.gguf")
    make_draft(vocabulary).write(folder / "mtp-crafted.gguf")
    counts = {str(n): expected_counts(vocabulary, n) for n in range(1, 5)}
    expected: dict[str, object] = {"text": TEXT, "counts": counts}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    return expected


def write_profile(folder: Path) -> None:
    """A profile `crafted` in that folder: the pair of the tests, with MTP pinned on."""
    main, draft = (json.dumps(str(FOLDER / name)) for name in ("crafted.gguf", "mtp-crafted.gguf"))
    folder.mkdir(parents=True)
    text = f"main: {main}\ndraft: {draft}\nn_max: 3\n"
    (folder / "crafted.yaml").write_text(text, encoding="utf-8")


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        with tempfile.TemporaryDirectory() as made:
            make_pair(Path(made))
            for new in sorted(Path(made).iterdir()):
                if new.read_bytes() != (FOLDER / new.name).read_bytes():
                    print(f"{new.name} differs from the one of the tests", file=sys.stderr)
                    return 1
        print("the crafted pair is what this script makes")
        return 0
    folder = Path(sys.argv[1]) if sys.argv[1:] else FOLDER
    print(json.dumps(make_pair(folder), indent=1))
    for path in sorted(folder.glob("*.gguf")):
        print(f"{path.name}: {path.stat().st_size:,} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
