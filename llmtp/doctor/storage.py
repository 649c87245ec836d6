"""The disk of the models: room, what is damaged on it, and where llmtp writes for itself."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmtp import paths
from llmtp.config import hub_cache
from llmtp.doctor.check import Check
from llmtp.engine.command import quote
from llmtp.errors import LlmtpError
from llmtp.hub import cache
from llmtp.hub.shelf import BROKEN, PARTIAL, Stored, disk_bytes, read_shelf
from llmtp.packages import System
from llmtp.text import clean
from llmtp.units import GiB, MiB, format_bytes

#: Below this a disk is full: not even logs and downloads of headers have room.
_FULL = 64 * MiB
_ROOMY = 8 * GiB
_MOST_BROKEN = 5
#: Good for the shell in which it is typed.
_SOME_FOLDER = '"$(mktemp -d)"'


@dataclass(frozen=True, slots=True)
class Unwritable:
    """A folder that llmtp writes to, as far as it is there; `variable` names another one, and it
    `is_ours` where it is below our home."""

    folder: Path
    why: str
    variable: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """`shelf` is what is in the cache of the Hub, or why that cannot be known; `elsewhere` is a
    folder on another disk that has more room; `unwritable` are folders of ours."""

    place: Path
    free_bytes: int
    shelf: tuple[Stored, ...] = ()
    error: LlmtpError | None = None
    elsewhere: Path | None = None
    unwritable: tuple[Unwritable, ...] = ()


def read_storage() -> Storage:
    """As it is now."""
    place, free = hub_cache(), cache.free_bytes()
    shelf: tuple[Stored, ...] = ()
    error = None
    try:
        shelf = tuple(read_shelf())
    except LlmtpError as raised:
        error = raised
    elsewhere = _roomier(free) if free < _ROOMY else None
    return Storage(place, free, shelf, error, elsewhere, tuple(_unwritable()))


def storage_checks(storage: Storage, needed_bytes: int | None, system: System) -> Iterator[Check]:
    """`needed_bytes` is the download of the smallest profile that fits and is not here; None where
    there is none."""
    yield _room(storage, needed_bytes)
    yield from _cache(storage)
    for place in storage.unwritable:
        words = f"{clean(str(place.folder), 300)} cannot be written: {place.why}"
        yield Check("models", "folder", "fail", words, _writable(place, system))


def _room(storage: Storage, needed_bytes: int | None) -> Check:
    free = storage.free_bytes
    words = f"{format_bytes(free)} free in {clean(str(storage.place), 300)}"
    if free >= (needed_bytes or _FULL):
        return Check("models", "disk", "pass", words)
    unused = [stored for stored in storage.shelf if stored.is_unused]
    fix = None
    if unused:
        words += f", {format_bytes(disk_bytes(unused))} taken by models that nothing uses"
        fix = "llmtp rm --unused"
    elif storage.elsewhere is not None:
        fix = f"export HF_HOME={quote(str(storage.elsewhere / 'huggingface'))}"
    elif storage.shelf:
        fix = f"llmtp rm {quote(str(max(storage.shelf, key=lambda one: one.file_bytes).path))}"
    if free < _FULL:
        return Check("models", "disk", "fail", f"the disk is full: {words}", fix)
    words += f"; the smallest model that fits is {format_bytes(needed_bytes)}"
    return Check("models", "disk", "warn", words, fix)


def _cache(storage: Storage) -> Iterator[Check]:
    if storage.error is not None:
        fix = f"export LLMTP_CACHE={_SOME_FOLDER}"
        yield Check("models", "cache", "fail", clean(str(storage.error), 400), fix)
        return
    broken = [stored for stored in storage.shelf if stored.kind == BROKEN]
    partial = [stored for stored in storage.shelf if stored.kind == PARTIAL]
    mains = [stored for stored in storage.shelf if stored.kind == "main"]
    count = f"{len(mains) or 'no'} main model{'' if len(mains) == 1 else 's'}"
    words = f"{count} of Gemma 4 on this disk"
    if not broken and not partial:
        yield Check("models", "cache", "pass", words)
    for stored in broken[:_MOST_BROKEN]:
        words = f"{clean(stored.repository, 120)}/{clean(stored.file, 120)} is damaged"
        fix = f"llmtp rm --yes {quote(str(stored.path))}"
        yield Check("models", "cache-broken", "warn", words, fix)
    if partial:
        known = sorted({model for stored in partial for model in stored.used_by})
        words = f"a download of {format_bytes(disk_bytes(partial))} has not ended"
        fix = f"llmtp pull -- {quote(known[0])}" if known else "llmtp rm --unused"
        yield Check("models", "cache-partial", "warn", words, fix)


def _roomier(free: int) -> Path | None:
    """The folder with the most room where we may write, on another disk."""
    import psutil

    places = [
        paths.typed("~"),
        *(Path(one.mountpoint) for one in psutil.disk_partitions(all=False)),
    ]
    found: list[tuple[int, str]] = []
    for place in places:
        with contextlib.suppress(OSError):
            if os.access(place, os.W_OK) and place.is_dir():
                found.append((shutil.disk_usage(place).free, str(place)))
    most = max(found, default=(0, ""))
    return Path(most[1]) if most[0] > 2 * free and most[0] >= _FULL else None


def _unwritable() -> Iterator[Unwritable]:
    for folder, variable in (
        (paths.state_dir(), "XDG_STATE_HOME"),
        (paths.cache_dir(), "XDG_CACHE_HOME"),
        (hub_cache(), "LLMTP_CACHE"),
    ):
        there = folder
        while not paths.exists(there) and there != there.parent:
            there = there.parent
        if not os.path.isdir(there):  # noqa: PTH112 - Path's raises
            yield Unwritable(there, "it is no folder", variable, is_ours=False)
        elif not os.access(there, os.W_OK | os.X_OK):
            is_ours = paths.typed("~") in there.parents
            yield Unwritable(there, "permission denied", variable, is_ours)


def _writable(place: Unwritable, system: System) -> str:
    if place.is_ours:
        return system.as_root(f'chown -R "$(id -u)" {quote(str(place.folder))}')
    return f"export {place.variable}={_SOME_FOLDER}"
