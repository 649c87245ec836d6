"""Files of the cache that are to go: found by what a user calls them, deleted as a whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from llmtp.errors import DownloadError, Finding, LlmtpError, NotFoundError, UsageError
from llmtp.gguf.kind import Kind
from llmtp.hub import cache, uses
from llmtp.hub.choose import draft_candidates, main_candidates
from llmtp.hub.safetensors import vllm_repositories
from llmtp.hub.shelf import PARTIAL, Stored, disk_bytes
from llmtp.hubname import PREFIX, HubName, parse_hub_name
from llmtp.profiles import Profile, load_profile, profile_names
from llmtp.text import clean, near_names


def find_stored(shelf: Sequence[Stored], what: str) -> list[Stored]:
    """What a repository, a file, a path or a model means; raises NotFoundError with near names.

    Of a model it is what it used last; where that is nothing, all that its profile speaks of.
    Of safetensors, which are one model a repository, the assistant that was brought goes along. Of
    a model, or a quant, drafters and projectors stay that a main model needs which stays.
    """
    if what.startswith(PREFIX):
        name = parse_hub_name(what)
        found = [
            s
            for s in shelf
            if _is_in(s, name) or (what in s.used_by and (s.is_safetensors or _is_of(s, name)))
        ]
        if name.quant is not None or any(s.is_safetensors for s in found):
            found = _without_shared(shelf, found)
    else:
        found = [s for s in shelf if what in _file_names(s)] or _at_path(shelf, what)
        if not found and not what.endswith(".gguf"):
            found = [s for s in shelf if what in s.used_by] or _of_profile(shelf, what)
            found = _without_shared(shelf, found)
    if found:
        return found
    raise NotFoundError(
        f"nothing of {clean(what, 120)} is in the cache",
        rule="not-on-disk",
        fix=near_names(clean(what, 120), _near_to(shelf, what)) or "see what is there: llmtp list",
    )


def _without_shared(shelf: Sequence[Stored], found: Sequence[Stored]) -> list[Stored]:
    mains = [s for s in shelf if s.kind == Kind.MAIN and s not in found]
    needing = {model for s in mains for model in s.used_by}
    return [s for s in found if s.kind == Kind.MAIN or needing.isdisjoint(s.used_by)]


def _near_to(shelf: Sequence[Stored], what: str) -> set[str]:
    """Names that may have been meant: none for what is known, and no whole for a part of it."""
    if what.lower() in map(str.lower, profile_names()):
        return set()
    names = {name for s in shelf for name in (*s.used_by, s.path.name, PREFIX + s.repository)}
    return {name for name in names if not what.startswith((f"{name}:", f"{name}@"))}


def removable(stored: Sequence[Stored]) -> tuple[list[Stored], list[Finding]]:
    """What can go at this moment, and why the rest of it stays."""
    busy = {repo_id for repo_id in {s.repository for s in stored} if _is_downloading(repo_id)}
    findings = [_in_use(repo_id) for repo_id in sorted(busy)]
    findings += [_outside(s) for s in stored if not cache.is_inside(s.path.parent)]
    free = [s for s in stored if s.repository not in busy and cache.is_inside(s.path.parent)]
    return free, findings


def remove(stored: Sequence[Stored]) -> int:
    """Delete files, and what is empty without them; returns the bytes that are free again.

    A content that another name needs stays. Deletes nothing and raises UsageError where one of
    them is being downloaded or lies outside of the cache; raises DownloadError where the disk
    does not let us.
    """
    outside = [_outside(one) for one in stored if not cache.is_inside(one.path.parent)]
    if outside:
        raise _refusal(outside[0])
    before = disk_bytes(stored)
    contents = {(one.repository, blob) for one in stored for blob in one.blobs}
    try:
        with contextlib.ExitStack() as locks:
            for lock, repo_id in sorted({(_lock_path(*each), each[0]) for each in contents}):
                locks.enter_context(_locked(lock, repo_id))
            for one in stored:
                _remove(one)
    except OSError as error:
        raise DownloadError(
            f"{clean(str(error.filename or 'a file'), 300)} cannot be written: {error.strerror}",
            rule="cache-not-writable",
            fix="give it to your user, or delete it as its owner",
        ) from error
    uses.forget({place for one in stored for place in one.places})
    return before - disk_bytes(stored)


def _remove(one: Stored) -> None:
    """The content goes first: without its names it would never be found again."""
    folder = cache.repository_folder(one.repository)
    names = cache.files_below(folder / "snapshots")
    needed = {os.path.realpath(name) for name in names if name not in one.pointers}
    for blob in one.blobs:
        if str(blob) not in needed:
            blob.unlink(missing_ok=True)
    for pointer in one.pointers:
        pointer.unlink(missing_ok=True)
    if one.kind == PARTIAL:
        one.path.with_suffix(".etag").unlink(missing_ok=True)
    _tidy(folder, one.commit)


def _tidy(folder: Path, commit: str | None) -> None:
    """Delete what means nothing any more: links to nothing, refs to no commit, empty folders."""
    names = cache.files_below(folder / "snapshots")
    if not any(name.exists() for name in names):
        for name in names:
            name.unlink()
    _drop_empty(folder / "snapshots")
    if commit is not None and not (folder / "snapshots" / commit).exists():
        repo_id = cache.repository_of(folder)
        for ref, points_at in cache.commits(repo_id).items():
            if points_at == commit:
                ref.unlink()
    _drop_empty(folder)


def _drop_empty(folder: Path) -> None:
    """Remove a folder that holds nothing but empty folders, or those of them that do."""
    if not folder.is_symlink():
        for inner, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                Path(inner).rmdir()


def _lock_path(repo_id: str, blob: Path) -> Path:
    return cache.lock_path(repo_id, blob.name.removesuffix(cache.PARTIAL))


@contextlib.contextmanager
def _locked(path: Path, repo_id: str) -> Iterator[None]:
    """Nobody downloads that content meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = _acquire(path)
    except Timeout:
        raise _refusal(_in_use(repo_id)) from None
    try:
        yield
    finally:
        lock.release()


