"""Open a model by path: one file, or all the parts of a split one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llmtp.errors import BadFileError, NotFoundError, UsageError
from llmtp.gguf.reader import Header, TensorInfo, read_header
from llmtp.text import clean, near_names

_PART = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf")
_MAX_PARTS = 1024


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model on disk. `headers` has one entry a part; the first holds the metadata."""

    path: Path
    paths: tuple[Path, ...]
    headers: tuple[Header, ...]

    @property
    def file_bytes(self) -> int:
        return sum(header.file_bytes for header in self.headers)

    @property
    def tensors(self) -> list[TensorInfo]:
        return [tensor for header in self.headers for tensor in header.tensors]


def open_model(path: Path) -> ModelFile:
    """Read the header of a model and of all its parts.

    Raises NotFoundError for a missing file or part, BadFileError for anything that is no whole
    GGUF file, UsageError for a part that is not the first.
    """
    first = _read(path)
    match = _PART.fullmatch(path.name)
    if match is None:
        return ModelFile(path, (path,), (first,))
    parts = int(match["parts"])
    if not 1 <= parts <= _MAX_PARTS:
        raise BadFileError(f"{_shown(path)} names {parts} parts", expected="1 to 1024 parts")
    paths = [
        path.with_name(f"{match['stem']}-{i:05}-of-{parts:05}.gguf") for i in range(1, parts + 1)
    ]
    if path != paths[0]:
        raise UsageError(
            f"{_shown(path)} is part {int(match['part'])} of {parts}",
            rule="split-part",
            expected="the first part",
            fix=f"give {_shown(paths[0])}",
        )
    claimed = first.metadata.get("split.count", parts)
    if claimed != parts:
        raise BadFileError(
            f"{_shown(path)} says that it has {claimed!r} parts, but its name says {parts}",
            rule="split-count",
            fix="download it again under its own name",
        )
    return ModelFile(path, tuple(paths), (first, *(_read(p) for p in paths[1:])))


def _read(path: Path) -> Header:
    name = _shown(path)
    if path.is_dir():
        raise BadFileError(f"{name} is a directory", rule="file-kind", expected="a GGUF file")
    if not path.exists():
        folder = path.parent
        names = [p.name for p in folder.glob("*.gguf")] if folder.is_dir() else []
        raise NotFoundError(
            f"there is no file {name}",
            rule="file-not-found",
            fix=near_names(path.name, names) or "check the path",
        )
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                raise BadFileError(f"{name} is empty", rule="file-empty", fix="download it again")
            return read_header(file, size, name)
    except OSError as error:
        raise BadFileError(
            f"{name} cannot be read: {error.strerror}", rule="file-unreadable"
        ) from error


def _shown(path: Path) -> str:
    return clean(str(path), 300)
