"""What is known of a model, however it was learned: read, remembered or fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from llmtp.gguf.kind import Kind
from llmtp.gguf.origin import Origin, origin_of
from llmtp.gguf.shape import TextModel

_BLOCK = re.compile(r"blk\.([0-9]{1,4})\.")

FaultRule = Literal["tensor-missing", "tensor-shape", "tensor-type", "tensor-unknown"]


@dataclass(frozen=True, slots=True)
class TensorFault:
    """One tensor that llama.cpp would not load or could not compute with."""

    rule: FaultRule
    tensor: str
    expected: str | None
    observed: str | None


@dataclass(frozen=True)
class TensorBytes:
    """Bytes of each tensor by its name."""

    by_name: Mapping[str, int]

    @cached_property
    def total(self) -> int:
        return sum(self.by_name.values())

    @property
    def token_embd(self) -> int:
        return self.by_name.get("token_embd.weight", 0)

    @property
    def output(self) -> int:
        """0 where the token embeddings are the output matrix too."""
        return self.by_name.get("output.weight", 0)


def is_expert(name: str) -> bool:
    """Is a tensor one of all experts of a layer, of which a token needs some?"""
    return "_exps" in name


def block_of(tensor: str) -> int | None:
    """The layer that a tensor belongs to by its name, if it is one's."""
    found = _BLOCK.match(tensor)
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts of one model. `text` is None for whatever is no Gemma 4 main model or assistant.

    `path` of a model that is not on this disk is `hf:OWNER/REPO@COMMIT/FILE`; its tokens may not
    have been read, and then `tokens_digest` is None. `faults` is what the tensor table lacks.
    `repackable_bytes` are matrices that the CPU back end copies into an order of its own.
    `is_published` says that no header was read, and that all sizes are estimates.
    """

    path: Path
    kind: Kind
    architecture: str | None
    name: str | None
    size_label: str | None
    quant: str | None
    file_bytes: int
    vocabulary_size: int | None
    tokens_digest: str | None
    tensor_bytes: TensorBytes
    text: TextModel | None
    target_width: int | None
    names: tuple[str, ...]
    names_parent: bool
    chats: bool
    faults: tuple[TensorFault, ...]
    repackable_bytes: int = 0
    is_published: bool = False

    @property
    def is_local(self) -> bool:
        """Is it on this disk, and not in a repository?"""
        return not str(self.path).startswith("hf:")

    @property
    def origin(self) -> Origin:
        """What the names of the file and its repository, and those in it, tell together."""
        return origin_of(
            self.path, self.kind, self.quant, self.names,
            parent=self.names_parent, chats=self.chats,
        )  # fmt: skip

    @property
    def shape(self) -> TextModel:
        """The Gemma 4 shape of a file whose architecture was checked before."""
        if self.text is None:
            raise ValueError(f"{self.path} is no Gemma 4 model but {self.kind}")
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """The fields that `check --json` shows for each file."""
        return {
            "path": str(self.path),
            "kind": self.kind.value,
            "architecture": self.architecture,
            "name": self.name,
            "size_label": self.size_label,
            "quant": self.quant,
            "file_bytes": self.file_bytes,
        }