def _is_downloading(repo_id: str) -> bool:
    """Does anybody fetch anything of it? No record names what is here until all of it is."""
    for path in cache.files_below(cache.lock_path(repo_id, "").parent):
        try:
            _acquire(path).release()
        except Timeout:
            return True
        except OSError:
            continue  # a lock that is not ours to take; deleting will say so
    return False


def _acquire(path: Path) -> FileLock | SoftFileLock:
    """Take a lock without waiting; raises Timeout."""
    lock: FileLock | SoftFileLock = FileLock(path, mode=0o664)
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:  # a file system without locks, as huggingface_hub has it
        lock = SoftFileLock(path)
        lock.acquire(timeout=0)
    return lock


def _in_use(repo_id: str) -> Finding:
    return Finding(
        "in-use",
        "warning",
        f"{clean(repo_id, 120)} is being downloaded at this moment: its files stay",
        fix="stop that download, or wait for its end",
    )


def _outside(stored: Stored) -> Finding:
    return Finding(
        "outside-cache",
        "warning",
        f"{clean(str(stored.path), 300)} lies outside of the cache, behind a link: it stays",
        fix="delete the file where it is, or the link to its folder",
    )


def _refusal(finding: Finding) -> LlmtpError:
    return UsageError.from_findings([replace(finding, level="error")])


def _file_names(stored: Stored) -> set[str]:
    """Of a split model those of every part."""
    return {stored.file, *(pointer.name for pointer in stored.pointers)}


def _at_path(shelf: Sequence[Stored], what: str) -> list[Stored]:
    """By the path of a part, whatever links its folders are."""
    path = uses.place(Path(what))
    return [s for s in shelf if path in {uses.place(pointer) for pointer in s.pointers}]


def _is_of(stored: Stored, name: HubName) -> bool:
    """Is it of that repository, at that revision if one is named?"""
    if stored.repository != name.repo_id:
        return False
    commit = name.revision and cache.commit_of(name.repo_id, name.revision)
    return name.revision is None or (commit is not None and commit == stored.commit)


def _is_in(stored: Stored, name: HubName) -> bool:
    """The same, in that quant by its name."""
    names, quant = [stored.file], name.quant
    named = quant is None or main_candidates(names, quant) or draft_candidates(names, quant)
    return _is_of(stored, name) and bool(named)


def _of_profile(shelf: Sequence[Stored], name: str) -> list[Stored]:
    try:
        profile = load_profile(name)
    except NotFoundError:
        return []
    return [stored for stored in shelf if _is_spoken_of(stored, profile)]


def _is_spoken_of(stored: Stored, profile: Profile) -> bool:
    named = [place for place in (profile.main, profile.draft) if isinstance(place, HubName)]
    named += vllm_repositories(profile)
    return any(_is_in(stored, place) for place in named) or any(
        _is_of(stored, source.repository)
        and (
            source.is_main(stored.file)
            or source.is_draft(stored.file)
            or source.is_mmproj(stored.file)
        )
        for source in profile.sources
    )
