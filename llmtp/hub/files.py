"""What a repository holds, as the Hub or the cache lists it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmtp.errors import NotFoundError
from llmtp.gguf.split import part_paths
from llmtp.hubname import PREFIX, HubName
from llmtp.text import clean, near_names

_SHA256 = "sha256:"


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository; `oid` names its content wherever it lies, if the Hub tells."""

    name: str
    size: int
    oid: str | None

    @property
    def sha256(self) -> str | None:
        """Of the whole content, in hex; None where the Hub names it by something else."""
        if self.oid is None or not self.oid.startswith(_SHA256):
            return None
        return self.oid.removeprefix(_SHA256)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit. `endpoint` is the Hub that says so, or None for the cache."""

    name: HubName
    commit: str
    files: tuple[HubFile, ...]
    endpoint: str | None

    def __str__(self) -> str:
        return f"{PREFIX}{self.name.repo_id}@{self.commit[:12]}"

    @property
    def names(self) -> list[str]:
        return [file.name for file in self.files]

    def path(self, name: str) -> Path:
        """How facts call a file that is not on this disk."""
        return Path(f"{PREFIX}{self.name.repo_id}@{self.commit}") / name

    def file(self, name: str) -> HubFile:
        """The file of that name; raises NotFoundError, as for a part that was never uploaded."""
        for file in self.files:
            if file.name == name:
                return file
        if self.endpoint is None:
            raise self.not_on_disk(clean(name, 120))
        raise NotFoundError(
            f"there is no file {clean(name, 120)} in {self}",
            rule="file-not-found",
            fix=near_names(name, self.names) or "tell its owner, or use another repository",
        )

    def not_on_disk(self, what: str) -> NotFoundError:
        """The cache has some of a repository, and not that."""
        return NotFoundError(
            f"{what} of {self} is not on this disk",
            rule="not-on-disk",
            fix=f"leave out --offline, or type: llmtp pull {PREFIX}{self.name.repo_id}",
        )

    def parts(self, name: str) -> list[HubFile]:
        """All files of a model by the name of the first; one where it is not split."""
        folder, _, last = name.rpartition("/")
        parts = [path.name for path in part_paths(Path(last))]
        return [self.file(f"{folder}/{part}" if folder else part) for part in parts]
