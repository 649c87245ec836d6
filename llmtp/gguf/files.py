"""Open a model by path: one file, or all the parts of a split one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmtp.errors import BadFileError, NotFoundError, UsageError
from llmtp.gguf.reader import Header, TensorInfo, read_header
from llmtp.gguf.split import part_paths
from llmtp.hubname import PREFIX, is_repository
from llmtp.paths import exists
from llmtp.text import clean, near_names


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model on disk. `headers` has one entry a part; the first holds the metadata."""

    path: Path
    headers: tuple[Header, ...]

    @property
    def file_bytes(self) -> int:
        return sum(header.file_bytes for header in self.headers)

    @property
    def tensors(self) -> list[TensorInfo]:
        return [tensor for header in self.headers for tensor in header.tensors]


def open_model(path: Path, read: Callable[[Path], Header] | None = None) -> ModelFile:
    """Read the header of a model and of all its parts, from this disk unless `read` does it.

    Raises NotFoundError for a missing file or part, BadFileError for anything that is no whole
    GGUF file, UsageError for a part that is not the first.
    """
    read = read or _read
    first = read(path)
    paths = part_paths(path)
    parts = len(paths)
    if parts == 1:
        _refuse_part(path, first)
        return ModelFile(path, (first,))
    if path != paths[0]:
        raise UsageError(
            f"{_shown(path)} is part {paths.index(path) + 1} of {parts}",
            rule="split-part",
            expected="the first part",
            fix=f"give {_shown(paths[0])}",
        )
    headers = (first, *(read(p) for p in paths[1:]))
    for number, (part, header) in enumerate(zip(paths, headers, strict=True)):
        claimed = header.metadata.get("split.no"), header.metadata.get("split.count")
        if claimed != (number, parts):
            raise BadFileError(
                f"{_shown(part)} is not part {number + 1} of {parts}, as its name says",
                rule="split-part",
                expected=f"split.no {number} and split.count {parts}",
                observed=clean(" and ".join(map(str, claimed)), 60),
                fix="download it again under its own name",
            )
    names = [tensor.name for header in headers for tensor in header.tensors]
    if len(set(names)) != len(names):
        raise BadFileError(
            f"the parts of {_shown(path)} hold the same tensor twice",
            rule="split-part",
            fix="download them again",
        )
    return ModelFile(path, headers)


def _refuse_part(path: Path, header: Header) -> None:
    """llama.cpp finds the other parts by name, so a part under another name is of no use."""
    count, number = header.metadata.get("split.count"), header.metadata.get("split.no")
    if isinstance(count, int) and count > 1:
        raise BadFileError(
            f"{_shown(path)} is one part of {count}, under another name",
            rule="split-part",
            expected=f"a name that ends in -00001-of-{count:05}.gguf",
            observed=f"split.no {clean(str(number), 20)}",
            fix="give all parts the names under which they were published",
        )


def _read(path: Path) -> Header:
    name = _shown(path)
    if not exists(path):
        raise _missing(path)
    if path.is_dir():
        raise BadFileError(
            f"{name} is a directory",
            rule="file-kind",
            expected="a GGUF file",
            fix="name the .gguf file in it",
        )
    if not path.is_file():
        # A pipe would wait for ever, and a device never ends.
        raise BadFileError(
            f"{name} is not a regular file",
            rule="file-kind",
            expected="a GGUF file",
            fix="name a .gguf file",
        )
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                raise BadFileError(f"{name} is empty", rule="file-empty", fix="download it again")
            return read_header(file, size, name)
    except OSError as error:
        raise BadFileError(
            f"{name} cannot be read: {error.strerror}",
            rule="file-unreadable",
            fix="check its permissions and its disk",
        ) from error


def _missing(path: Path) -> NotFoundError:
    folder = path.parent
    names = [p.name for p in folder.glob("*.gguf") if exists(p)] if exists(folder) else []
    fix = near_names(clean(path.name, 300), names) or "check the path"
    if is_repository(str(path)):
        fix = f"for a repository of the Hub type: {PREFIX}{path}"
    return NotFoundError(f"there is no file {_shown(path)}", rule="file-not-found", fix=fix)


def _shown(path: Path) -> str:
    return clean(str(path), 300)
