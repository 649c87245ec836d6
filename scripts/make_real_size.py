#!/usr/bin/env python3
"""Make a pair with headers of the 12B's size and shape, and nothing but holes behind them.

262,144 tokens, 514,906 merges, the real tensor tables: in Q4_K 7 GB to whoever reads the header,
and 40 MB on a disk that knows sparse files. No engine can say anything sensible with it.

    scripts/make_real_size.py FOLDER
"""

from __future__ import annotations

import math
import random
import struct
import sys
from array import array
from collections.abc import Callable
from pathlib import Path

from make_demo_pair import (
    ALIGNMENT,
    Shape,
    Vocabulary,
    Writer,
    gguf_string,
    make_draft,
    make_main,
)

TOKENS, MERGES = 262_144, 514_906
F32 = 0
#: Number of the type, elements and bytes of a block (ggml-common.h).
QUANTS = {"Q3_K": (11, 256, 110), "Q4_0": (2, 32, 18), "Q4_K": (12, 256, 144),
          "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "Q8_0": (8, 32, 34)}  # fmt: skip
SHAPE_12B = Shape(
    width=3840,
    draft_width=1024,
    layers=((True,) * 5 + (False,)) * 8,
    heads=16,
    kv_heads_sliding=8,
    head_sliding=256,
    head_full=512,
    feed_forward=15360,
    context=262_144,
    window=1024,
)


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
            kind, block, n_bytes = (F32, 1, 4) if len(shape) == 1 else self.quant
            size = math.prod(shape) // block * n_bytes
            dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            rows.append(gguf_string(name) + dims + struct.pack("<IQ", kind, offset))
            offset += -(-size // ALIGNMENT) * ALIGNMENT
        body = head + b"".join(self.metadata) + b"".join(rows)
        body += bytes(-len(body) % ALIGNMENT)
        with path.open("wb") as file:
            file.write(body)
            file.truncate(len(body) + offset)


def make_real_size_pair(
    folder: Path,
    seed: int = 0,
    quant: str = "Q4_K",
    draft_quant: str = "Q4_K",
    *,
    whole: bool = True,
) -> list[Path]:
    """Write main.gguf and mtp-main.gguf; another seed makes another tokenizer.

    Without the `whole` tokenizer they are written in milliseconds, and 0.6 GB smaller in Q4_K.
    """
    dice = random.Random(seed)
    letters = "etaoinshrdlcumwfgypbvk▁"

    def word(longest: int) -> str:
        return "".join(dice.choices(letters, k=dice.randint(1, longest)))

    few = len(Vocabulary([]).tokens)
    vocabulary = Vocabulary([word(10) for _ in range(TOKENS - few if whole else 8)])
    merges: list[object] = [f"{word(7)} {word(7)}" for _ in range(MERGES if whole else 2)]
    paths = [folder / "main.gguf", folder / "mtp-main.gguf"]
    make_main(vocabulary, SHAPE_12B, HollowWriter(merges, quant)).write(paths[0])
    draft_shape = Shape(**{**SHAPE_12B.__dict__, "feed_forward": 8192})
    make_draft(vocabulary, draft_shape, HollowWriter(merges, draft_quant)).write(paths[1])
    return paths


if __name__ == "__main__":
    for made in make_real_size_pair(Path(sys.argv[1])):
        print(f"{made}: {made.stat().st_size:,} bytes, {made.stat().st_blocks * 512:,} on disk")
