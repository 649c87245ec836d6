"""How llmtp speaks to the Hub: addresses, headers, and every failure as one of ours.

The token, from HF_TOKEN or the cache of `hf auth login`, goes to the Hub alone: httpx drops it
where a redirect leaves the host.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status, parse_ratelimit_headers
from huggingface_hub.utils.logging import set_verbosity

from llmtp.errors import DownloadError, LlmtpError, NotFoundError
from llmtp.hub.files import Repository
from llmtp.hubname import HubName
from llmtp.profiles import known_repositories
from llmtp.text import clean, near_names, without_passwords

TIMEOUT_S = 20.0
_MOST_ERROR_BYTES = 1 << 16
_NONSENSE = (ValueError, RecursionError, KeyError, TypeError, AttributeError, httpx.HTTPError,
             httpx.InvalidURL, httpx.StreamError)  # fmt: skip
_LOG_IN = "hf auth login"
_TELLING = ("x-", "retry-after", "ratelimit")
_TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - its name
_MEND_PROXY = "mend or unset that variable, or add the Hub's host to NO_PROXY"
_MOST_WAIT_S = 999_999


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
        told = {k: v for k, v in response.headers.items() if k.lower().startswith(_TELLING)}
        request = response.request
        hf_raise_for_status(
            httpx.Response(response.status_code, headers=told, content=body, request=request)
        )
        raise ValueError(f"status {response.status_code}")


@contextlib.contextmanager
def translated(name: HubName, file: str | None = None) -> Iterator[None]:
    """Errors of the Hub and of the way to it as ours, in one line and without signed addresses."""
    try:
        yield
    except LlmtpError:
        raise
    except (
        hub_errors.HfHubHTTPError, httpx.TransportError, OSError, ImportError, *_NONSENSE
    ) as error:  # fmt: skip
        raise translate(error, name, file) from (
            None if isinstance(error, httpx.LocalProtocolError) else error
        )


def translate(error: Exception, name: HubName, file: str | None = None) -> LlmtpError:
    """The one line for what went wrong with that repository, or with that file of it."""
    repo = name.repo_id
    page = f"{constants.ENDPOINT}/{repo}"
    file = clean(file, 120) if file else None
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
                fix=f"{near or 'look at the spelling.'} For a private one type: {_LOG_IN}",
            )
        case hub_errors.EntryNotFoundError():
            return _gone(repo, page, file)
        case hub_errors.OfflineModeIsEnabled():
            return DownloadError(
                "HF_HUB_OFFLINE is set",
                rule="offline",
                fix="unset HF_HUB_OFFLINE, or name local files",
            )
        case hub_errors.HfHubHTTPError():
            return _of_status(error, repo, page, file)
        case httpx.LocalProtocolError() | UnicodeEncodeError():
            return DownloadError(
                "the token has characters that no request can carry",
                rule="token",
                fix=f"look at HF_TOKEN, or type: {_LOG_IN}",
            )
        case ImportError():
            return DownloadError(
                "the proxy speaks SOCKS, for which a package is missing",
                rule="proxy",
                observed=_proxy_variables(),
                fix=f"pip install 'httpx[socks]'; or {_MEND_PROXY}",
            )
        case httpx.ProxyError():
            return DownloadError(
                f"the proxy does not let us through: {_said(error)}",
                rule="proxy",
                observed=_proxy_variables(),
                fix=_MEND_PROXY,
            )
        case httpx.TimeoutException():
            return DownloadError(
                f"nothing came from the Hub for too long ({type(error).__name__})",
                rule="stalled",
                fix="look at the network, then type the command again: it goes on from there",
            )
        case httpx.TransportError() | OSError():
            return DownloadError(
                f"the Hub cannot be reached: {_said(error) or type(error).__name__}",
                rule="hub-unreachable",
                expected=_host(error),
                observed=_proxy_variables(),
                fix="look at the network and at HF_ENDPOINT, or work with what is on this disk: "
                "--offline",
            )
    return DownloadError(
        f"the Hub's answer for {repo} makes no sense: {_said(error)}",
        rule="hub-answer",
        fix="look at HF_ENDPOINT; else try again later",
    )


def _said(error: Exception) -> str:
    return clean(without_passwords(str(error)), 120)


def _gone(repo: str, page: str, file: str | None) -> NotFoundError:
    return NotFoundError(
        f"the Hub does not have {f'the file {file}' if file else 'a file'} of {repo} any more",
        rule="file-not-found",
        fix=f"type the command again, which lists the files anew; or look at {page}/tree/main",
    )


def _of_status(
    error: hub_errors.HfHubHTTPError, repo: str, page: str, file: str | None
) -> LlmtpError:
    response = error.response
    said = f"the Hub answers {response.status_code} for {f'{file} of {repo}' if file else repo}"
    if response.headers.get("x-xet-hash"):
        return DownloadError(
            f"{said}: it gives this file only by a protocol of its own (Xet)",
            rule="no-plain-route",
            fix=f"type: hf download {repo} {file or 'FILE'} (llmtp finds it afterwards), or use "
            "another quant",
        )
    match response.status_code:
        case httpx.codes.UNAUTHORIZED:
            return DownloadError(
                f"{said}: the token is not accepted",
                rule="token",
                fix=f"mend or unset {_TOKEN_VARIABLE}, which goes first; or type: {_LOG_IN}"
                if os.environ.get(_TOKEN_VARIABLE)
                else f"type: {_LOG_IN}",
            )
        case httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
            return DownloadError(
                f"the proxy answers {response.status_code}: it wants a name and a password",
                rule="proxy",
                observed=_proxy_variables(),
                fix=f"write them into that variable (http://NAME:PASSWORD@HOST); or {_MEND_PROXY}",
            )
        case httpx.codes.FORBIDDEN:
            return DownloadError(
                f"{said}: access is refused",
                rule="forbidden",
                fix=f"look at {page} with the account of your token, then type: {_LOG_IN}",
            )
        case httpx.codes.NOT_FOUND if file:
            return _gone(repo, page, file)
        case httpx.codes.TOO_MANY_REQUESTS:
            return DownloadError(
                f"{said}: too many requests",
                rule="rate-limit",
                fix=f"{_later(response)}: it goes on from there; a token raises the limit: "
                f"{_LOG_IN}",
            )
    return DownloadError(said, rule="hub-status", fix=f"{_later(response)}: it goes on from there")


def _later(response: httpx.Response) -> str:
    wait = retry_after(response)
    return f"wait {f'{wait:.0f} s' if wait else 'some minutes'}, then type the command again"


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the Hub asks to wait, where it says."""
    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    text = response.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(min(int(text[:20]), _MOST_WAIT_S))
    with contextlib.suppress(ValueError, TypeError):
        then = parsedate_to_datetime(text)
        return max((then - datetime.now(then.tzinfo)).total_seconds(), 0.0)
    return None


def _host(error: Exception) -> str | None:
    """Where the request was going: the Hub redirects to other hosts, which may be closed."""
    with contextlib.suppress(RuntimeError, AttributeError):
        host = error.request.url.host  # type: ignore[attr-defined]  # has it where httpx raised it
        return f"an answer of {clean(host, 80)}" if host else None
    return None


def _proxy_variables() -> str | None:
    names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
    found = [n for name in names for n in (name, name.lower()) if os.environ.get(n)]
    return f"{', '.join(found)} set" if found else None
