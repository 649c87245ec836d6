"""Repositories on the Hugging Face Hub: their list of files, and reading pieces of a file.

The one file that imports huggingface_hub and httpx for it. The token, from HF_TOKEN or the
cache of `hf auth login`, goes to the Hub alone: httpx drops it where a redirect leaves the host.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx
from huggingface_hub import HfApi, constants
from huggingface_hub import errors as hub_errors
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status, http_stream_backoff
from huggingface_hub.utils.logging import set_verbosity

from llmtp.errors import DownloadError, LlmtpError, NotFoundError
from llmtp.hubname import HubName
from llmtp.text import clean

_TIMEOUT_S = 20.0
_FILE_DEADLINE_S = 300.0
_MOST_FETCHED_BYTES = 64 << 20
_MOST_REQUESTS = 200
_MAX_FILES = 10_000
_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, httpx.HTTPError, httpx.InvalidURL,
             httpx.StreamError)  # fmt: skip
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MOST_ERROR_BYTES = 1 << 16
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository; `oid` names its content wherever it lies, if the Hub tells."""

    name: str
    size: int
    oid: str | None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit."""

    name: HubName
    commit: str
    files: tuple[HubFile, ...]

    def __str__(self) -> str:
        return f"hf:{self.name.repo_id}@{self.commit[:12]}"

    @property
    def endpoint(self) -> str:
        """Which Hub: another one may say what it likes of its content."""
        return str(constants.ENDPOINT)

    @property
    def names(self) -> list[str]:
        return [file.name for file in self.files]

    def file(self, name: str) -> HubFile:
        """The file of that name; raises NotFoundError, as for a part that was never uploaded."""
        for file in self.files:
            if file.name == name:
                return file
        raise NotFoundError(
            f"there is no file {clean(name, 120)} in {self}",
            rule="file-not-found",
            fix="tell its owner, or use another repository",
        )


def open_repository(name: HubName) -> Repository:
    """List a repository, at the commit that its revision is now.

    Raises NotFoundError for what is not there, DownloadError for everything else.
    """
    set_verbosity(logging.CRITICAL)
    # Or the library asks the Hub once a day how to recognise the programs around it, and tells.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    with _translated(name):
        info = HfApi().model_info(
            name.repo_id, revision=name.revision, files_metadata=True, timeout=_TIMEOUT_S
        )
        listed = info.siblings or []
        commit = info.sha or ""
        if not _COMMIT.fullmatch(commit) or len(listed) > _MAX_FILES:
            raise ValueError(f"{len(listed)} files at commit {commit}")
        files = tuple(
            HubFile(
                file.rfilename,
                file.lfs.size if file.lfs else file.size or 0,
                _oid(file),
            )
            for file in listed
            if _is_plain(file.rfilename)
        )
        return Repository(name, commit, files)


class HubSource:
    """A file of a repository as bytes that are fetched when they are read, by HTTP ranges.

    A server that knows no ranges sends the whole file: then it is read along, and dropped where
    it is seeked over. `fetched_bytes` counts what came over the wire.
    """

    def __init__(self, repository: Repository, file: HubFile) -> None:
        self.fetched_bytes = 0
        self._name = repository.name
        self._file = file
        self._url = (
            f"{constants.ENDPOINT}/{repository.name.repo_id}/resolve/"
            f"{quote(repository.commit, safe='')}/{quote(file.name)}"
        )
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
        with _translated(self._name):
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
        headers = build_hf_headers() | {
            "Range": f"bytes={self._at}-{self._at + size - 1}",
            "Accept-Encoding": "identity",
        }
        response = self._open.enter_context(
            http_stream_backoff(
                "GET", self._url, headers=headers, timeout=_TIMEOUT_S,
                max_retries=2, retry_on_status_codes=(),
            )
        )  # fmt: skip
        _raise_for_status(response)
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


def _raise_for_status(response: httpx.Response) -> None:
    """Raise for a status that is no success, as the library that speaks for the Hub does."""
    if not response.is_success:
        body = b""
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > _MOST_ERROR_BYTES:
                break
        told = {k: v for k, v in response.headers.items() if k.lower().startswith("x-")}
        request = response.request
        hf_raise_for_status(
            httpx.Response(response.status_code, headers=told, content=body, request=request)
        )
        raise ValueError(f"status {response.status_code}")


@contextlib.contextmanager
def _translated(name: HubName) -> Iterator[None]:
    """Errors of the Hub and of the way to it as ours, in one line and without addresses."""
    repo = name.repo_id
    try:
        yield
    except LlmtpError:
        raise
    except hub_errors.GatedRepoError as error:
        raise DownloadError(
            f"{repo} is gated: its licence must be accepted first",
            rule="gated",
            fix=f"accept it on the page of {repo}, then type: hf auth login",
        ) from error
    except hub_errors.RevisionNotFoundError as error:
        raise NotFoundError(
            f"{repo} has no revision {clean(name.revision or '', 80)!r}",
            rule="revision-not-found",
            fix=f"leave it out, or look at the commits of {repo}",
        ) from error
    except hub_errors.RepositoryNotFoundError as error:
        raise NotFoundError(
            f"there is no repository {repo}, or it is private",
            rule="repository-not-found",
            fix="look at the spelling; for a private one type: hf auth login",
        ) from error
    except hub_errors.EntryNotFoundError as error:
        raise NotFoundError(
            f"a file of {repo} is gone", rule="file-not-found", fix="type the command again"
        ) from error
    except hub_errors.OfflineModeIsEnabled as error:
        raise DownloadError(
            "HF_HUB_OFFLINE is set", rule="offline", fix="unset HF_HUB_OFFLINE, or name local files"
        ) from error
    except hub_errors.HfHubHTTPError as error:
        raise DownloadError(
            f"the Hub answers {error.response.status_code} for {repo}",
            rule="hub-status",
            fix="for 401 and 403 type: hf auth login; else try again later",
        ) from error
    except httpx.LocalProtocolError:
        raise DownloadError(
            "the token has characters that no request can carry",
            rule="token",
            fix="look at HF_TOKEN, or type: hf auth login",
        ) from None
    except (httpx.TransportError, OSError) as error:
        raise DownloadError(
            f"the Hub cannot be reached: {clean(str(error), 120) or type(error).__name__}",
            rule="hub-unreachable",
            fix="look at the network and at HF_ENDPOINT, or name local files",
        ) from error
    except _NONSENSE as error:
        raise DownloadError(
            f"the Hub's answer for {repo} makes no sense: {clean(str(error), 120)}",
            rule="hub-answer",
            fix="look at HF_ENDPOINT; else try again later",
        ) from error


def _oid(file: RepoSibling) -> str | None:
    if file.lfs:
        return f"sha256:{file.lfs.sha256}"
    return f"git:{file.blob_id}" if file.blob_id else None


def _is_plain(name: str) -> bool:
    """A relative path without tricks; others are not looked at."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(parts)
