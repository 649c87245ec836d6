"""The pairs by their files alone, which no vLLM is needed for."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
from pairs import ASSISTANT, MAIN, MISMATCHED, SPECIAL, byte_alphabet, codes, tokens, write_pairs


def config(folder: Path) -> dict[str, Any]:
    value = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def different(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    return {name for name in one | other if one.get(name) != other.get(name)}


def test_main_and_its_assistant_fit(vllm_pairs: Path) -> None:
    main, assistant = config(vllm_pairs / "main"), config(vllm_pairs / "main-assistant")
    assert (main["model_type"], assistant["model_type"]) == ("gemma4_text", "gemma4_assistant")
    assert assistant["backbone_hidden_size"] == main["hidden_size"]
    own = {"hidden_size", "intermediate_size", "num_hidden_layers", "num_kv_shared_layers",
           "layer_types", "architectures", "dtype"}  # fmt: skip
    assert different(assistant["text_config"], main) == own


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("wrong-backbone", {"backbone_hidden_size"}),
        ("wrong-heads", {"head_dim", "global_head_dim"}),
        ("wrong-kv-heads", {"num_key_value_heads", "num_global_key_value_heads"}),
        ("wrong-vocabulary", {"vocab_size"}),
        ("wrong-window", {"sliding_window"}),
    ],
)
def test_each_mismatch_is_the_one_of_its_name(vllm_pairs: Path, name: str, wrong: set[str]) -> None:
    right, mismatched = config(vllm_pairs / "main-assistant"), config(vllm_pairs / name)
    inside = different(right["text_config"], mismatched["text_config"])
    assert different(right, mismatched) - {"text_config"} | inside == wrong


def test_the_same_bytes_on_every_run(vllm_pairs: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2 * (2 + len(MISMATCHED)) + 4
    for file in files:
        assert (tmp_path / file).read_bytes() == (vllm_pairs / file).read_bytes(), file


def test_words_are_tokens_of_their_kind() -> None:
    ids = tokens()
    assert [ids[word] % 2 for word in ("Ġeven", "even", "Ġodd", "odd")] == [0, 0, 1, 1]
    assert list(ids)[: len(SPECIAL)] == list(SPECIAL)
    assert len(set(byte_alphabet())) == 256
    assert len(ids) == MAIN.vocabulary


def test_no_code_is_as_close_to_another_as_to_itself() -> None:
    for width in (MAIN.width, ASSISTANT.width):
        parts = [tuple(code[:width]) for code in codes()]
        assert len(set(parts)) == len(parts)


@pytest.mark.parametrize("name", ["main", "main-assistant", *MISMATCHED])
def test_tensors_fill_their_file(vllm_pairs: Path, name: str) -> None:
    raw = (vllm_pairs / name / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    end = 0
    for key, tensor in header.items():
        if key != "__metadata__":
            assert tensor["data_offsets"] == [end, end + 2 * prod(tensor["shape"])], key
            end = tensor["data_offsets"][1]
    assert start + end == len(raw)
