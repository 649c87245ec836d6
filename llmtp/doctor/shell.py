"""Variables of the shell that would disturb a run, or those who talk to the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from llmtp.doctor.check import Check
from llmtp.machine.vulkan import VARIABLES

_LOOPBACK = ("127.0.0.1", "localhost")
_HTTP_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_NO_PROXY = ("no_proxy", "NO_PROXY")
_HIDING = ("CUDA_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES")
_DEFAULT_HUB = "huggingface.co"


def shell_checks(environ: Mapping[str, str], disturbing: list[str]) -> Iterator[Check]:
    """`disturbing` are variables that llama-server reads as flags. One check where all is well."""
    found = list(_found(environ, disturbing))
    yield from found
    if not found:
        yield Check("shell", "variables", "pass", "none that would disturb a run")


def _found(environ: Mapping[str, str], disturbing: list[str]) -> Iterator[Check]:
    if disturbing:
        names = ", ".join(disturbing)
        words = f"{names}: llmtp keeps that from its servers, a llama-server of your own obeys"
        yield Check("shell", "llama-variables", "warn", words, f"unset {' '.join(disturbing)}")
    proxies = [name for name in _HTTP_PROXIES if environ.get(name)]
    excepted = ",".join(environ.get(name, "") for name in _NO_PROXY)
    if proxies and not any(host in excepted for host in (*_LOOPBACK, "*")):
        words = f"{proxies[0]} sends what clients ask of 127.0.0.1 to the proxy"
        fix = f"export NO_PROXY={','.join(_LOOPBACK)} no_proxy={','.join(_LOOPBACK)}"
        yield Check("shell", "proxy", "warn", words, fix)
    for name in _HIDING:
        if environ.get(name, "0").strip() in ("", "-1"):
            yield Check("shell", "hidden-gpus", "warn", f"{name} hides every GPU", f"unset {name}")
    for name in VARIABLES:
        files = [file for file in environ.get(name, "").split(":") if file]
        if files and not any(Path(file).is_file() for file in files):
            words = f"{name} names a Vulkan driver that is not there: no GPU by Vulkan"
            yield Check("shell", "vulkan-driver", "warn", words, f"unset {name}")
    endpoint = environ.get("HF_ENDPOINT", "")
    if endpoint and _DEFAULT_HUB not in endpoint:
        words = "HF_ENDPOINT: models come from another host than the Hub"
        yield Check("shell", "endpoint", "warn", words, "unset HF_ENDPOINT")
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        place = environ.get(name)
        if place and not Path(place).expanduser().parent.exists():
            words = f"{name}: {place[:200]!r} is nowhere, so no model is found there"
            yield Check("shell", "cache-variable", "warn", words, f"unset {name}")
