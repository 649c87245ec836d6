"""How llmtp speaks to the Hub: addresses, headers, and every failure as one of ours.

The token, from HF_TOKEN or the cache of `hf auth login`, goes to the Hub alone: httpx drops it
where a redirect leaves the host.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from urllib.parse import quote

import httpx
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status
from huggingface_hub.utils.logging import set_verbosity

from llmtp.errors import DownloadError, LlmtpError, NotFoundError
from llmtp.hub.files import Repository
from llmtp.hubname import HubName
from llmtp.profiles import known_repositories
from llmtp.text import clean, near_names

TIMEOUT_S = 20.0
_MOST_ERROR_BYTES = 1 << 16
_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, httpx.HTTPError, httpx.InvalidURL,
             httpx.StreamError)  # fmt: skip
_LOG_IN = "hf auth login"


def quiet() -> None:
    """Keep the library from the terminal, and from telling.

    It asks the Hub once a day how to recognise the programs around it, and reports them.
    """
    set_verbosity(logging.CRITICAL)
    constants.HF_HUB_DISABLE_TELEMETRY = True


def file_url(repository: Repository, name: str) -> str:
    """Where a file is asked for; the Hub redirects to where it lies."""
    return (
        f"{constants.ENDPOINT}/{repository.name.repo_id}/resolve/"
        f"{quote(repository.commit, safe='')}/{quote(name)}"
    )


def request_headers() -> dict[str, str]:
    """The token, who we are, and no compression."""
    return dict(build_hf_headers()) | {"Accept-Encoding": "identity"}


def raise_for_status(response: httpx.Response) -> None:
    """Raise for a status that is no success, as the library that speaks for the Hub does."""
    if not response.is_success:
        body = b""
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > _MOST_ERROR_BYTES:
                break
        told = {k: v for k, v in response.headers.items() if k.lower().startswith(("x-", "retry"))}
        request = response.request
        hf_raise_for_status(
            httpx.Response(response.status_code, headers=told, content=body, request=request)
        )
        raise ValueError(f"status {response.status_code}")


@contextlib.contextmanager
def translated(name: HubName) -> Iterator[None]:
    """Errors of the Hub and of the way to it as ours, in one line and without signed addresses."""
    try:
        yield
    except LlmtpError:
        raise
    except (hub_errors.HfHubHTTPError, httpx.TransportError, OSError, *_NONSENSE) as error:
        raise translate(error, name) from (
            None if isinstance(error, httpx.LocalProtocolError) else error
        )


def translate(error: Exception, name: HubName) -> LlmtpError:
    """The one line for what went wrong with that repository."""
    repo = name.repo_id
    page = f"{constants.ENDPOINT}/{repo}"
    match error:
        case hub_errors.GatedRepoError():
            return DownloadError(
                f"{repo} is gated: its licence must be accepted first",
                rule="gated",
                fix=f"accept it on {page}, then type: {_LOG_IN}",
            )
        case hub_errors.RevisionNotFoundError():
            return NotFoundError(
                f"{repo} has no revision {clean(name.revision or '', 80)!r}",
                rule="revision-not-found",
                fix=f"leave it out, or look at {page}/commits",
            )
        case hub_errors.RepositoryNotFoundError():
            near = near_names(repo, [known for known in known_repositories() if known != repo])
            return NotFoundError(
                f"there is no repository {repo}, or it is private",
                rule="repository-not-found",
                fix=f"{near or 'look at the spelling'}; for a private one type: {_LOG_IN}",
            )
        case hub_errors.EntryNotFoundError():
            return NotFoundError(
                f"a file of {repo} is gone", rule="file-not-found", fix="type the command again"
            )
        case hub_errors.OfflineModeIsEnabled():
            return DownloadError(
                "HF_HUB_OFFLINE is set",
                rule="offline",
                fix="unset HF_HUB_OFFLINE, or name local files",
            )
        case hub_errors.HfHubHTTPError():
            return _of_status(error, repo, page)
        case httpx.LocalProtocolError():
            return DownloadError(
                "the token has characters that no request can carry",
                rule="token",
                fix=f"look at HF_TOKEN, or type: {_LOG_IN}",
            )
        case httpx.ProxyError():
            return DownloadError(
                f"the proxy does not let us through: {clean(str(error), 120)}",
                rule="proxy",
                observed=_proxy_variables(),
                fix="mend or unset that variable, or add the Hub's host to NO_PROXY",
            )
        case httpx.TimeoutException():
            return DownloadError(
                f"nothing came from the Hub for too long ({type(error).__name__})",
                rule="stalled",
                fix="look at the network, then type the command again: it goes on from there",
            )
        case httpx.TransportError() | OSError():
            return DownloadError(
                f"the Hub cannot be reached: {clean(str(error), 120) or type(error).__name__}",
                rule="hub-unreachable",
                fix="look at the network and at HF_ENDPOINT, or work with what is on this disk: "
                "--offline",
            )
    return DownloadError(
        f"the Hub's answer for {repo} makes no sense: {clean(str(error), 120)}",
        rule="hub-answer",
        fix="look at HF_ENDPOINT; else try again later",
    )


def _of_status(error: hub_errors.HfHubHTTPError, repo: str, page: str) -> DownloadError:
    status = error.response.status_code
    said = f"the Hub answers {status} for {repo}"
    if status == httpx.codes.UNAUTHORIZED:
        return DownloadError(
            f"{said}: the token is not accepted", rule="token", fix=f"type: {_LOG_IN}"
        )
    if error.response.headers.get("x-xet-hash"):
        return DownloadError(
            f"{said}: it gives this file only by a protocol of its own (Xet)",
            rule="no-plain-route",
            fix=f"type: hf download {repo} FILE (llmtp finds it afterwards), or use another quant",
        )
    if status == httpx.codes.FORBIDDEN:
        return DownloadError(
            f"{said}: access is refused",
            rule="forbidden",
            fix=f"look at {page} with the account of your token, then type: {_LOG_IN}",
        )
    if status == httpx.codes.TOO_MANY_REQUESTS:
        wait = retry_after(error.response)
        return DownloadError(
            f"{said}: too many requests",
            rule="rate-limit",
            fix=f"wait {f'{wait:.0f} s' if wait else 'some minutes'}, then type the command again; "
            f"a token raises the limit: {_LOG_IN}",
        )
    return DownloadError(
        said,
        rule="hub-status",
        fix="try again later: it goes on from there",
    )


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the Hub asks to wait, where it says."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _proxy_variables() -> str | None:
    names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
    found = [n for name in names for n in (name, name.lower()) if os.environ.get(n)]
    return ", ".join(found) or None
