"""Metadata to facts: what a header says, and what is impossible."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import make_pair
from make_crafted_pair import Shape

from llmtp.errors import BadFileError
from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.gguf.model import ModelFacts


def facts(path: Path) -> ModelFacts:
    return read_facts(open_model(path))


def test_facts_of_the_crafted_main(crafted: Path) -> None:
    main = facts(crafted / "crafted.gguf")
    assert (main.architecture, main.name, main.quant) == ("gemma4", "llmtp crafted", "F32")
    shape = main.shape
    assert (shape.n_layers, shape.width, shape.window) == (6, 128, 512)
    assert shape.sliding == (True,) * 5 + (False,)
    assert shape.kv_heads == (2,) * 5 + (1,)
    assert (shape.head_full, shape.head_sliding) == (32, 16)
    assert main.tensor_bytes.token_embd == main.tensor_bytes.output
    assert main.tensor_bytes.total == sum(t.n_bytes for t in open_model(main.path).tensors)


def test_facts_of_the_crafted_drafter(crafted: Path) -> None:
    draft = facts(crafted / "mtp-crafted.gguf")
    assert draft.architecture == "gemma4-assistant"
    assert (draft.shape.width, draft.shape.target_width, draft.shape.nextn_layers) == (96, 128, 4)
    assert draft.vocabulary_size == facts(crafted / "crafted.gguf").vocabulary_size
    assert draft.tokens_digest == facts(crafted / "crafted.gguf").tokens_digest


def test_impossible_metadata_names_the_key(tmp_path: Path) -> None:
    path = make_pair(tmp_path, Shape(window=0))[0]
    with pytest.raises(BadFileError, match=r"has 0 as gemma4\.attention\.sliding_window"):
        facts(path)
