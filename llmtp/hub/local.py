"""Models on this disk: their facts, and the files that lie near a main model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmtp import paths
from llmtp.errors import LlmtpError, NotFoundError, PairRejectedError
from llmtp.gguf.kind import ASSISTANT, Kind
from llmtp.gguf.model import ModelFacts
from llmtp.gguf.split import part_paths
from llmtp.hub import cache
from llmtp.hub.choose import draft_candidates
from llmtp.hub.known import recall, remember
from llmtp.pairing import check_pair, is_compatible
from llmtp.profiles import Source
from llmtp.text import clean

_DRAFTERS = ("mtp", "assist")
_PROJECTORS = ("mmproj",)
#: Headers below are read faster than a record of them.
_WORTH_KEEPING_BYTES = 1 << 20
#: A file that changed so short ago may change again without another time stamp.
_SETTLED_S = 2.0


def load_facts(path: Path) -> ModelFacts:
    """Facts of the model at `path`, remembered by path, size, time and inode of its parts.

    Raises what `open_model` and `read_facts` raise, and PairRejectedError for safetensors.
    """
    if paths.exists(path / "config.json") or paths.exists(path / "model.safetensors.index.json"):
        raise PairRejectedError(
            f"{clean(str(path), 300)} is a folder of safetensors",
            rule="file-kind",
            expected="a GGUF file",
            fix="download the GGUF release of this model, or serve it with --engine vllm",
        )
    place, identity, changed_at = _identity(path)
    if identity is not None:
        known = recall(place, identity, path)
        if known is not None:
            return known
    # What is remembered needs no reader.
    from llmtp.gguf.facts import read_facts
    from llmtp.gguf.files import open_model

    model = open_model(path)
    facts = read_facts(model)
    header_bytes = sum(header.data_offset for header in model.headers)
    settled = time.time() - changed_at > _SETTLED_S
    if identity is not None and settled and header_bytes >= _WORTH_KEEPING_BYTES:
        remember(place, identity, facts)
    return facts


def find_drafter(main: ModelFacts, published: Sequence[Source]) -> ModelFacts:
    """The drafter of a main model on this disk: near it, then in the cache of the Hub.

    Names propose, headers decide. Of those near, one of the same family (QAT or not) goes before
    others; so it is in the cache. Raises NotFoundError, which names what was looked at in vain
    and where drafters for this model are `published`.
    """
    skipped: list[str] = []
    for candidates in (_near(main.path, _DRAFTERS), _in_cache()):
        found = []
        for path in candidates:
            facts = _drafter_of(main, path)
            if facts is None:
                skipped.append(path.name)
            else:
                found.append(facts)
        if found:
            return min(found, key=lambda facts: _mixes(main, facts))
    places = f"{clean(str(main.path), 300)} beside it, in MTP/, in the folder above or in the cache"
    where = next(
        (s.repository for s in published if s.draft and s.qat is bool(main.origin.qat)), ""
    )
    raise no_drafter(places, skipped, str(where))


def find_mmproj(main: ModelFacts) -> ModelFacts:
    """The vision projector that lies near a main model; raises NotFoundError."""
    for path in _near(main.path, _PROJECTORS):
        return load_facts(path)
    raise NotFoundError(
        f"there is no vision projector near {clean(str(main.path), 300)}",
        rule="no-mmproj",
        expected="a file with mmproj in its name",
        fix="name one with --mmproj PATH, or leave out --mmproj",
    )


def no_drafter(main: str, skipped: Sequence[str], where: str = "") -> NotFoundError:
    """Nothing drafts for that model; `where` is a repository that has its drafters."""
    shown = ", ".join(clean(name, 80) for name in skipped)
    return NotFoundError(
        f"there is no drafter for {main}",
        rule="no-drafter",
        expected=f"a {ASSISTANT} file that belongs to it",
        observed=f"{shown}, which it is not" if skipped else None,
        fix=f"name one: --draft {where or 'hf:OWNER/REPO or --draft PATH'} (of check it is the "
        "second argument); or run without MTP: --draft off",
    )


def _near(path: Path, hints: tuple[str, ...]) -> Iterator[Path]:
    """Files with a hint in their names beside a model, in MTP/, above it, and in MTP/ there.

    A link is followed: caches link to files that lie elsewhere.
    """
    folders = dict.fromkeys((path.absolute().parent, path.resolve().parent))
    places = [
        p for folder in folders for near in (folder, folder.parent) for p in (near, near / "MTP")
    ]
    for place in dict.fromkeys(places):
        for found in _files_in(place):
            name = found.name.lower()
            if found != path and name.endswith(".gguf") and any(hint in name for hint in hints):
                yield found


def _files_in(folder: Path) -> list[Path]:
    """Sorted; nothing where there is no folder, or none that we may look into."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _in_cache() -> Iterator[Path]:
    for repository in cache.cached_repositories():
        for name in draft_candidates(repository.names, None):
            yield cache.snapshot_path(repository, name)


def _drafter_of(main: ModelFacts, path: Path) -> ModelFacts | None:
    try:
        facts = load_facts(path)
    except LlmtpError:
        return None
    fits = facts.kind is Kind.ASSISTANT and is_compatible(check_pair(main, facts))
    return facts if fits else None


def _mixes(main: ModelFacts, draft: ModelFacts) -> bool:
    """Is one of them QAT and the other not, as far as names tell?"""
    return any(finding.rule == "qat-mix" for finding in check_pair(main, draft))


def _identity(path: Path) -> tuple[str, str | None, float]:
    """Place and identity of a model, and when it was changed last; None where it is not whole."""
    place = str(path.absolute())
    try:
        stats = [part.stat() for part in part_paths(path)]
    except (OSError, ValueError, LlmtpError):
        return place, None, 0.0
    identity = " ".join(f"{s.st_size}:{s.st_mtime_ns}:{s.st_ino}" for s in stats)
    return place, identity, max(s.st_mtime for s in stats)
