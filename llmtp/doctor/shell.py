"""Variables of the shell that would disturb a run, or those who talk to the server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from llmtp import paths
from llmtp.config import SETTINGS, variable_of
from llmtp.doctor.check import Check
from llmtp.doctor.hiding import hiding_all
from llmtp.machine.vulkan import VARIABLES
from llmtp.text import clean, near_names

_LOOPBACK = ("127.0.0.1", "localhost")
_HTTP_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_NO_PROXY = ("no_proxy", "NO_PROXY")
_HUB = "huggingface.co"
_MISTYPED = 0.85
#: What a shell can set, and so unset.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def shell_checks(environ: Mapping[str, str], disturbing: list[str]) -> Iterator[Check]:
    """`disturbing` are variables that llama-server reads as flags. One check where all is well."""
    found = list(_found(environ, [name for name in disturbing if _NAME.fullmatch(name)]))
    yield from found
    if not found:
        yield Check("shell", "variables", "pass", "none that would disturb a run")


def _found(environ: Mapping[str, str], disturbing: list[str]) -> Iterator[Check]:
    if disturbing:
        names = ", ".join(disturbing)
        words = f"{names}: llmtp keeps that from its servers, a llama-server of your own obeys"
        yield Check("shell", "llama-variables", "warn", words, f"unset {' '.join(disturbing)}")
    proxies = [name for name in _HTTP_PROXIES if environ.get(name)]
    if proxies and not _is_excepted(environ):
        words = f"{proxies[0]} sends what clients ask of 127.0.0.1 to the proxy"
        fix = " ".join(["export", *(_with_loopback(name) for name in _NO_PROXY)])
        yield Check("shell", "proxy", "warn", words, fix)
    yield from _unknown(environ)
    for name in hiding_all(environ):
        yield Check("shell", "hidden-gpus", "warn", f"{name} hides every GPU", f"unset {name}")
    for name in VARIABLES:
        files = [file for file in environ.get(name, "").split(os.pathsep) if file]
        if files and not any(map(os.path.isfile, files)):
            words = f"{name} names a Vulkan driver that is not there: no GPU by Vulkan"
            yield Check("shell", "vulkan-driver", "warn", words, f"unset {name}")
    endpoint = environ.get("HF_ENDPOINT", "")
    if endpoint and not _is_hub(endpoint):
        words = "HF_ENDPOINT: models come from another host than the Hub, which gets the token too"
        yield Check("shell", "endpoint", "warn", words, "unset HF_ENDPOINT")
    for name in ("HF_HOME", "HF_HUB_CACHE", "LLMTP_CACHE"):
        place = environ.get(name)
        if place and not paths.exists(paths.typed(place).parent):
            words = f"{name} names a place that is nowhere, so no model is found there"
            yield Check("shell", "cache-variable", "warn", words, f"unset {name}")


def _unknown(environ: Mapping[str, str]) -> Iterator[Check]:
    known = {variable_of(name) for name in SETTINGS}
    for name in environ:
        is_near = name.startswith("LLMTP_") and name not in known
        if is_near and (near := near_names(name, known, _MISTYPED)):
            words = f"nothing reads {clean(name, 60)}; {near}"
            yield Check("shell", "unknown-variable", "warn", words, f"unset {name}")


def _is_excepted(environ: Mapping[str, str]) -> bool:
    hosts = {one.strip() for name in _NO_PROXY for one in environ.get(name, "").split(",")}
    return not hosts.isdisjoint({*_LOOPBACK, "*"})


def _with_loopback(name: str) -> str:
    return f'{name}="${{{name}:+${name},}}{",".join(_LOOPBACK)}"'


def _is_hub(endpoint: str) -> bool:
    try:
        host = urlsplit(endpoint).hostname or ""
    except ValueError:
        return False
    return host == _HUB or host.endswith(f".{_HUB}")
