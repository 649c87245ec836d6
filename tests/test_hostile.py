"""Files from elsewhere: equal to the reference where they are good, one clear error where not."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as reference
import numpy
import pytest
from builders import entry, gguf, string, tensor, text_entry
from edit import STRING, U32, Edited, edit, load
from harness import REAL_SIZE, Cli, assert_one_clear_line
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from truth import truth

from llmtp.errors import BadFileError
from llmtp.gguf.facts import TOKENS
from llmtp.gguf.files import open_model
from llmtp.gguf.reader import Header, SkippedArray, iter_strings, read_header
from llmtp.gguf.types import TENSOR_TYPES

ROOT = Path(__file__).resolve().parent.parent


def read(content: bytes) -> Header:
    return read_header(io.BytesIO(content), len(content), "file.gguf")


ALIGNED = [tensor("a", (8,)), tensor("b", (8,), offset=32)]
BROKEN: dict[str, tuple[bytes, str]] = {
    "key without a name": (gguf([text_entry("", "v")]), "without a name"),
    "long tensor name": (gguf([], [tensor("n" * 64, (1,))], data=bytes(4)), "string of 64 bytes"),
    "overlapping tensors": (
        gguf([], [tensor("a", (8,)), tensor("b", (8,))], data=bytes(64)),
        "'b' at offset 0",
    ),
    "gap between tensors": (
        gguf([], [tensor("a", (8,)), tensor("b", (8,), offset=64)], data=bytes(96)),
        "'b' at offset 64",
    ),
    "tensors in another order": (gguf([], ALIGNED[::-1], data=bytes(64)), "'b' at offset 32"),
    "alignment of 24": (
        gguf([entry("general.alignment", 4, struct.pack("<I", 24))], [tensor("t", (1,))]),
        "alignment 24",
    ),
    "alignment as text": (gguf([text_entry("general.alignment", "32")]), "of type STRING"),
    "alignment of 8 bytes": (
        gguf([entry("general.alignment", 10, struct.pack("<Q", 32))]),
        "of type UINT64",
    ),
    "big-endian version 2": (b"GGUF" + struct.pack(">IQQ", 2, 0, 0), "big-endian"),
    "array of unknown type": (gguf([entry("k", 9, struct.pack("<IQ", 99, 1))]), "type 99"),
    "array cut short": (
        gguf([entry("k", 9, struct.pack("<IQ", 8, 2) + string("a") + struct.pack("<Q", 9))]),
        "truncated",
    ),
    "numbers cut short": (gguf([entry("k", 9, struct.pack("<IQ", 4, 9999))]), "claims an array"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named(case: str) -> None:
    content, words = BROKEN[case]
    with pytest.raises(BadFileError, match=words):
        read(content)


def rename(parts: Edited) -> None:
    parts.tensors["n" * 64 + ".weight"] = parts.tensors.pop("output_norm.weight")


def misplace(path: Path) -> None:
    """Move the second tensor of a file by one step of alignment."""
    content = bytearray(path.read_bytes())
    first, second = reference.GGUFReader(path).tensors[:2]
    at = second.field.offset + sum(part.nbytes for part in second.field.parts[:-1])
    (offset,) = struct.unpack_from("<Q", content, at)
    assert offset == second.data_offset - first.data_offset
    struct.pack_into("<Q", content, at, offset + 32)
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "long tensor name": lambda path: edit(path, rename),
    "key without a name": lambda path: edit(path, lambda p: p.set("", U32, 1)),
    "alignment of 24": lambda path: edit(path, lambda p: p.set("general.alignment", U32, 24)),
    "alignment as text": lambda path: edit(
        path, lambda p: p.set("general.alignment", STRING, "32")
    ),
    "misplaced tensor": misplace,
    "version 1": lambda path: path.write_bytes(b"GGUF\x01" + path.read_bytes()[5:]),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "nested array": lambda path: edit(
        path, lambda p: p.entries.update(k=struct.pack("<IIQ", 9, 9, 0))
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_header_that_is_refused_is_refused_by_the_engine(
    cli: Cli, crafted: Path, tmp_path: Path, name: str
) -> None:
    copy = tmp_path / "m.gguf"
    copy.write_bytes((crafted / "crafted.gguf").read_bytes())
    DAMAGE[name](copy)
    assert_one_clear_line(cli("check", copy, crafted / "mtp-crafted.gguf"), 5, "m.gguf")
    assert truth(copy, crafted / "mtp-crafted.gguf").fate in ("refuses", "aborts")


NUMBERS = {
    "uint8": st.integers(0, 2**8 - 1), "int8": st.integers(-(2**7), 2**7 - 1),
    "uint16": st.integers(0, 2**16 - 1), "int16": st.integers(-(2**15), 2**15 - 1),
    "uint32": st.integers(0, 2**32 - 1), "int32": st.integers(-(2**31), 2**31 - 1),
    "uint64": st.integers(0, 2**64 - 1), "int64": st.integers(-(2**63), 2**63 - 1),
    "float32": st.floats(width=32, allow_nan=False), "float64": st.floats(allow_nan=False),
    "bool": st.booleans(),
}  # fmt: skip
VALUES = st.one_of(
    *(st.tuples(st.just(kind), values) for kind, values in NUMBERS.items()),
    st.tuples(st.just("string"), st.text(max_size=40)),
    *(
        st.tuples(st.just(f"array {kind}"), st.lists(values, min_size=1, max_size=9))
        for kind, values in NUMBERS.items()
    ),
    st.tuples(st.just("array string"), st.lists(st.text(max_size=9), min_size=1, max_size=9)),
)
QUANTS = [kind for kind in reference.GGML_QUANT_SIZES if int(kind) in TENSOR_TYPES
          and int(kind) != 9]  # fmt: skip


@pytest.mark.soak
def test_agrees_with_the_reference(soak: bool, dice: random.Random, tmp_path: Path) -> None:
    """Files of every value type and many shapes, written and read by the package gguf."""
    path = tmp_path / "made.gguf"

    @seed(dice.getrandbits(32))
    @settings(max_examples=2_000 if soak else 60)
    @given(
        st.dictionaries(st.text("abc.", min_size=1, max_size=9), VALUES, max_size=9),
        st.lists(
            st.tuples(st.sampled_from(QUANTS), st.lists(st.integers(1, 4), min_size=1, max_size=4)),
            max_size=6,
        ),
        st.sampled_from([None, 32, 64, 256]),
    )
    def agree(
        values: dict[str, tuple[str, Any]],
        tensors: list[tuple[Any, list[int]]],
        alignment: int | None,
    ) -> None:
        write_with_reference(path, values, tensors, alignment)
        same_as_reference(path)

    agree()


def write_with_reference(
    path: Path,
    values: dict[str, tuple[str, Any]],
    tensors: list[tuple[Any, list[int]]],
    alignment: int | None,
) -> None:
    writer = reference.GGUFWriter(path, "gemma4")
    if alignment:
        writer.add_custom_alignment(alignment)
    for key, (kind, value) in values.items():
        if kind.startswith("array "):
            element = reference.GGUFValueType[kind.split()[1].upper()]
            writer.add_key_value(key, value, reference.GGUFValueType.ARRAY, sub_type=element)
        else:
            writer.add_key_value(key, value, reference.GGUFValueType[kind.upper()])
    for number, (quant, shape) in enumerate(tensors):
        _, block_bytes = reference.GGML_QUANT_SIZES[quant]
        data = numpy.zeros([*shape[:-1], shape[-1] * block_bytes], dtype=numpy.uint8)
        writer.add_tensor(f"t{number}", data, raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def same_as_reference(path: Path) -> None:
    ours, theirs = open_model(path).headers[0], reference.GGUFReader(path)
    keys = [key for key in theirs.fields if not key.startswith("GGUF.")]
    assert list(ours.metadata) == keys
    for key in keys:
        value, mine = theirs.fields[key].contents(), ours.metadata[key]
        if isinstance(mine, SkippedArray):
            with path.open("rb") as file:
                words = list(iter_strings(file, path.stat().st_size, "made", key))
            assert [word.decode() for word in words] == value, key
        else:
            assert (list(mine) if isinstance(mine, tuple) else mine) == value, key
    assert [(t.name, t.shape, t.n_bytes, t.offset + ours.data_offset) for t in ours.tensors] == [
        (t.name, tuple(t.shape), t.n_bytes, t.data_offset) for t in theirs.tensors
    ]


def test_tokens_are_walked_as_the_reference_reads_them(crafted: Path) -> None:
    path = crafted / "crafted.gguf"
    with path.open("rb") as file:
        words = [w.decode() for w in iter_strings(file, path.stat().st_size, "crafted", TOKENS)]
        assert words == reference.GGUFReader(path).fields[TOKENS].contents()
        file.seek(0)
        size = path.stat().st_size
        assert list(iter_strings(file, size, "crafted", "tokenizer.ggml.scores")) == []
        file.seek(0)
        assert list(iter_strings(file, size, "crafted", "no.such.key")) == []


def test_a_long_token_is_refused_where_tokens_are_walked() -> None:
    content = gguf([entry("k", 9, struct.pack("<IQQ", 8, 1, 1 << 50) + bytes(64))])
    with pytest.raises(BadFileError, match="string of"):
        list(iter_strings(io.BytesIO(content), len(content), "file", "k"))


def test_a_file_that_shrinks_while_it_is_read() -> None:
    whole = gguf([text_entry("k", "v")], [tensor("t", (8,))], data=bytes(32))
    with pytest.raises(BadFileError, match="truncated"):
        read_header(io.BytesIO(whole[:30]), len(whole), "file.gguf")


def test_links_that_lead_in_circles(cli: Cli, crafted: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{part}-of-00002.gguf" for part in (1, 2))
    second.symlink_to(first)
    first.symlink_to(second)
    result = cli("check", first, crafted / "mtp-crafted.gguf")
    assert_one_clear_line(result, 8, "m-00001-of-00002.gguf")


def test_a_split_whose_parts_are_one_file(cli: Cli, crafted: Path, tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{part}-of-00002.gguf" for part in (1, 2))
    edited = load(crafted / "crafted.gguf")
    edited.set("split.no", U32, 0)
    edited.set("split.count", U32, 2)
    edited.write(first)
    second.symlink_to(first)
    result = cli("check", first, crafted / "mtp-crafted.gguf")
    assert_one_clear_line(result, 5, "is not part 2 of 2")
    assert truth(first, crafted / "mtp-crafted.gguf").fate in ("refuses", "aborts")


def test_a_part_under_another_name(cli: Cli, crafted: Path, tmp_path: Path) -> None:
    edited = load(crafted / "crafted.gguf")
    edited.set("split.no", U32, 0)
    edited.set("split.count", U32, 2)
    edited.write(tmp_path / "m.gguf")
    result = cli("check", tmp_path / "m.gguf", crafted / "mtp-crafted.gguf")
    assert_one_clear_line(result, 5, "one part of 2, under another name")
    assert truth(tmp_path / "m.gguf", crafted / "mtp-crafted.gguf").fate in ("refuses", "aborts")


EVIL = "\x1b]0;owned\x07\x1b[31m\u202e" + "x" * 9000


def test_strings_of_a_file_reach_nobody_raw(cli: Cli, crafted: Path, tmp_path: Path) -> None:
    main, draft = (tmp_path / name for name in ("main.gguf", "mtp-main.gguf"))
    for source, target in ((crafted / "crafted.gguf", main), (crafted / "mtp-crafted.gguf", draft)):
        target.write_bytes(source.read_bytes())

    def poison(parts: Edited) -> None:
        parts.set("general.name", STRING, EVIL)
        parts.set("general.size_label", STRING, EVIL)
        parts.tensors["\x1b[31m" + "y" * 40] = parts.tensors.pop("output_norm.weight")

    edit(main, poison)
    for args in ([], ["--json"]):
        result = cli("check", main, draft, *args)
        shown = result.stdout + result.stderr
        assert result.code == 3
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
        assert "\\u001b" not in shown
        assert "\\u202e" not in shown
        assert len(shown) < 4000


@pytest.mark.soak
@pytest.mark.fuzz
def test_the_fuzzer_finds_nothing(soak: bool, dice: random.Random) -> None:
    seconds = 600 if soak else 10
    argv = [sys.executable, str(ROOT / "scripts" / "fuzz"), "--seconds", str(seconds)]
    argv += ["--seed", str(dice.getrandbits(31))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 300)
    assert (done.returncode, "no finding" in done.stdout) == (0, True), done.stderr[-3000:]
    inputs = int(done.stdout.splitlines()[-1].split()[0])
    assert inputs > 20 * seconds


@pytest.mark.timeout(300)
def test_the_tests_reach_95_percent_of_the_branches_of_the_reader(
    tmp_path: Path, real_size: list[Path]
) -> None:
    argv = [sys.executable, "-m", "coverage", "run", "--branch", "--include=*/llmtp/gguf/*"]
    argv += [f"--data-file={tmp_path / 'data'}", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    remote = "test_remote.py::test"
    tests = ("test_gguf_reader.py", "test_hostile.py", "test_facts.py",
             f"{remote}_a_wrong_memory_of_a_length_does_no_harm[-9]",
             f"{remote}_a_wrong_memory_of_a_length_does_no_harm[4096]",
             f"{remote}_jumping_over_known_arrays_reads_some_kilobytes",
             f"{remote}_split_models_are_read_part_by_part")  # fmt: skip
    argv += [str(ROOT / "tests" / name) for name in tests]
    argv += ["-k", "broken or reference or jump or memory or walked or shrinks or split or parts "
             "or impossible or damage or hashed or fill or value_type"]  # fmt: skip
    env = os.environ | {REAL_SIZE: str(real_size[0].parent)}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=env, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    report = tmp_path / "report.json"
    data = f"--data-file={tmp_path / 'data'}"
    subprocess.run(
        [sys.executable, "-m", "coverage", "json", data, "-o", str(report)],
        check=True, capture_output=True, cwd=ROOT,
    )  # fmt: skip
    files = json.loads(report.read_text())["files"]
    (reader,) = (found for name, found in files.items() if name.endswith("gguf/reader.py"))
    total = reader["summary"]
    covered = total["covered_branches"] / total["num_branches"]
    assert covered >= 0.95, reader["missing_branches"]
