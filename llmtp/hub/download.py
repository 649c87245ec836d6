"""One file of a repository into the cache: resumed, one process at a time, proved by its sha256."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import httpx
from filelock import FileLock, SoftFileLock, Timeout
from huggingface_hub import constants, get_session
from huggingface_hub import errors as hub_errors

from llmtp import paths
from llmtp.errors import DownloadError, LlmtpError
from llmtp.hub import cache
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.wire import (
    file_url,
    raise_for_status,
    request_headers,
    retry_after,
    translate,
)
from llmtp.text import clean
from llmtp.units import format_bytes

State = Literal["queued", "waiting", "checking", "downloading", "retrying", "done"]

_TRIES_WITHOUT_PROGRESS = 5
_FIRST_WAIT_S = 0.25
_LONGEST_WAIT_S = 60.0
_LOCK_POLL_S = 0.2
_SYNC_EVERY_S = 0.5
_READ_BYTES = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
_FINAL = (httpx.LocalProtocolError, httpx.ProxyError, httpx.UnsupportedProtocol, httpx.InvalidURL,
          httpx.TooManyRedirects, UnicodeError)  # fmt: skip


class StoppedError(Exception):
    """Somebody wants it to end; what is there is kept."""


@dataclass(slots=True)
class Transfer:
    """How far one file is. Written by the thread that downloads it, read by whoever shows it.

    `done` and `total` are bytes of the file, `fetched` those that came over the network.
    """

    name: str
    total: int
    done: int = 0
    fetched: int = 0
    state: State = "queued"
    note: str = ""


class _TemporaryError(Exception):
    """Worth another try, `after` seconds if the Hub says so."""

    def __init__(self, cause: Exception, after: float | None = None) -> None:
        self.cause = cause
        self.after = after


class Download:
    """Fetches one blob. Whatever ends it, the bytes that arrived stay for the next time.

    Only bytes whose sha256 is that of the Hub get the name of the blob.
    """

    def __init__(
        self, repository: Repository, file: HubFile, transfer: Transfer, stop: threading.Event
    ) -> None:
        if file.sha256 is None:
            raise DownloadError(
                f"the Hub tells no sha256 of {clean(file.name, 120)}, so it cannot be proved",
                rule="no-checksum",
                fix=f"type: hf download {repository.name.repo_id} {clean(file.name, 120)} (llmtp "
                "run finds it afterwards)",
            )
        repo_id = repository.name.repo_id
        self._repository, self._file, self._sha256 = repository, file, file.sha256
        self._transfer, self._stop = transfer, stop
        self._blob = cache.blob_path(repo_id, file.sha256)
        self._part = cache.partial_path(repo_id, file.sha256)
        self._etag_file = self._part.with_suffix(".etag")
        self._lock_file = cache.lock_path(repo_id, file.sha256)
        self._digest = hashlib.sha256()

    def run(self) -> None:
        """Download, prove and name the blob; raises DownloadError, NotFoundError, StoppedError."""
        with self._locked():
            if not paths.exists(self._blob):
                with self._writing(), self._part.open("ab") as file, _synced(file):
                    self._take_up(file)
                    self._fetch(file)
                self._prove()
            self._transfer.done, self._transfer.state = self._file.size, "done"

    def verify(self) -> bool:
        """Is the whole blob there, and what the Hub has? One that is not is deleted."""
        if self._missing_bytes():
            return False
        with self._locked(to_read=True):
            if not paths.exists(self._blob):
                with self._writing():
                    cache.adopt(self._repository, self._file)
            if not paths.exists(self._blob):
                return False  # whoever had the lock has deleted it
            self._transfer.state = "checking"
            with self._writing(), self._blob.open("rb") as file:
                whole = os.fstat(file.fileno()).st_size == self._file.size
                self._hash(file, self._file.size)
            if whole and self._digest.hexdigest() == self._sha256:
                self._transfer.state = "done"
                return True
            with self._writing():
                self._blob.unlink()
        self._digest = hashlib.sha256()
        self._transfer.done = 0
        return False

    def _missing_bytes(self) -> int:
        return cache.missing_bytes(self._repository, self._file)

    def _take_up(self, file: BinaryIO) -> None:
        """Go on behind what an earlier try left."""
        here = file.tell()
        if here > self._file.size:
            file.truncate(0)
            here = 0
        if here:
            self._transfer.state = "checking"
            with self._part.open("rb") as written:
                self._hash(written, here)

    def _hash(self, file: BinaryIO, n_bytes: int) -> None:
        while self._transfer.done < n_bytes:
            piece = file.read(min(_READ_BYTES, n_bytes - self._transfer.done))
            if not piece:
                break
            self._digest.update(piece)
            self._transfer.done += len(piece)
            self._stop_if_asked()

    def _fetch(self, file: BinaryIO) -> None:
        furthest, tries = self._transfer.done, 0
        while self._transfer.done < self._file.size:
            self._transfer.state, self._transfer.note = "downloading", ""
            try:
                self._stream(file)
            except _TemporaryError as error:
                tries = 0 if self._transfer.done > furthest else tries + 1
                furthest = max(furthest, self._transfer.done)
                wait = error.after or _FIRST_WAIT_S * 2**tries * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
                said = self._translated(error.cause)
                if tries >= _TRIES_WITHOUT_PROGRESS or wait > _LONGEST_WAIT_S:
                    raise said from error.cause
                self._transfer.note = f"{said}; once more in {max(wait, 1):.0f} s"
                self._transfer.state = "retrying"
                if self._stop.wait(wait):
                    raise StoppedError from None

    def _stream(self, file: BinaryIO) -> None:
        """One request, from where we are to the end, or to where it breaks."""
        here = self._transfer.done
        headers = request_headers()
        if here:
            headers["Range"] = f"bytes={here}-"
            etag = self._known_etag()
            if etag:
                headers["If-Range"] = etag
        url = file_url(self._repository, self._file.name)
        timeout = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        with (
            self._answers(),
            get_session().stream("GET", url, headers=headers, timeout=timeout) as response,
        ):
            if here and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._start_again(file)
                raise ValueError("it has less of the file than is here")
            raise_for_status(response)
            if response.status_code == httpx.codes.OK:
                size = response.headers.get("content-length", str(self._file.size))
                if size != str(self._file.size):  # as a log-in page that answers everything
                    raise ValueError(f"another content, of {clean(size, 20)} bytes")
                self._start_again(file)
            else:
                self._check_range(response, here)
            self._learn_etag(response)
            for chunk in response.iter_raw():
                if self._transfer.done + len(chunk) > self._file.size:
                    raise ValueError("more bytes than the file has")
                with self._writing():
                    file.write(chunk)
                self._digest.update(chunk)
                self._transfer.done += len(chunk)
                self._transfer.fetched += len(chunk)
                self._stop_if_asked()
        if self._transfer.done < self._file.size:
            raise _TemporaryError(httpx.RemoteProtocolError("the answer ended before the file"))

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        """What the Hub and the way to it do wrong: worth another try, or the end."""
        try:
            yield
        except (hub_errors.HfHubHTTPError, httpx.HTTPError, ValueError) as error:
            if isinstance(error, hub_errors.HfHubHTTPError):
                if error.response.status_code in _TEMPORARY:
                    raise _TemporaryError(error, retry_after(error.response)) from error
            elif not isinstance(error, _FINAL):
                raise _TemporaryError(error) from error
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> LlmtpError:
        return translate(error, self._repository.name, self._file.name)

    def _check_range(self, response: httpx.Response, here: int) -> None:
        match = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None or int(match[1]) != here or match[3] not in ("*", str(self._file.size)):
            raise ValueError("another range than asked for")

    def _start_again(self, file: BinaryIO) -> None:
        """The whole file comes, whatever we have of it."""
        with self._writing():
            file.truncate(0)
        self._digest = hashlib.sha256()
        self._transfer.done = 0

    def _known_etag(self) -> str | None:
        """What the server called the content when we began; a weak one says too little."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            etag = self._etag_file.read_text(encoding="ascii")[:200]
            return etag if etag.isprintable() and etag.startswith('"') else None
        return None

    def _learn_etag(self, response: httpx.Response) -> None:
        etag = response.headers.get("etag", "")
        with self._writing(), contextlib.suppress(UnicodeEncodeError):
            self._etag_file.write_text(etag, encoding="ascii")

    def _prove(self) -> None:
        digest = self._digest.hexdigest()
        if digest != self._sha256:
            self._part.unlink()
            self._etag_file.unlink(missing_ok=True)
            raise DownloadError(
                f"{clean(self._file.name, 120)} arrived damaged and was deleted",
                rule="corrupt",
                expected=f"sha256 {self._sha256[:16]}…",
                observed=f"{digest[:16]}…",
                fix="type the command again; if it happens twice, suspect this disk or its RAM",
            )
        with self._writing():
            self._part.replace(self._blob)
            self._etag_file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, *, to_read: bool = False) -> Iterator[None]:
        """Nobody else writes this blob; says so while somebody does.

        Only `to_read`, no lock is needed where nobody of our rights can write.
        """
        folder = self._blob.parent
        if to_read and paths.exists(folder) and not os.access(folder, os.W_OK):
            yield
            return
        with self._writing():
            self._lock_file.parent.mkdir(parents=True, exist_ok=True)
            self._blob.parent.mkdir(parents=True, exist_ok=True)
        lock: FileLock | SoftFileLock = FileLock(self._lock_file, mode=0o664)
        while True:
            try:
                with self._writing():
                    lock.acquire(timeout=_LOCK_POLL_S)
                break
            except Timeout:
                self._transfer.state = "waiting"
                self._transfer.note = "another program downloads it"
                self._stop_if_asked()
            except NotImplementedError:  # a file system without locks, as huggingface_hub has it
                lock = SoftFileLock(self._lock_file)
        self._transfer.note = ""
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises DownloadError for a disk that is full or not ours to write."""
        try:
            yield
        except Timeout:
            raise
        except OSError as error:
            raise disk_error(error, self._blob.parent) from error

    def _stop_if_asked(self) -> None:
        if self._stop.is_set():
            raise StoppedError


@contextlib.contextmanager
def _synced(file: BinaryIO) -> Iterator[None]:
    """All that was written is on the disk at the end, and most of it before: no wait for it all.

    Without it a file could get its name and, after a power failure, have holes.
    """
    ended = threading.Event()
    errors: list[OSError] = []

    def sync() -> None:
        try:
            while not ended.wait(_SYNC_EVERY_S):
                os.fsync(file.fileno())
        except OSError as error:
            errors.append(error)  # the system tells it once

    thread = threading.Thread(target=sync, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    file.flush()
    os.fsync(file.fileno())
    if errors:
        raise errors[0]


def disk_error(error: OSError, folder: Path) -> DownloadError:
    """A full disk, or one that is not ours."""
    said = f"{clean(str(folder), 300)} cannot be written: {error.strerror or error}"
    if error.errno not in _FULL:
        return DownloadError(
            said,
            rule="cache-not-writable",
            fix="make it a folder of your user, or set LLMTP_CACHE to one",
        )
    free = format_bytes(cache.free_bytes())
    return DownloadError(
        said,
        rule="disk-full",
        observed=f"{free} free",
        fix="make room (what no model uses: llmtp list --unused), then type the command again: it "
        "goes on from there",
    )
