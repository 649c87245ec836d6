"""Files that are not what they were given as: each is named for what it is, with what to do."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from builders import gguf, make_pair, tensor, text_entry
from edit import STRING, U32, Edited, edit
from harness import Cli, assert_one_clear_line
from truth import assert_says, truth

from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.pairing import check_pair

WEIGHT = tensor("t", (8,))


def number(key: str, value: int) -> bytes:
    name = key.encode()
    return struct.pack("<Q", len(name)) + name + struct.pack("<II", 4, value)


def model(architecture: str | None, *entries: bytes) -> bytes:
    keys = [] if architecture is None else [text_entry("general.architecture", architecture)]
    return gguf([*keys, *entries], [WEIGHT], data=bytes(32))


@dataclass(frozen=True)
class Odd:
    content: bytes
    is_a: str
    fix_as_main: str
    kind: str


ODD = {
    "mmproj": Odd(
        model("clip", text_entry("general.type", "mmproj")), "(mmproj)", "without mmproj", "mmproj"
    ),
    "old mmproj": Odd(model("clip"), "(mmproj)", "without mmproj", "mmproj"),
    "imatrix": Odd(
        model(None, text_entry("general.type", "imatrix")), "(imatrix)", "quantised", "imatrix"
    ),
    "imatrix without a type": Odd(
        model(None, number("imatrix.chunk_count", 9)), "(imatrix)", "quantised", "imatrix"
    ),
    "LoRA of Gemma 4": Odd(
        model("gemma4", text_entry("general.type", "adapter"), text_entry("adapter.type", "lora")),
        "a LoRA adapter",
        "-- --lora",
        "lora",
    ),
    "control vector": Odd(
        model("controlvector"), "a control vector", "that it steers", "control-vector"
    ),
    "Qwen with MTP": Odd(
        model("qwen35", number("qwen35.nextn_predict_layers", 1)),
        "a qwen35 model with MTP built in",
        "needs no drafter: llama-server -m",
        "built-in-mtp",
    ),
    "EAGLE-3": Odd(model("eagle3"), "an EAGLE-3 drafter", "Gemma 4 main model", "eagle3"),
    "DFlash": Odd(model("dflash"), "a DFlash drafter", "Gemma 4 main model", "dflash"),
    "ik fork": Odd(
        model("gemma4_mtp", number("gemma4_mtp.embedding_length_out", 3840)),
        "in the format of a fork, which llama.cpp refuses, of Gemma 4 12B",
        "Gemma 4 main model",
        "fork-assistant",
    ),
    "early conversion": Odd(
        model("gemma4_assistant"), "format of a fork", "Gemma 4 main model", "fork-assistant"
    ),
    "atomic fork": Odd(
        model(
            "gemma4-assistant", text_entry("gemma4-assistant.requires_target_arch", "gemma4")
        ),
        "format of a fork",
        "Gemma 4 main model",
        "fork-assistant",
    ),
    "tokenizer": Odd(
        gguf([text_entry("general.architecture", "gemma4")]),
        "a tokenizer without a model",
        "Gemma 4 main model",
        "tokenizer",
    ),
    "Gemma 3": Odd(model("gemma3"), "a gemma3 model", "Gemma 4 main model", "other"),
    "nothing": Odd(model(None), "a nameless model", "Gemma 4 main model", "other"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_named_in_both_places(crafted: Path, tmp_path: Path, name: str) -> None:
    odd, path = ODD[name], tmp_path / "odd.gguf"
    path.write_bytes(odd.content)
    facts = read_facts(open_model(path))
    main, draft = (
        read_facts(open_model(crafted / file)) for file in ("crafted.gguf", "mtp-crafted.gguf")
    )
    (as_main,) = check_pair(facts, draft)
    assert (as_main.rule, as_main.level) == ("main-kind", "error")
    assert "odd.gguf is " in as_main.message
    assert odd.is_a in as_main.message
    assert as_main.fix is not None
    assert odd.fix_as_main in as_main.fix
    (as_draft,) = check_pair(main, facts)
    assert (as_draft.rule, as_draft.level, facts.kind) == ("draft-kind", "error", odd.kind)
    assert odd.is_a.split(", of")[0] in as_draft.message
    assert as_draft.fix is not None
    assert "give the assistant of this model with --draft" in as_draft.fix


@pytest.mark.soak
def test_commands_say_what_an_odd_file_is(
    cli: Cli, crafted: Path, tmp_path: Path, soak: bool
) -> None:
    path = tmp_path / "odd.gguf"
    for name in ODD if soak else ("LoRA of Gemma 4", "ik fork"):
        odd = ODD[name]
        path.write_bytes(odd.content)
        as_main = cli("check", path, crafted / "mtp-crafted.gguf")
        assert (as_main.code, "rejected" in as_main.stdout) == (3, True), name
        assert_words(as_main.stderr, "odd.gguf is ", odd.is_a, odd.fix_as_main)
        as_draft = cli("check", crafted / "crafted.gguf", path, "--json")
        assert (as_draft.code, as_draft.json["data"]["draft"]["kind"]) == (3, odd.kind)
        assert [one["rule"] for one in as_draft.json["findings"]] == ["draft-kind"]
        assert_one_clear_line(cli("run", path, "--ask", "x"), 3, odd.is_a)


def test_the_width_says_which_gemma_a_drafter_belongs_to(cli: Cli, tmp_path: Path) -> None:
    main, draft = make_pair(tmp_path)
    for width, size in ((1536, "E2B"), (2560, "E4B"), (3840, "12B"), (2816, "26B-A4B"),
                        (5376, "31B")):  # fmt: skip
        edit(draft, made_for(width))
        alone = cli("check", draft)
        assert_words(alone.stderr, "is an MTP drafter", f"give its main model, a Gemma 4 {size}")
        assert f"gemma4-assistant of {size}" in alone.stdout
        wrong = cli("check", main, draft)
        assert wrong.code == 3
        assert_words(wrong.stderr, f"made for another model: Gemma 4 {size}")


def made_for(width: int) -> Callable[[Edited], object]:
    return lambda parts: parts.set("gemma4-assistant.embedding_length_out", U32, width)


def assert_words(text: str, *words: str) -> None:
    for word in words:
        assert word in text, text


def test_an_engine_is_worse_off_with_them(tmp_path: Path, crafted: Path) -> None:
    """What the names spare a user: refusals that speak of something else."""
    main, draft = crafted / "crafted.gguf", crafted / "mtp-crafted.gguf"
    assert truth(draft, main).fate in ("aborts", "refuses")
    assert truth(draft, draft).fate in ("aborts", "refuses")
    assert truth(main, main).fate in ("aborts", "refuses")
    lora = tmp_path / "lora.gguf"
    lora.write_bytes(ODD["LoRA of Gemma 4"].content)
    for pair, said in (
        ((lora, draft), "key not found in model"),
        ((main, tmp_path / "none.gguf"), "No such file or directory"),
    ):
        assert_says(truth(*pair, says=said), "refuses", said)


BASE = {
    "by name": lambda parts: parts.set("general.name", STRING, "Gemma 4 12B Base"),
    "by template": lambda parts: (
        parts.set("general.name", STRING, "Gemma 4 12B"),
        parts.entries.pop("tokenizer.chat_template"),
    ),
}


@pytest.mark.parametrize("case", BASE)
def test_a_base_model_warns(cli: Cli, tmp_path: Path, case: str) -> None:
    main, _ = make_pair(tmp_path)
    edit(main, BASE[case])
    result = cli("check", main)
    assert result.code == 0
    assert_words(result.stderr, "warning:", "is a base model", "give the -it model of this size")


@pytest.mark.parametrize(
    ("file", "main_name", "draft_name", "base_model", "warns"),
    [
        ("main.gguf", "Gemma 4 12B It", "Assistant", None, False),
        ("gemma-4-12b-it-qat-UD-Q4_K_XL.gguf", "Gemma 4 12B It", "Assistant", None, False),
        ("gemma-4-12b-it-qat-UD-Q4_K_XL.gguf", "x", "x", "gemma-4-12B-it-assistant", True),
        ("gemma-4-12b-it-Q4_K_M.gguf", "x", "12B it qat-q4_0-unquantized assistant", None, True),
        ("gemma-4-12b-it-qat-Q4_K_M.gguf", "x", "12B it qat assistant", None, False),
    ],
)  # fmt: skip
def test_qat_is_told_by_names(
    cli: Cli,
    tmp_path: Path,
    file: str,
    main_name: str,
    draft_name: str,
    base_model: str | None,
    warns: bool,
) -> None:
    main, draft = make_pair(tmp_path)
    edit(main, lambda parts: parts.set("general.name", STRING, main_name))

    def name_drafter(parts: Edited) -> None:
        parts.set("general.name", STRING, draft_name)
        if base_model:
            parts.set("general.base_model.0.name", STRING, base_model)

    edit(draft, name_drafter)
    named = main.rename(tmp_path / file)
    result = cli("check", named, draft)
    assert result.code == 0
    assert ("of the QAT release and the other is not" in result.stderr) is warns


def test_qat_is_told_by_the_repository(cli: Cli, tmp_path: Path) -> None:
    """The QAT drafter has the same file name as the other; a cache keeps the repository's."""
    main, draft = make_pair(tmp_path)
    places = {}
    for repo in ("gemma-4-12B-it-qat-GGUF", "gemma-4-12b-it-GGUF"):
        places[repo] = tmp_path / f"models--unsloth--{repo}" / "snapshots" / "abc"
        places[repo].mkdir(parents=True)
        for path in (main, draft):
            (places[repo] / path.name).symlink_to(path)
    qat, plain = places.values()
    for first, second, warns in (
        (qat, qat, False),
        (plain, plain, False),
        (qat, plain, True),
        (plain, qat, True),
    ):
        result = cli("check", first / main.name, second / draft.name)
        assert result.code == 0
        assert ("of the QAT release" in result.stderr) is warns, (first, second)


