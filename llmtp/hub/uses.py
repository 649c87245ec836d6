"""Which model used which files last: a small file a model, in the user's state directory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmtp import paths
from llmtp.gguf.model import ModelFacts
from llmtp.text import clean


@dataclass(frozen=True, slots=True)
class Use:
    """`model` as it was typed; `at` is seconds since 1970."""

    model: str
    files: tuple[str, ...]
    at: float


def record(model: str, models: Sequence[ModelFacts]) -> None:
    """Remember the files of a model in place of those that it had before."""
    files = [str(facts.path.absolute()) for facts in models]
    text = json.dumps({"model": model, "files": files, "at": time.time()})
    paths.write_cache(_folder() / f"{hashlib.sha256(model.encode()).hexdigest()[:32]}.json", text)


def read_uses() -> list[Use]:
    """The last use of every model, newest first; a record that cannot be read is none."""
    uses = []
    for path in _folder().glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_text(encoding="utf-8"))
            files = tuple(str(file) for file in record["files"])
            uses.append(Use(clean(str(record["model"]), 120), files, float(record["at"])))
    return sorted(uses, key=lambda use: use.at, reverse=True)


def _folder() -> Path:
    return paths.state_dir() / "uses"


def forget(files: Sequence[str]) -> None:
    """Drop the records of models that lost one of their files."""
    for path in _folder().glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_text(encoding="utf-8"))
            if set(record["files"]) & set(files):
                path.unlink()
