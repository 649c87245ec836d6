"""Several files of repositories into the cache at once, watched and stoppable."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmtp.config import hub_cache
from llmtp.errors import DownloadError
from llmtp.hub import cache
from llmtp.hub.download import Download, State, StoppedError, Transfer, disk_error
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.small import SmallDownload, is_small
from llmtp.text import clean
from llmtp.units import MiB, format_bytes

_LOOK_EVERY_S = 0.1
_RATE_OVER_S = 5.0
_LAST_WORDS_S = 0.5
#: Left free beside what is downloaded: a disk that is full to the last byte stops everything else.
_RESERVE = 64 * MiB


@dataclass(frozen=True, slots=True)
class Progress:
    """All files at one moment. `bytes_per_s` is what the network gave in the last seconds."""

    files: tuple[Transfer, ...]
    bytes_per_s: float | None = None

    @property
    def done_bytes(self) -> int:
        return sum(file.done for file in self.files)

    @property
    def total_bytes(self) -> int:
        return sum(file.total for file in self.files)

    @property
    def fetched_bytes(self) -> int:
        """What came over the network; the rest was here."""
        return sum(file.fetched for file in self.files)

    @property
    def is_done(self) -> bool:
        return all(file.state == "done" for file in self.files)

    @property
    def left_s(self) -> float | None:
        """At this speed; None where nothing comes."""
        if not self.bytes_per_s:
            return None
        return (self.total_bytes - self.done_bytes) / self.bytes_per_s

    def to_dict(self) -> dict[str, Any]:
        """The fields of a `downloading` event."""
        return {
            "files": [
                {
                    "file": file.name,
                    "done_bytes": file.done,
                    "total_bytes": file.total,
                    "state": file.state,
                    "note": file.note or None,
                }
                for file in self.files
            ],
            "done_bytes": self.done_bytes,
            "total_bytes": self.total_bytes,
            "bytes_per_s": None if self.bytes_per_s is None else round(self.bytes_per_s),
            "left_s": None if self.left_s is None else round(self.left_s, 1),
        }


def fetch(
    files: Sequence[tuple[Repository, HubFile]],
    show: Callable[[Progress], None],
    *,
    offline: bool = False,
) -> int:
    """Bring files into the cache, each under its name and commit; returns the bytes fetched.

    The sha256 of what is there is proved, and it is fetched anew where that is wrong; `offline`
    only proves. Raises DownloadError and NotFoundError; what arrived until then is kept.
    """
    stop = threading.Event()
    jobs = [_Job(repository, file, stop, offline) for repository, file in dict.fromkeys(files)]
    _check_room(jobs)
    for job in jobs:
        job.thread.start()
    rates = _Rates()
    try:
        while running := [job for job in jobs if job.thread.is_alive()]:
            show(rates.progress(jobs))
            running[-1].thread.join(_LOOK_EVERY_S)
            if any(job.error for job in jobs):
                break
    finally:
        stop.set()
        deadline = time.monotonic() + _LAST_WORDS_S
        for job in jobs:
            job.thread.join(max(0.0, deadline - time.monotonic()))
    for job in jobs:
        if job.error is not None and not isinstance(job.error, StoppedError):
            raise job.error
    if not offline:
        _record_commits([repository for repository, _ in files])
    show(rates.progress(jobs))
    return sum(job.transfer.fetched for job in jobs)


class _Job:
    """One file, and the thread that brings it."""

    def __init__(
        self, repository: Repository, file: HubFile, stop: threading.Event, offline: bool
    ) -> None:
        self.missing_bytes = cache.missing_bytes(repository, file)
        state: State = "queued" if self.missing_bytes else "checking"
        self.transfer = Transfer(file.name, file.size, state=state)
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self._repository, self._file, self._offline = repository, file, offline
        self._is_small = is_small(file) and not file.name.endswith(".gguf")
        self._download: Download | SmallDownload = (
            SmallDownload(repository, file, self.transfer)
            if self._is_small
            else Download(repository, file, self.transfer, stop)
        )

    def _run(self) -> None:
        try:
            if not self._download.verify():
                if self._offline:
                    raise _broken(self._repository, self._file)
                self._download.run()
            if not self._offline and not self._is_small:
                self._place()
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for the thread
            self.error = error

    def _place(self) -> None:
        try:
            cache.place(self._repository, self._file)
        except OSError as error:
            folder = cache.repository_folder(self._repository.name.repo_id)
            raise disk_error(error, folder) from error


def _record_commits(repositories: Sequence[Repository]) -> None:
    """Once all files of them are here: an older commit that is whole stays in use until then."""
    for repository in dict.fromkeys(repositories):
        try:
            cache.record_commit(repository)
        except OSError as error:
            folder = cache.repository_folder(repository.name.repo_id)
            raise disk_error(error, folder) from error


def _broken(repository: Repository, file: HubFile) -> DownloadError:
    return DownloadError(
        f"{clean(file.name, 120)} of {repository.name.repo_id} was damaged on this disk and is "
        "deleted",
        rule="corrupt",
        fix="fetch it again: llmtp pull without --offline",
    )


class _Rates:
    """The speed of the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def progress(self, jobs: Sequence[_Job]) -> Progress:
        now, fetched = time.monotonic(), sum(job.transfer.fetched for job in jobs)
        self._seen.append((now, fetched))
        while now - self._seen[0][0] > _RATE_OVER_S:
            self._seen.popleft()
        then, before = self._seen[0]
        rate = (fetched - before) / (now - then) if now - then >= 2 * _LOOK_EVERY_S else None
        return Progress(tuple(replace(job.transfer) for job in jobs), rate)


def _check_room(jobs: Sequence[_Job]) -> None:
    jobs = [job for job in jobs if job.missing_bytes]
    needed = sum(job.missing_bytes for job in jobs)
    free = cache.free_bytes()
    if needed == 0 or needed + _RESERVE <= free:
        return
    names = " and ".join(clean(job.transfer.name, 80) for job in jobs)
    raise DownloadError(
        f"the disk of the cache has no room for {names}",
        rule="disk-space",
        expected=f"{format_bytes(needed + _RESERVE)} free",
        observed=f"{format_bytes(free)} in {clean(str(hub_cache()), 200)}",
        fix="see what can go: llmtp list --unused, then llmtp rm --unused; or use a smaller "
        "--quant, or set LLMTP_CACHE",
    )
