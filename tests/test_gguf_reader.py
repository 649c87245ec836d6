"""The header reader: the same as the reference on good files, one clear error on any other."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path
from typing import Any

import gguf as reference
import pytest
from builders import VALUE_LAYOUTS, entry, gguf, string, tensor, text_entry
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from llmtp.errors import BadFileError, NotFoundError, UsageError
from llmtp.gguf.files import open_model
from llmtp.gguf.reader import Header, SkippedArray, read_header
from llmtp.gguf.types import TENSOR_TYPES

CRAFTED = Path(__file__).parent / "crafted"


def read(content: bytes) -> Header:
    return read_header(io.BytesIO(content), len(content), "file.gguf")


@pytest.mark.parametrize("name", ["crafted.gguf", "mtp-crafted.gguf"])
def test_agrees_with_the_reference_on_the_crafted_pair(name: str) -> None:
    path = CRAFTED / name
    ours, theirs = open_model(path).headers[0], reference.GGUFReader(path)
    for key, field in theirs.fields.items():
        if key.startswith("GGUF."):
            continue
        value: Any = field.contents()
        mine = ours.metadata[key]
        if isinstance(mine, SkippedArray):
            assert mine.count == len(value), key
        else:
            assert (list(mine) if isinstance(mine, tuple) else mine) == value, key
    assert ours.data_offset == theirs.data_offset
    assert [(t.name, t.shape, t.n_bytes, t.offset + ours.data_offset) for t in ours.tensors] == [
        (t.name, tuple(t.shape), t.n_bytes, t.data_offset) for t in theirs.tensors
    ]


def test_tensor_types_agree_with_the_reference() -> None:
    known = {int(kind): sizes for kind, sizes in reference.GGML_QUANT_SIZES.items()}
    # gguf 0.19 counts Q8_1 with two floats; ggml-common.h has two halves.
    known[9] = (32, 36)
    for number, sizes in known.items():
        assert TENSOR_TYPES[number][1:] == sizes, number


@pytest.mark.parametrize("version", [2, 3])
def test_every_value_type_is_read(version: int) -> None:
    values = {0: 200, 1: -7, 2: 65535, 3: -300, 4: 1 << 31, 5: -5, 6: 0.5, 7: True, 10: 1 << 63,
              11: -(1 << 62), 12: 0.1}  # fmt: skip
    scalars = [
        entry(f"scalar.{k}", k, struct.pack("<" + VALUE_LAYOUTS[k], v)) for k, v in values.items()
    ]
    arrays = [
        entry(f"array.{k}", 9, struct.pack("<IQ3" + VALUE_LAYOUTS[k], k, 3, v, v, v))
        for k, v in values.items()
    ]
    words = entry("words", 9, struct.pack("<IQ", 8, 2) + string("a") + string("bc"))
    header = read(gguf([*scalars, *arrays, words, text_entry("text", "häh")], version=version))
    for kind, value in values.items():
        assert header.metadata[f"scalar.{kind}"] == value
        assert header.metadata[f"array.{kind}"] == (value,) * 3
    assert header.metadata["text"] == "häh"
    assert header.metadata["words"].count == 2


def test_long_arrays_are_hashed_and_not_built() -> None:
    tokens = [f"token {i}" for i in range(50_000)]

    def content(words: list[str]) -> bytes:
        body = struct.pack("<IQ", 8, len(words)) + b"".join(map(string, words))
        return gguf([entry("tokens", 9, body), text_entry("after", "still here")])

    first, same = read(content(tokens)), read(content(tokens))
    other = read(content([*tokens[:-1], "another"]))
    assert first.metadata["tokens"] == same.metadata["tokens"]
    assert first.metadata["tokens"].count == 50_000
    assert first.metadata["tokens"].digest != other.metadata["tokens"].digest
    assert first.metadata["after"] == other.metadata["after"] == "still here"


def test_tensor_data_is_not_read() -> None:
    class Counting(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            piece = super().read(size)
            self.read_bytes += len(piece)
            return piece

    size = 64 << 20
    content = gguf([], [tensor("t", (size // 4,))]) + bytes(size)
    file = Counting(content)
    header = read_header(file, len(content), "file.gguf")
    assert header.tensors[0].n_bytes == size
    assert file.read_bytes <= 1 << 16


KEY = text_entry("k", "v")
BROKEN: dict[str, tuple[bytes, str]] = {
    "not gguf": (b"PK\x03\x04 zip", "a ZIP archive"),
    "version 1": (gguf([], version=1), "version 1"),
    "version 4": (gguf([], version=4), "version 4"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "too many keys": (gguf([], n_keys=1 << 60), "claims"),
    "too many tensors": (gguf([], n_tensors=1 << 40), "claims"),
    "keys missing": (gguf([KEY], n_keys=2), "truncated"),
    "duplicate key": (gguf([KEY, KEY]), "twice"),
    "huge string": (gguf([entry("k", 8, struct.pack("<Q", 1 << 62))]), "string of"),
    "unknown value type": (gguf([entry("k", 13, b"")]), "type 13"),
    "huge array": (gguf([entry("k", 9, struct.pack("<IQ", 4, 1 << 62))]), "claims an array"),
    "huge string array": (gguf([entry("k", 9, struct.pack("<IQ", 8, 1 << 61))]), "claims an array"),
    "nested array": (gguf([entry("k", 9, struct.pack("<IQ", 9, 1))]), "array of arrays"),
    "long word in array": (
        gguf([entry("k", 9, struct.pack("<IQQ", 8, 1, 1 << 50) + bytes(64))]),
        "string of",
    ),
    "unknown tensor type": (gguf([], [tensor("t", (32,), 4)]), "unknown type 4"),
    "five dimensions": (gguf([], [tensor("t", (1,) * 5)]), "5 dimensions"),
    "zero dimension": (gguf([], [tensor("t", (0, 4))]), "shape"),
    "overflowing shape": (gguf([], [tensor("t", (1 << 40, 1 << 40))]), "shape"),
    "broken rows": (gguf([], [tensor("t", (33,), 8)]), "rows of 33"),
    "odd offset": (gguf([], [tensor("t", (1,), offset=3)]), "offset 3"),
    "same tensor twice": (gguf([], [tensor("t", (1,))] * 2, data=bytes(4)), "tensor 't' twice"),
    "data missing": (gguf([], [tensor("t", (8,))], data=bytes(30)), "2 bytes are missing"),
    "bad alignment": (
        gguf([entry("general.alignment", 4, struct.pack("<I", 0))], [tensor("t", (1,))]),
        "alignment",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named(case: str) -> None:
    content, words = BROKEN[case]
    with pytest.raises(BadFileError, match=words):
        read(content)


@pytest.mark.soak
def test_no_damage_raises_anything_else(soak: bool, dice: random.Random) -> None:
    """Any truncation and any few overwritten bytes: one clear error, or tensors that are there."""
    whole = (CRAFTED / "mtp-crafted.gguf").read_bytes()[:40_000]

    @seed(dice.getrandbits(32))
    @settings(max_examples=20_000 if soak else 300)
    @given(st.data())
    def damage(data: st.DataObject) -> None:
        content = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
        if content:
            for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
                content[at] = data.draw(st.integers(0, 255))
        outcome = read_or_error(bytes(content))
        if isinstance(outcome, BadFileError):
            assert outcome.findings[0].message.startswith("file.gguf is ")
        else:
            ends = [outcome.data_offset + t.offset + t.n_bytes for t in outcome.tensors]
            assert max(ends, default=0) <= len(content)

    damage()


def read_or_error(content: bytes) -> Header | BadFileError:
    try:
        return read(content)
    except BadFileError as error:
        return error


def test_control_characters_of_a_file_stay_in_it() -> None:
    with pytest.raises(BadFileError) as caught:
        read(gguf([text_entry("\x1b[31mkey", "v"), text_entry("\x1b[31mkey", "v")]))
    assert "\x1b" not in str(caught.value)


def split_part(number: int, parts: int, tensor_name: str) -> bytes:
    keys = [
        entry("split.no", 2, struct.pack("<H", number)),
        entry("split.count", 2, struct.pack("<H", parts)),
    ]
    return gguf(keys, [tensor(tensor_name, (8,))], data=bytes(32))


def test_split_files_are_read_as_one(tmp_path: Path) -> None:
    for part in (1, 2, 3):
        path = tmp_path / f"m-{part:05}-of-00003.gguf"
        path.write_bytes(split_part(part - 1, 3, f"t{part}"))
    model = open_model(tmp_path / "m-00001-of-00003.gguf")
    assert [t.name for t in model.tensors] == ["t1", "t2", "t3"]
    with pytest.raises(UsageError, match="part 2 of 3"):
        open_model(tmp_path / "m-00002-of-00003.gguf")
    (tmp_path / "m-00003-of-00003.gguf").unlink()
    with pytest.raises(NotFoundError, match=r"m-00003-of-00003\.gguf"):
        open_model(tmp_path / "m-00001-of-00003.gguf")


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (split_part(0, 2, "t2"), "is not part 2 of 2"),
        (split_part(1, 5, "t2"), "is not part 2 of 2"),
        (gguf([], [tensor("t2", (8,))], data=bytes(32)), "is not part 2 of 2"),
        (split_part(1, 2, "t1"), "same tensor twice"),
    ],
    ids=["copy", "other count", "no keys", "same tensor"],
)
def test_parts_must_be_what_their_names_say(tmp_path: Path, second: bytes, words: str) -> None:
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(split_part(0, 2, "t1"))
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(second)
    with pytest.raises(BadFileError, match=words):
        open_model(tmp_path / "m-00001-of-00002.gguf")


def test_metadata_may_not_fill_the_memory() -> None:
    big = string(b"x" * (8 << 20))
    with pytest.raises(BadFileError, match="over 64 MiB of metadata"):
        read(gguf([entry(f"k{i}", 8, big) for i in range(9)]))
