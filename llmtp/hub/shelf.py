"""What is on this disk of Gemma 4: models, drafters, projectors, and downloads that did not end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmtp.errors import BadFileError, LlmtpError
from llmtp.gguf.kind import Kind
from llmtp.gguf.model import ModelFacts
from llmtp.gguf.split import is_later_part
from llmtp.hub import cache
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.local import load_facts
from llmtp.hub.uses import Use, read_uses
from llmtp.pairing import check_pair, is_compatible

_OURS = {Kind.MAIN, Kind.ASSISTANT, Kind.FORK_ASSISTANT}


@dataclass(frozen=True, slots=True)
class Stored:
    """A model in the cache; `kind` is `broken` for a damaged one, `partial` for a part of one.

    `pairs_with` names the drafters here that fit a main model, and the other way round;
    `used_by` the models that ran or were pulled with it last. `outdated` is a file of a commit
    that no revision here points at any more.
    """

    repository: str
    commit: str | None
    file: str
    path: Path
    kind: str
    quant: str | None
    blobs: tuple[Path, ...]
    file_bytes: int
    outdated: bool = False
    pairs_with: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    used_at: float | None = None

    @property
    def is_unused(self) -> bool:
        return not self.used_by

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
            "pairs_with": list(self.pairs_with),
            "used_by": list(self.used_by),
            "used_at": self.used_at,
        }


def read_shelf() -> list[Stored]:
    """Everything of Gemma 4 in the cache, by repository and name."""
    uses = read_uses()
    known = [one for repository in cache.cached_repositories() for one in _models(repository)]
    mains = [(s, f) for s, f in known if f is not None and f.kind is Kind.MAIN]
    drafts = [(s, f) for s, f in known if f is not None and f.kind is Kind.ASSISTANT]
    pairs = [(m, d) for m, main in mains for d, draft in drafts if _fit(main, draft)]
    shelf = [_with_relations(stored, pairs, uses) for stored, _ in known]
    return sorted([*shelf, *_partials()], key=lambda s: (s.repository, s.file, s.commit or ""))


def disk_bytes(shelf: Sequence[Stored]) -> int:
    """What these take together; a content under two names counts once."""
    blobs = {blob for stored in shelf for blob in stored.blobs}
    return sum(blob.stat().st_size for blob in blobs if blob.exists())


def _models(repository: Repository) -> Iterator[tuple[Stored, ModelFacts | None]]:
    """GGUF files that are Gemma 4's, and the projectors beside them."""
    current = repository.commit in cache.current_commits(repository.name.repo_id)
    found: list[tuple[Stored, ModelFacts | None]] = []
    for file in repository.files:
        if not file.name.lower().endswith(".gguf") or is_later_part(file.name):
            continue
        path = cache.snapshot_path(repository, file.name)
        facts: ModelFacts | None = None
        try:
            facts = load_facts(path)
            kind, quant = facts.kind.value, facts.quant
        except BadFileError:
            kind, quant = "broken", None
        except LlmtpError:
            continue
        parts = _parts(repository, file)
        blobs = tuple(cache.snapshot_path(repository, part.name).resolve() for part in parts)
        size = sum(part.size for part in parts)
        repo_id = repository.name.repo_id
        stored = Stored(
            repo_id, repository.commit, file.name, path, kind, quant, blobs, size, not current
        )
        found.append((stored, facts))
    if any(facts is not None and facts.kind in _OURS for _, facts in found):
        kept = {*_OURS, Kind.MMPROJ}
        yield from (one for one in found if one[1] is None or one[1].kind in kept)


def _parts(repository: Repository, file: HubFile) -> list[HubFile]:
    try:
        return repository.parts(file.name)
    except LlmtpError:
        return [file]


def _fit(main: ModelFacts, draft: ModelFacts) -> bool:
    return is_compatible(check_pair(main, draft))


def _with_relations(
    stored: Stored, pairs: Sequence[tuple[Stored, Stored]], uses: Sequence[Use]
) -> Stored:
    others = [d.file for m, d in pairs if m is stored] + [m.file for m, d in pairs if d is stored]
    mine = [use for use in uses if str(stored.path) in use.files]
    return replace(
        stored,
        pairs_with=tuple(dict.fromkeys(others)),
        used_by=tuple(use.model for use in mine),
        used_at=max((use.at for use in mine), default=None),
    )


def _partials() -> Iterator[Stored]:
    for part in cache.partials():
        folder = part.parent.parent.name.removeprefix(cache.MODELS)
        size = part.stat().st_size
        yield Stored(
            folder.replace("--", "/", 1), None, part.name, part, "partial", None, (part,), size
        )
