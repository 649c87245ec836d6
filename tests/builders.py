"""GGUF files that tests need: small, odd or deliberately broken."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from make_crafted_pair import (
    CRAFTED,
    FOLDER,
    TEXT,
    Shape,
    Vocabulary,
    make_draft,
    make_main,
    pieces,
)
from make_real_size import HollowWriter

from llmtp.errors import Finding
from llmtp.machine.identity import ProcessId
from llmtp.server.entry import Entry
from llmtp.server.life import State

VALUE_LAYOUTS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
                 12: "d"}  # fmt: skip


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, kind: int, payload: bytes) -> bytes:
    return string(key) + struct.pack("<I", kind) + payload


def text_entry(key: str, value: str) -> bytes:
    return entry(key, 8, string(value))


def gguf(
    entries: list[bytes],
    tensors: list[bytes] | None = None,
    *,
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
    data: bytes = b"",
) -> bytes:
    """A file from raw entries; the counts can be made to lie."""
    rows = tensors or []
    head = b"GGUF" + struct.pack(
        "<IQQ",
        version,
        len(rows) if n_tensors is None else n_tensors,
        len(entries) if n_keys is None else n_keys,
    )
    body = head + b"".join(entries) + b"".join(rows)
    return body + bytes(-len(body) % 32) + data if rows else body


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return string(name) + dims + struct.pack("<IQ", kind, offset)


def make_pair(folder: Path, main: Shape | None = None, draft: Shape | None = None) -> list[Path]:
    """A main model and a drafter of any two shapes, real enough for the engine to load."""
    paths = [folder / "main.gguf", folder / "mtp-main.gguf"]
    shapes = (main or CRAFTED, draft or main or CRAFTED)
    if shapes == (CRAFTED, CRAFTED):  # as they lie here, so that they need not be made anew
        for name, path in zip(("crafted.gguf", "mtp-crafted.gguf"), paths, strict=True):
            shutil.copyfile(FOLDER / name, path)
        return paths
    vocabulary = Vocabulary(pieces(TEXT))
    make_main(vocabulary, shapes[0]).write(paths[0])
    make_draft(vocabulary, shapes[1]).write(paths[1])
    return paths


def make_huge_main(path: Path, data_bytes: int) -> None:
    """A sparse main model that has about so many bytes of weights, as holes."""
    layers = len(CRAFTED.layers)
    wide = data_bytes * 256 // 144 // (layers * 3 * 256) // 256 * 256
    shape = Shape(width=256, head_sliding=64, head_full=64, feed_forward=wide)
    make_main(Vocabulary(pieces(TEXT)), shape, HollowWriter([])).write(path)


def make_pair_that_attends(folder: Path, main: Shape, draft: Shape) -> list[Path]:
    """A pair whose drafter is right only while it reads the K and V of the main model rightly.

    The values of each head in the last two layers are zero but for one dimension, which depends
    on the shape, and which the output matrix of the drafter's heads ignores. Any other reading of
    that memory meets a value where it expects zero, and drowns the drafter in noise.
    """
    from edit import Edited, edit  # it needs numpy and the reference reader

    paths = make_pair(folder, main, draft)

    def lit(shape: Shape, sliding: bool, number: int) -> tuple[int, int]:
        """Size of a KV head, and its one dimension that is not zero."""
        head = shape.head_sliding if sliding else shape.head_full
        kv_heads = shape.kv_heads_sliding if sliding else shape.kv_heads_full
        return head, head.bit_length() - 1 + kv_heads + number

    def constant_values(parts: Edited) -> None:
        for layer in (-2, -1):
            sliding = main.layers[layer]
            name = f"blk.{len(main.layers) + layer}.attn_{'v' if sliding else 'k'}.weight"
            values = parts.tensors[name].array
            values[:] = 0
            for number in range(main.kv_heads_sliding if sliding else main.kv_heads_full):
                head, dimension = lit(main, sliding, number)
                values[number * head + dimension] = 1
            parts.tensors[name].array = values

    def ignore_them(parts: Edited) -> None:
        for layer, sliding in enumerate(draft.draft_layers):
            name = f"blk.{layer}.attn_output.weight"
            group = draft.heads // (draft.kv_heads_sliding if sliding else draft.kv_heads_full)
            output = parts.tensors[name].array
            for number in range(draft.heads):
                head, dimension = lit(draft, sliding, number // group)
                output[:, number * head + dimension] = 0
            parts.tensors[name].array = output
            norm = parts.tensors[f"blk.{layer}.post_attention_norm.weight"]
            norm.array = norm.array + 100

    edit(paths[0], constant_values)
    edit(paths[1], ignore_them)
    return paths


class AlwaysWrong(Vocabulary):
    def drafted(self, slot: int) -> int:
        return self.first + (slot + 5) % len(self.words)


def make_pair_that_never_hits(folder: Path) -> Path:
    """A pair that passes every check of its headers, with a drafter that is never right."""
    main, draft = make_pair(folder)
    make_draft(AlwaysWrong(pieces(TEXT))).write(draft)
    return main


#: What a registry keeps of a server that runs.
ENTRY = Entry(
    id="crafted-2",
    llmtp=ProcessId(7, "boot 1"),
    server=ProcessId(8, "boot 2"),
    state=State.READY,
    model="crafted",
    url="http://[::1]:8080",
    started_at=1.5,
    restarts=1,
    mtp=True,
    n_max=3,
    detached=True,
    log=Path("/state/crafted.log"),
    api_key_file=Path("/state/crafted.key"),
    key_is_made=True,
    wanted="0123",
    plan={"ctx_size": 8192},
    findings=(Finding("x", "error", "y"),),
)
