#!/usr/bin/env python3
"""Make pairs with headers of the released sizes and shapes, and nothing but holes behind them.

262,144 tokens, 514,906 merges, the real tensor tables: in Q4_K the 12B has 7 GB for whoever reads
its header, and 40 MB on a disk that knows sparse files. An engine loads them, and says nothing
sensible. Shapes are those of the published configurations.

    scripts/make_real_size.py FOLDER [SIZE]     SIZE is e2b, e4b, 12b (default), 26b-a4b or 31b
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from make_crafted_pair import (
    ALIGNMENT,
    I32,
    U32,
    Shape,
    Vocabulary,
    Writer,
    gguf_string,
    make_draft,
    make_main,
)

TOKENS, MERGES = 262_144, 514_906
F32, Q8_0 = (0, 1, 4), (8, 32, 34)
#: Number of the type, elements and bytes of a block (ggml-common.h).
QUANTS = {"Q3_K": (11, 256, 110), "Q4_0": (2, 32, 18), "Q4_K": (12, 256, 144),
          "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "Q8_0": Q8_0}  # fmt: skip


@dataclass(frozen=True)
class Size(Shape):
    """A released size: what its shape has beside that of the crafted pair.

    The last `shared_kv` layers have no keys and values of their own and, if `shared_wide`, feed
    forward twice as wide. Where `full_values`, full layers have values of their own too.
    """

    draft_heads: int = 16
    draft_feed_forward: int = 8192
    shared_kv: int = 0
    shared_wide: bool = False
    per_layer: int = 0
    full_values: bool = False
    experts: int = 0
    experts_used: int = 0
    expert_feed_forward: int = 0


def _layers(sliding: int, times: int) -> tuple[bool, ...]:
    return ((True,) * sliding + (False,)) * times


SIZES = {
    "e2b": Size(
        width=1536, draft_width=256, layers=_layers(4, 7), heads=8, kv_heads_sliding=1,
        kv_heads_full=1, head_sliding=256, head_full=512, feed_forward=6144, context=131_072,
        window=512, draft_heads=4, draft_feed_forward=2048, shared_kv=20, shared_wide=True,
        per_layer=256, full_values=True,
    ),
    "e4b": Size(
        width=2560, draft_width=256, layers=_layers(5, 7), heads=8, kv_heads_sliding=2,
        kv_heads_full=2, head_sliding=256, head_full=512, feed_forward=10240, context=131_072,
        window=512, draft_heads=4, draft_feed_forward=2048, shared_kv=18, per_layer=256,
        full_values=True,
    ),
    "12b": Size(
        width=3840, draft_width=1024, layers=_layers(5, 8), heads=16, kv_heads_sliding=8,
        kv_heads_full=1, head_sliding=256, head_full=512, feed_forward=15360, context=262_144,
        window=1024,
    ),
    "26b-a4b": Size(
        width=2816, draft_width=1024, layers=_layers(5, 5), heads=16, kv_heads_sliding=8,
        kv_heads_full=2, head_sliding=256, head_full=512, feed_forward=2112, context=262_144,
        window=1024, experts=128, experts_used=8, expert_feed_forward=704,
    ),
    "31b": Size(
        width=5376, draft_width=1024, layers=_layers(5, 10), heads=32, kv_heads_sliding=16,
        kv_heads_full=4, head_sliding=256, head_full=512, feed_forward=21504, context=262_144,
        window=1024, draft_heads=32,
    ),
}  # fmt: skip


class HollowWriter(Writer):
    """Remembers shapes instead of values; matrices are of one quant."""

    def __init__(self, merges: list[object], quant: str = "Q4_K") -> None:
        super().__init__(seed=0)
        self.merges = merges
        self.quant = QUANTS[quant]
        self.shapes: list[tuple[str, tuple[int, ...]]] = []

    def add_array(self, key: str, kind: int, values: list[object]) -> None:
        super().add_array(key, kind, self.merges if key.endswith(".merges") else values)

    def constant(self, name: str, size: int, value: float) -> None:  # noqa: ARG002 - hollow
        self.shapes.append((name, (size,)))

    def noise(self, name: str, columns: int, rows: int) -> None:
        self.shapes.append((name, (columns, rows)))

    def one_hot(self, name: str, columns: int, rows: int, at: Callable[[int], list[int]]) -> None:  # noqa: ARG002 - hollow
        self.shapes.append((name, (columns, rows)))
        self.tensors.append((name, (0,), array("f")))  # the maker scales the last tensor

    def write(self, path: Path) -> None:
        rope = [(name, shape) for name, shape, _ in self.tensors if name == "rope_freqs.weight"]
        tables = self.shapes + rope
        head = b"GGUF" + struct.pack("<IQQ", 3, len(tables), len(self.metadata))
        rows, offset = [], 0
        for name, shape in tables:
            kind, block, n_bytes = self._type_of(name, shape)
            size = math.prod(shape) // block * n_bytes
            dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            rows.append(gguf_string(name) + dims + struct.pack("<IQ", kind, offset))
            offset += -(-size // ALIGNMENT) * ALIGNMENT
        body = head + b"".join(self.metadata) + b"".join(rows)
        body += bytes(-len(body) % ALIGNMENT)
        with path.open("wb") as file:
            file.write(body)
            file.truncate(len(body) + offset)

    def _type_of(self, name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """As quantisers do: vectors and routers stay, rows that no block divides get Q8_0."""
        if len(shape) == 1 or "ffn_gate_inp" in name:
            return F32
        return self.quant if shape[0] % self.quant[1] == 0 else Q8_0


class _MainWriter(HollowWriter):
    """A main model of a released size: what its tensor table has beside that of the crafted one."""

    def __init__(self, merges: list[object], quant: str, size: Size) -> None:
        super().__init__(merges, quant)
        self.size = size
        self.n_own = len(size.layers) - size.shared_kv

    def add(self, key: str, kind: int, value: object) -> None:
        size, name = self.size, key.removeprefix("gemma4.")
        if name == "feed_forward_length" and size.shared_wide:
            wide = [size.feed_forward] * self.n_own + [2 * size.feed_forward] * size.shared_kv
            return self.add_array(key, I32, list(wide))
        own = {
            "attention.shared_kv_layers": size.shared_kv,
            "embedding_length_per_layer_input": size.per_layer,
        }
        return super().add(key, kind, own.get(name, value))

    def write(self, path: Path) -> None:
        size = self.size
        self.shapes = [entry for named in self.shapes for entry in self._as_released(*named)]
        if size.per_layer:
            every = size.per_layer * len(size.layers)
            self.noise("per_layer_token_embd.weight", every, TOKENS)
            self.noise("per_layer_model_proj.weight", size.width, every)
            self.constant("per_layer_proj_norm.weight", size.per_layer, 1.0)
        if size.experts:
            self.add("gemma4.expert_count", U32, size.experts)
            self.add("gemma4.expert_used_count", U32, size.experts_used)
            self.add("gemma4.expert_feed_forward_length", U32, size.expert_feed_forward)
        for i in range(len(size.layers)):
            self._add_to_layer(f"blk.{i}")
        super().write(path)

    def _as_released(self, name: str, shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
        """One tensor of the crafted form: left out, wider, or with its values beside it."""
        size, parts = self.size, name.split(".")
        if name == "output.weight":
            return []  # the embeddings are the output matrix
        if parts[0] != "blk":
            return [(name, shape)]
        layer = int(parts[1])
        if layer >= self.n_own:
            if parts[2] in ("attn_k", "attn_v", "attn_k_norm"):
                return []
            if parts[2] in ("ffn_gate", "ffn_up", "ffn_down") and size.shared_wide:
                wide = {size.feed_forward: 2 * size.feed_forward}
                return [(name, tuple(wide.get(length, length) for length in shape))]
        if parts[2] == "attn_k" and size.full_values and not size.layers[layer]:
            return [(name, shape), (name.replace("attn_k", "attn_v"), shape)]
        return [(name, shape)]

    def _add_to_layer(self, at: str) -> None:
        size = self.size
        if size.per_layer:
            self.noise(f"{at}.inp_gate.weight", size.width, size.per_layer)
            self.noise(f"{at}.proj.weight", size.per_layer, size.width)
            self.constant(f"{at}.post_norm.weight", size.width, 1.0)
        if size.experts:
            wide, n = size.expert_feed_forward, size.experts
            self.noise(f"{at}.ffn_gate_inp.weight", size.width, n)
            for name in ("ffn_gate_inp.scale", "pre_ffw_norm_2.weight", "post_ffw_norm_1.weight",
                         "post_ffw_norm_2.weight"):  # fmt: skip
                self.constant(f"{at}.{name}", size.width, 1.0)
            self.shapes.append((f"{at}.ffn_gate_up_exps.weight", (size.width, 2 * wide, n)))
            self.shapes.append((f"{at}.ffn_down_exps.weight", (wide, size.width, n)))


def make_real_size_pair(
    folder: Path,
    seed: int = 0,
    quant: str = "Q4_K",
    draft_quant: str = "Q4_K",
    *,
    size: str = "12b",
    whole: bool = True,
) -> list[Path]:
    """Write main.gguf and mtp-main.gguf; another seed makes another tokenizer.

    Without the `whole` tokenizer they are written in milliseconds, and 0.6 GB smaller in Q4_K.
    """
    few = len(Vocabulary([]).tokens)
    words = [f"▁{seed:x}w{number:x}" for number in range(TOKENS - few if whole else 8)]
    vocabulary = Vocabulary(words)
    merges: list[object] = [f"{seed:x}w{i % 4096:x} {i:x}" for i in range(MERGES if whole else 2)]
    paths = [folder / "main.gguf", folder / "mtp-main.gguf"]
    shape = SIZES[size]
    make_main(vocabulary, shape, _MainWriter(merges, quant, shape)).write(paths[0])
    drafts = replace(shape, heads=shape.draft_heads, feed_forward=shape.draft_feed_forward)
    make_draft(vocabulary, drafts, HollowWriter(merges, draft_quant)).write(paths[1])
    return paths


if __name__ == "__main__":
    for made in make_real_size_pair(Path(sys.argv[1]), size=(sys.argv[2:] or ["12b"])[0]):
        print(f"{made}: {made.stat().st_size:,} bytes, {made.stat().st_blocks * 512:,} on disk")
