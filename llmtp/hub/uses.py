"""Which model used which files last: a small file a model, in the user's state directory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from llmtp import paths
from llmtp.config import hub_cache
from llmtp.gguf.model import ModelFacts


@dataclass(frozen=True, slots=True)
class Use:
    """`model` as it was typed, its main file first; `at` is seconds since 1970."""

    model: str
    files: tuple[str, ...]
    at: float


def record(model: str, models: Sequence[ModelFacts]) -> None:
    """Remember the files of a model, the main one first, in place of those that it had before."""
    _write(_path(model), Use(model, tuple(place(facts.path) for facts in models), time.time()))


def begin(model: str, files: Sequence[Path]) -> None:
    """Remember what a model is about to get, beside what it has: neither is unused meanwhile."""
    before = next((use.files for _, use in _records() if use.model == model), ())
    new = tuple(place(file) for file in files)
    _write(_path(model), Use(model, tuple(dict.fromkeys(before + new)), time.time()))


def read_uses() -> list[Use]:
    """The last use of every model, newest first; a record that cannot be read is none."""
    return sorted((use for _, use in _records()), key=lambda use: use.at, reverse=True)


def forget(gone: Set[str]) -> None:
    """Drop files from the records, and with its main file a model: it needs the rest no more."""
    for path, use in _records():
        if use.files[0] in gone:
            with contextlib.suppress(OSError):
                path.unlink()
        elif gone & set(use.files):
            files = tuple(file for file in use.files if file not in gone)
            _write(path, Use(use.model, files, use.at))


def place(path: Path) -> str:
    """How records call a file: its name in the cache, or what a path elsewhere leads to.

    Names in the cache are links too, but two of them that share a content are two files.
    """
    named = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118 - a string
    inside = Path(named).is_relative_to(os.path.realpath(hub_cache()))
    return named if inside else os.path.realpath(path)


def _records() -> Iterator[tuple[Path, Use]]:
    for path in sorted(_folder().glob("*.json")):
        use = None
        with contextlib.suppress(
            OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError
        ):
            use = _read(path)
        if use is not None:
            yield path, use


def _read(path: Path) -> Use | None:
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    model, files, at = record["model"], record["files"], record["at"]
    texts = [model, *files] if isinstance(files, list) and files else []
    if not texts or not all(isinstance(text, str) for text in texts) or not math.isfinite(at):
        return None
    return Use(model, tuple(files), at)


def _write(path: Path, use: Use) -> None:
    record = {"model": use.model, "files": use.files, "at": use.at}
    paths.write_cache(path, json.dumps(record))


def _path(model: str) -> Path:
    name = hashlib.sha256(model.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return _folder() / f"{name}.json"


def _folder() -> Path:
    return paths.state_dir() / "uses"