def test_few_bits_warn_with_what_they_cost(cli: Cli, tmp_path: Path) -> None:
    main, draft = make_pair(tmp_path)
    edit(main, lambda parts: retype(parts, 41, 128, 18))
    edit(draft, lambda parts: retype(parts, 2, 32, 18))
    result = cli("check", main, draft, "--json")
    found = {f["rule"]: f["observed"] for f in result.json["findings"] if f["level"] == "warning"}
    assert (found["main-quant"], found["draft-quant"]) == ("Q1_0", "Q4_0")
    assert (result.code, result.json["data"]["compatible"]) == (0, True)
    assert truth(main, draft).fate == "hits"


def retype(parts: Edited, kind: int, block: int, size: int) -> None:
    """Every matrix of a layer that can, as zeros of another type: they add nothing in this pair."""
    for name, row in parts.tensors.items():
        if name.startswith("blk.") and len(row.shape) == 2 and row.shape[0] % block == 0:
            row.kind, row.data = kind, bytes(row.shape[0] // block * row.shape[1] * size)


FOREIGN = {
    "safetensors": (struct.pack("<Q", 40) + b'{"t":{"dtype":"F16"}}', "a safetensors file"),
    "PyTorch": (b"PK\x03\x04archive/data.pkl", "a ZIP archive or a PyTorch checkpoint"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a Git LFS pointer"),
    "page": (b"\n<!DOCTYPE html><html>", "a web page"),
    "JSON": (b'{"error": "Entry not found"}', "JSON text"),
    "GGML": (b"tjgg\x01\x00\x00\x00", "a GGML file from before GGUF"),
    "gzip": (b"\x1f\x8b\x08\x00", "a gzip archive"),
    "anything": (b"\x1b[31mred", "a file that starts with"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_gguf_is_named(cli: Cli, tmp_path: Path, name: str) -> None:
    content, words = FOREIGN[name]
    (tmp_path / "m.gguf").write_bytes(content)
    result = cli("check", tmp_path / "m.gguf")
    assert_one_clear_line(result, 5, f"m.gguf is {words}", "not a GGUF file")
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
def test_a_safetensors_folder_is_named(cli: Cli, tmp_path: Path, crafted: Path, file: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / file).write_text("{}")
    for args in ([tmp_path / "model"], [crafted / "crafted.gguf", tmp_path / "model"]):
        assert_one_clear_line(cli("check", *args), 3, "is a folder of safetensors", "GGUF release")
