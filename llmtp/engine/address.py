"""The address of a server that somebody types. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from llmtp.errors import UsageError
from llmtp.text import clean

_NAME = re.compile(r"(?!-)[A-Za-z0-9_.-]{1,253}")
_PATHS = ("", "/", "/v1", "/v1/")


def is_address(text: str) -> bool:
    """Is it meant as one, and not as the id of a server of ours?"""
    return ":" in text or "/" in text


def base_url(text: str) -> str:
    """`http://host:port`, without the `/v1` that clients want; raises UsageError."""
    try:
        parts = urlsplit(text.strip())
        host = _host(parts)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        raise _wrong(text) from None
    rest = parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or parts.path not in _PATHS or rest:
        raise _wrong(text)
    return f"{parts.scheme}://{host}{port}"


def host_of(url: str) -> str:
    """The host of a `base_url`, without brackets."""
    return urlsplit(url).hostname or ""


def port_of(url: str) -> int:
    """Its port, written or not."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if ":" in host:
        return f"[{ipaddress.IPv6Address(host)}]"
    if not _NAME.fullmatch(host):
        raise ValueError("host")
    return host


def _wrong(text: str) -> UsageError:
    guess = text.strip()
    near = f"http://{guess}" if re.fullmatch(r"[\w.-]{1,100}:\d{1,5}", guess) else None
    # A name and password before the host are nobody's business.
    shown = re.sub(r"//[^/]*@", "//...@", text)
    return UsageError(
        f"{clean(shown, 120)!r} is not the address of a server",
        rule="url",
        expected="http://HOST:PORT or https://HOST:PORT, with or without /v1",
        fix=f"type for example: llmtp top {near or 'http://127.0.0.1:8080'}",
    )
