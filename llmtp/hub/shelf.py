"""What is on this disk of Gemma 4: models, drafters, projectors, and downloads that did not end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmtp.errors import BadFileError, LlmtpError
from llmtp.gguf.kind import Kind
from llmtp.gguf.model import ModelFacts
from llmtp.gguf.split import part_paths
from llmtp.hub import cache, uses
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.local import load_facts
from llmtp.hub.safetensors import served_files
from llmtp.pairing import check_pair, is_compatible
from llmtp.safetensors.folder import WEIGHTS, load_folder

BROKEN, PARTIAL = "broken", "partial"
_OURS = (Kind.MAIN.value, Kind.ASSISTANT.value, Kind.FORK_ASSISTANT.value)
_ORDER = (*_OURS, Kind.MMPROJ.value, BROKEN, PARTIAL)


@dataclass(frozen=True, slots=True)
class Stored:
    """A model in the cache; `kind` is `broken` for a damaged one, `partial` for a part of one.

    `pointers` are the names of its parts, `blobs` what they stand for inside the cache, which
    other names may share. `pairs_with` are the paths of drafters here that fit a main model, and
    the other way round; `used_by` the models that ran or were pulled with it last. `outdated` is
    a file of a commit that its revision has left behind.
    """

    repository: str
    commit: str | None
    file: str
    path: Path
    kind: str
    quant: str | None
    pointers: tuple[Path, ...]
    blobs: tuple[Path, ...]
    file_bytes: int
    outdated: bool = False
    pairs_with: tuple[Path, ...] = ()
    used_by: tuple[str, ...] = ()
    used_at: float | None = None

    @property
    def is_safetensors(self) -> bool:
        """One model of a repository, with all that it needs."""
        return self.file.endswith(WEIGHTS)

    @property
    def is_unused(self) -> bool:
        return not self.used_by

    @property
    def shown(self) -> str:
        """The name for people, who do not type that of a part."""
        return f"{self.file[:12]}…" if self.kind == PARTIAL else self.file

    @property
    def places(self) -> set[str]:
        """How records of uses may call it."""
        return {uses.place(self.path), *map(str, self.blobs)}

    def to_dict(self) -> dict[str, Any]:
        return {
            "repository": self.repository,
            "commit": self.commit,
            "file": self.file,
            "path": str(self.path),
            "kind": self.kind,
            "quant": self.quant,
            "file_bytes": self.file_bytes,
            "outdated": self.outdated,
            "pairs_with": [str(path) for path in self.pairs_with],
            "used_by": list(self.used_by),
            "used_at": self.used_at,
        }


def read_shelf() -> list[Stored]:
    """Everything of Gemma 4 in the cache, by repository, kind and name.

    Raises DownloadError where the cache may not be looked into: that is not an empty one.
    """
    cache.check_readable()
    snapshots = cache.cached_repositories()
    found = [one for snapshot in snapshots for one in _models(snapshot)]
    found += [one for snapshot in snapshots for one in _safetensors(snapshot)]
    pairs = list(_pairs([facts for _, facts in found if facts is not None]))
    used = uses.read_uses()
    everything = [*(stored for stored, _ in found), *_partials()]
    known = [_with_relations(stored, pairs, used) for stored in everything]
    ours = {stored.repository for stored in known if stored.kind in _OURS}
    return sorted((stored for stored in known if _belongs(stored, ours)), key=_order)


def disk_bytes(shelf: Iterable[Stored]) -> int:
    """What these take together; a content under two names counts once."""
    total = 0
    for blob in {blob for stored in shelf for blob in stored.blobs}:
        with contextlib.suppress(OSError):
            total += blob.stat().st_size
    return total


def _order(stored: Stored) -> tuple[str, int, str, str]:
    return stored.repository, _ORDER.index(stored.kind), stored.file, stored.commit or ""


def _models(snapshot: Repository) -> Iterator[tuple[Stored, ModelFacts | None]]:
    """Every GGUF model of a commit, whoever made it; facts of those that are whole."""
    for parts in _by_model(snapshot):
        first = cache.snapshot_path(snapshot, parts[0].name)
        facts: ModelFacts | None = None
        with contextlib.suppress(LlmtpError):
            facts = load_facts(first)
        yield _stored(snapshot, parts, parts[0].name, first, facts), facts


def _safetensors(snapshot: Repository) -> Iterator[tuple[Stored, ModelFacts | None]]:
    """The safetensors of a commit, all of them one model, by the name of its first weights."""
    files = served_files(snapshot)
    weights = sorted(file.name for file in files if file.name.endswith(WEIGHTS))
    if not weights:
        return
    folder = cache.snapshot_path(snapshot, weights[0]).parent
    facts: ModelFacts | None = None
    with contextlib.suppress(LlmtpError):
        facts = load_folder(folder)
    yield _stored(snapshot, files, weights[0], folder, facts), facts


def _stored(
    snapshot: Repository,
    files: Sequence[HubFile],
    name: str,
    path: Path,
    facts: ModelFacts | None,
) -> Stored:
    """A model of these files; without facts it is broken."""
    repo_id = snapshot.name.repo_id
    current = set(cache.commits(repo_id).values())
    pointers = tuple(cache.snapshot_path(snapshot, file.name) for file in files)
    contents = (cache.content(repo_id, pointer) for pointer in pointers)
    return Stored(
        repository=repo_id,
        commit=snapshot.commit,
        file=name,
        path=path,
        kind=facts.kind.value if facts else BROKEN,
        quant=facts.quant if facts else None,
        pointers=pointers,
        blobs=tuple(content for content in contents if content is not None),
        file_bytes=sum(file.size for file in files),
        outdated=bool(current) and snapshot.commit not in current,
    )


def _by_model(snapshot: Repository) -> list[list[HubFile]]:
    """GGUF files, those of a split model together, whether all of them are here or not."""
    models: dict[Path, list[HubFile]] = {}
    for file in sorted(snapshot.files, key=lambda file: file.name):
        if file.name.lower().endswith(".gguf"):
            first = Path(file.name)
            with contextlib.suppress(BadFileError):
                first = part_paths(first)[0]
            models.setdefault(first, []).append(file)
    return list(models.values())


def _belongs(stored: Stored, ours: set[str]) -> bool:
    """Is it Gemma 4's? What a projector or a damaged file is for, its company or its name tells.

    Other programs load safetensors from there, too: only those that llmtp brought or used are ours.
    """
    if stored.is_safetensors:
        return bool(stored.used_by)
    if stored.kind in (Kind.MMPROJ, BROKEN):
        named = "gemma-4" in f"{stored.repository}/{stored.file}".lower()
        return named or bool(stored.used_by) or stored.repository in ours
    return stored.kind in (*_OURS, PARTIAL)


def _pairs(known: Sequence[ModelFacts]) -> Iterator[tuple[Path, Path]]:
    """Each with each, in both orders."""
    for main in known:
        for draft in known:
            if (main.kind, draft.kind) == (Kind.MAIN, Kind.ASSISTANT) and is_compatible(
                check_pair(main, draft)
            ):
                yield main.path, draft.path
                yield draft.path, main.path


def _with_relations(
    stored: Stored, pairs: Sequence[tuple[Path, Path]], used: Sequence[uses.Use]
) -> Stored:
    places = stored.places
    mine = [use for use in used if not places.isdisjoint(use.files)]
    return replace(
        stored,
        pairs_with=tuple(other for one, other in pairs if one == stored.path),
        used_by=tuple(use.model for use in mine),
        used_at=max((use.at for use in mine), default=None),
    )


def _partials() -> Iterator[Stored]:
    for part in cache.partials():
        with contextlib.suppress(OSError):  # that download has just ended
            yield Stored(
                repository=cache.repository_of(part.parent.parent),
                commit=None,
                file=part.name,
                path=part,
                kind=PARTIAL,
                quant=None,
                pointers=(part,),
                blobs=(part.resolve(),) if cache.is_inside(part) else (),
                file_bytes=part.stat().st_size,
            )
