"""What a GGUF file is, whatever it is called: told by its metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

MAIN, ASSISTANT = "gemma4", "gemma4-assistant"


class Kind(StrEnum):
    """Values are what `check --json` shows."""

    MAIN = "main"
    ASSISTANT = "assistant"
    FORK_ASSISTANT = "fork-assistant"
    BUILT_IN_MTP = "built-in-mtp"
    EAGLE3 = "eagle3"
    DFLASH = "dflash"
    MMPROJ = "mmproj"
    IMATRIX = "imatrix"
    LORA = "lora"
    CONTROL_VECTOR = "control-vector"
    TOKENIZER = "tokenizer"
    OTHER = "other"


#: `general.type`, as gguf-py and llama.cpp write it.
_BY_TYPE = {"mmproj": Kind.MMPROJ, "imatrix": Kind.IMATRIX, "adapter": Kind.LORA}
#: `general.architecture`; the underscores are those of forks and of early conversions.
_BY_ARCHITECTURE = {
    MAIN: Kind.MAIN,
    ASSISTANT: Kind.ASSISTANT,
    "gemma4_assistant": Kind.FORK_ASSISTANT,
    "gemma4_mtp": Kind.FORK_ASSISTANT,
    "eagle3": Kind.EAGLE3,
    "dflash": Kind.DFLASH,
    "clip": Kind.MMPROJ,
    "controlvector": Kind.CONTROL_VECTOR,
}


def kind_of(metadata: Mapping[str, Any], architecture: str | None, *, has_tensors: bool) -> Kind:
    """The kind of a file with this metadata."""
    declared = metadata.get("general.type")
    if isinstance(declared, str) and declared in _BY_TYPE:
        return _BY_TYPE[declared]
    if architecture is None:
        return Kind.IMATRIX if "imatrix.chunk_count" in metadata else Kind.OTHER
    kind = _BY_ARCHITECTURE.get(architecture, Kind.OTHER)
    if kind is Kind.ASSISTANT and f"{ASSISTANT}.requires_target_arch" in metadata:
        return Kind.FORK_ASSISTANT
    if kind in (Kind.MAIN, Kind.OTHER) and not has_tensors:
        return Kind.TOKENIZER
    if kind is Kind.OTHER:
        nextn = metadata.get(f"{architecture}.nextn_predict_layers")
        return Kind.BUILT_IN_MTP if isinstance(nextn, int) and nextn > 0 else Kind.OTHER
    return kind
