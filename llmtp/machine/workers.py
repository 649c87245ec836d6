"""RPC servers of llama.cpp, on this machine or others, as users name them: `HOST:PORT[=SIZE]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmtp.errors import UsageError
from llmtp.text import clean
from llmtp.units import parse_size

#: Where llama.cpp's own server listens when nobody says otherwise.
PORT = 50052
#: The engine splits a model over no more devices (arg.cpp, --tensor-split).
MOST_WORKERS = MOST_DEVICES = 15
#: The engine splits its list at commas and colons, and knows no IPv6; names come back from it cut.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,64}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)
_EXAMPLE = f"type for example: --rpc 192.168.1.20:{PORT}"


@dataclass(frozen=True, slots=True)
class Worker:
    """One of them. `most_bytes` is what of each of its devices may be used, None for what is free
    there."""

    host: str
    port: int
    most_bytes: int | None = None

    @property
    def endpoint(self) -> str:
        """As the engine is told it, and names it."""
        return f"{self.host}:{self.port}"


def parse_workers(text: str | None) -> tuple[Worker, ...]:
    """Those of `--rpc HOST:PORT[=SIZE],...`; none where it is not given. Raises UsageError."""
    if text is None:
        return ()
    workers = tuple(_parse(part.strip()) for part in text.split(","))
    if len(workers) > MOST_WORKERS:
        raise UsageError(
            f"--rpc names {len(workers)} workers",
            rule="rpc",
            expected=f"at most {MOST_WORKERS}",
            fix="name the ones with most memory",
        )
    endpoints = [worker.endpoint for worker in workers]
    twice = next((one for one in endpoints if endpoints.count(one) > 1), None)
    if twice is not None:
        raise UsageError(f"--rpc names {twice} twice", rule="rpc", fix="name each worker once")
    return workers


def endpoints(workers: Sequence[Worker]) -> str:
    """All of them, as the engine takes them."""
    return ",".join(worker.endpoint for worker in workers)


def _parse(text: str) -> Worker:
    address, equals, size = text.partition("=")
    host, colon, digits = address.partition(":")
    port = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 6 else 0
    if not _HOST.fullmatch(host) or (colon and not 1 <= port <= 65535):
        raise UsageError(
            f"--rpc {clean(text, 80)!r} names no worker",
            rule="rpc",
            expected="HOST:PORT, several with commas between them; an IPv4 address or a name",
            fix=_EXAMPLE,
        )
    most_bytes = parse_size(size, f"--rpc {host}") if equals else None
    return Worker(host, port or PORT, most_bytes)
