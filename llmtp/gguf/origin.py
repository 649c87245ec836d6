"""Where a model came from, as far as its names tell: QAT or not, tuned for chat or not.

Dimensions say nothing about either, and the QAT drafter has the file name of the other one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtp.gguf.kind import Kind
from llmtp.text import clean

_PARENT_KEYS = ("general.base_model.0.name", "general.base_model.0.repo_url")
_KEYS = ("general.name", "general.basename", "general.finetune", "general.repo_url",
         "general.source.repo_url", "general.source.url", *_PARENT_KEYS)  # fmt: skip
_CACHED = re.compile(r"models--(.+)--(.+)")
_WORDS = re.compile(r"[a-z0-9]+")
_CHAT = {"it", "instruct", "chat"}
_BASE = {"base", "pt"}


@dataclass(frozen=True, slots=True)
class Origin:
    """None where nothing tells. `qat_by` names what told: a name, or the quant."""

    qat: bool | None
    qat_by: str | None
    is_base: bool


def named_in(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """What the metadata says of a model's name and descent, a text for each key that is there."""
    values = [metadata.get(key) for key in _KEYS]
    return tuple(clean(value, 200) for value in values if isinstance(value, str))


def has_parent(metadata: Mapping[str, Any]) -> bool:
    """Does the metadata name the model that this one was made from?"""
    return any(isinstance(metadata.get(key), str) for key in _PARENT_KEYS)


def origin_of(
    path: Path, kind: Kind, quant: str | None, names: tuple[str, ...], *, parent: bool, chats: bool
) -> Origin:
    """Judge the `names` in the metadata, the file's own, and its repository's.

    A repository or a base model that does not say QAT is none. A drafter in Q4_0 is one: only
    QAT releases hold them (at 55 to 60 percent of the size of Q8_0). A main model in Q4_0 may be.
    A base model says so, or has no chat template (`chats`), and is called nothing else.
    """
    repository = _repository(path)
    words = {
        word for text in (*names, path.name, repository) for word in _WORDS.findall(text.lower())
    }
    says_gemma = kind is Kind.MAIN and quant != "Q4_0" and {"gemma", "4"} <= words
    qat, by = None, None
    if "qat" in words:
        qat, by = True, "its names"
    elif kind is Kind.ASSISTANT and quant == "Q4_0":
        qat, by = True, "its quant and size: only QAT releases hold Q4_0 drafters"
    elif repository or parent or says_gemma:
        qat, by = False, "its names"
    is_base = kind is Kind.MAIN and (not chats or bool(words & _BASE)) and not words & _CHAT
    return Origin(qat, by, is_base)


def _repository(path: Path) -> str:
    """`REPO` of a path in a Hugging Face cache, or of `hf:OWNER/REPO@COMMIT/FILE`."""
    parts = path.parts
    if len(parts) > 2 and parts[0].startswith("hf:"):
        return parts[1].partition("@")[0]
    cached = [match for match in map(_CACHED.fullmatch, parts) if match]
    return cached[-1][2] if cached else ""
