"""Pieces of a file in a repository, by HTTP ranges."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

import httpx
from huggingface_hub.utils._http import http_stream_backoff

from llmtp.errors import DownloadError
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.wire import TIMEOUT_S, file_url, raise_for_status, request_headers, translated
from llmtp.text import clean

_FILE_DEADLINE_S = 300.0
_MOST_FETCHED_BYTES = 64 << 20
_MOST_REQUESTS = 200
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class HubSource:
    """A file of a repository as bytes that are fetched when they are read, by HTTP ranges.

    A server that knows no ranges sends the whole file: then it is read along, and dropped where
    it is seeked over. `fetched_bytes` counts what came over the wire.
    """

    def __init__(self, repository: Repository, file: HubFile) -> None:
        self.fetched_bytes = 0
        self._name = repository.name
        self._file = file
        self._url = file_url(repository, file.name)
        self._at = 0
        self._whole: Iterator[bytes] | None = None
        self._whole_at = 0
        self._rest = b""
        self._open = contextlib.ExitStack()
        self._requests = 0
        self._deadline = time.monotonic() + _FILE_DEADLINE_S

    def seek(self, offset: int, /) -> int:
        self._at = offset
        return offset

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes from where it is; raises DownloadError."""
        size = min(size, self._file.size - self._at)
        if size <= 0:
            return b""
        with translated(self._name, self._file.name):
            if self._whole is not None and self._whole_at <= self._at:
                piece = self._read_along(self._whole, size)
            else:
                piece = self._request(size)
        self._at += len(piece)
        return piece

    def close(self) -> None:
        """Let go of the connection."""
        self._open.close()
        self._whole = None

    def __enter__(self) -> HubSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, size: int) -> bytes:
        self.close()
        self._requests += 1
        if self._requests > _MOST_REQUESTS:
            raise self._too_much()
        headers = request_headers() | {"Range": f"bytes={self._at}-{self._at + size - 1}"}
        response = self._open.enter_context(
            http_stream_backoff(
                "GET", self._url, headers=headers, timeout=TIMEOUT_S,
                max_retries=2, retry_on_status_codes=(),
            )
        )  # fmt: skip
        raise_for_status(response)
        chunks = self._counted(response)
        if response.status_code == httpx.codes.OK:
            self._whole, self._whole_at, self._rest = chunks, 0, b""
            return self._read_along(chunks, size)
        match = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None or int(match[1]) != self._at:
            raise ValueError("another range than asked for")
        piece = b""
        for chunk in chunks:
            piece += chunk
            if len(piece) >= size:
                break
        return piece[:size]

    def _read_along(self, whole: Iterator[bytes], size: int) -> bytes:
        """From a stream of the whole file: drop what stands before, keep what stands behind."""
        held = self._rest
        while self._whole_at + len(held) < self._at + size:
            before = min(self._at - self._whole_at, len(held))
            self._whole_at += before
            held = held[before:]
            chunk = next(whole, b"")
            if not chunk:
                break
            held += chunk
        start = min(self._at - self._whole_at, len(held))
        self._rest = held[start:]
        self._whole_at += start
        return self._rest[:size]

    def _counted(self, response: httpx.Response) -> Iterator[bytes]:
        for chunk in response.iter_raw():
            self.fetched_bytes += len(chunk)
            yield chunk
            if self.fetched_bytes > _MOST_FETCHED_BYTES or time.monotonic() > self._deadline:
                raise self._too_much()

    def _too_much(self) -> DownloadError:
        return DownloadError(
            f"the header of {clean(self._file.name, 120)} takes more than 64 MiB, 200 requests "
            "or 5 minutes to read",
            rule="header-too-large",
            observed=f"{self.fetched_bytes:,} bytes read",
            fix="download the file, and check it on this disk",
        )
