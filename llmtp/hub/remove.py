"""Files of the cache that are to go: found by what a user calls them, deleted as a whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from llmtp.errors import NotFoundError, UsageError
from llmtp.hub import cache, uses
from llmtp.hub.download import disk_error
from llmtp.hub.shelf import Stored, disk_bytes
from llmtp.hubname import PREFIX, parse_hub_name
from llmtp.profiles import load_profile, profile_names
from llmtp.text import clean, near_names


def find_stored(shelf: Sequence[Stored], what: str) -> list[Stored]:
    """What a model, a repository, a file or a path means; raises NotFoundError with near names."""
    if what.startswith(PREFIX):
        name = parse_hub_name(what)
        found = [s for s in shelf if s.repository == name.repo_id and _in_quant(s, name.quant)]
    else:
        found = [s for s in shelf if what in s.used_by or what in (s.file, s.path.name)]
        found = found or [s for s in shelf if str(s.path) == os.path.abspath(what)]  # noqa: PTH100 - resolve follows links
        found = found or _of_profile(shelf, what)
    if found:
        return found
    names = {name for s in shelf for name in (*s.used_by, s.path.name, PREFIX + s.repository)}
    raise NotFoundError(
        f"nothing of {clean(what, 120)} is on this disk",
        rule="not-on-disk",
        fix=near_names(clean(what, 120), names) or "see what is there: llmtp list",
    )


def remove(stored: Sequence[Stored]) -> int:
    """Delete files, and what is empty without them; returns the bytes that are free again.

    A content that another name needs stays. Raises DownloadError where the disk does not let us,
    UsageError where something is being downloaded at this moment.
    """
    before = disk_bytes(stored)
    with contextlib.ExitStack() as locks:
        for one in stored:
            for blob in one.blobs:
                locks.enter_context(_unlocked(one.repository, blob))
        try:
            for one in stored:
                _remove(one)
        except OSError as error:
            raise disk_error(error, cache.repository_folder(stored[0].repository)) from error
    uses.forget([str(one.path) for one in stored])
    return before - disk_bytes(stored)


def _remove(one: Stored) -> None:
    folder = cache.repository_folder(one.repository)
    if one.commit is None:
        one.path.unlink(missing_ok=True)
        one.path.with_suffix(".etag").unlink(missing_ok=True)
    else:
        snapshot = folder / "snapshots" / one.commit
        for pointer in _pointers(snapshot, one.blobs):
            pointer.unlink()
        _drop_empty(snapshot)
        needed = {pointer.resolve() for pointer in _pointers(folder / "snapshots", one.blobs)}
        for blob in one.blobs:
            if blob not in needed and blob.is_relative_to(folder.resolve()):
                blob.unlink(missing_ok=True)
        if not snapshot.exists():
            _drop_refs(folder, one.commit)
    for empty in (folder / "snapshots", folder / "blobs", folder / "refs", folder):
        _drop_empty(empty)


def _pointers(folder: Path, blobs: Sequence[Path]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.resolve() in blobs:
            yield path


def _drop_refs(folder: Path, commit: str) -> None:
    for ref in sorted((folder / "refs").rglob("*")):
        if ref.is_file() and ref.read_text(encoding="utf-8").strip() == commit:
            ref.unlink()


def _drop_empty(folder: Path) -> None:
    """Remove a folder that holds nothing but empty folders."""
    if folder.is_dir():
        for inner in sorted(folder.rglob("*"), reverse=True):
            if inner.is_dir() and not any(inner.iterdir()):
                inner.rmdir()
        if not any(folder.iterdir()):
            folder.rmdir()


@contextlib.contextmanager
def _unlocked(repo_id: str, blob: Path) -> Iterator[None]:
    """Nobody downloads this blob while we delete it."""
    sha256 = blob.name.removesuffix(cache.PARTIAL)
    path = cache.lock_path(repo_id, sha256)
    lock = FileLock(path, mode=0o664)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"a file of {repo_id} is being downloaded at this moment",
            rule="in-use",
            fix="stop that download, or wait for its end",
        ) from None
    except OSError as error:
        raise disk_error(error, path.parent) from error
    try:
        yield
    finally:
        lock.release()


def _in_quant(stored: Stored, quant: str | None) -> bool:
    return quant is None or quant.lower() in stored.file.lower()


def _of_profile(shelf: Sequence[Stored], name: str) -> list[Stored]:
    if name not in profile_names():
        return []
    sources = load_profile(name).sources
    return [
        s
        for s in shelf
        for source in sources
        if source.repository.repo_id == s.repository
        and (source.is_main(s.file) or source.is_draft(s.file) or source.is_mmproj(s.file))
    ]
