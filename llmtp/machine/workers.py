"""RPC servers of llama.cpp, on this machine or others, as users name them: `HOST:PORT[=SIZE]`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from llmtp.errors import UsageError
from llmtp.ports import is_address
from llmtp.text import clean
from llmtp.units import MiB, format_bytes, parse_size

#: Where llama.cpp's own server listens when nobody says otherwise.
PORT = 50052
#: A device takes as much before there is anything on it.
LEAST_BYTES = 192 * MiB
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


def is_connected(endpoint: str, ends: Collection[tuple[str, int]] | None) -> bool | None:
    """Is it among the other ends of a process' connections? None where they are not known; a host
    name may have any address, so that its port has to do."""
    if ends is None:
        return None
    host, _, port = endpoint.rpartition(":")
    near = {address for address, of in ends if str(of) == port}
    return host in near if is_address(host) else bool(near)


def endpoints(workers: Sequence[Worker]) -> str:
    """All of them, as the engine takes them."""
    return ",".join(worker.endpoint for worker in workers)


def _parse(text: str) -> Worker:
    address, equals, size = text.partition("=")
    host, colon, digits = address.partition(":")
    _check_host(host)
    port = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 6 else 0
    if not _HOST.fullmatch(host) or (colon and not 1 <= port <= 65535):
        raise UsageError(
            f"--rpc {clean(text, 80)!r} names no worker",
            rule="rpc",
            expected="HOST:PORT, several with commas between them; an IPv4 address or a name",
            fix=_EXAMPLE,
        )
    worker = Worker(host, port or PORT)
    return replace(worker, most_bytes=_most_bytes(worker, size)) if equals else worker


def _check_host(host: str) -> None:
    """Raises UsageError for an address that is none, or of the whole internet."""
    if not host.replace(".", "").isdecimal():
        return
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        address = None
    if address is None or address.is_unspecified:
        raise UsageError(
            f"--rpc {clean(host, 60)!r} is no address of a machine",
            rule="rpc",
            expected="four numbers, such as 192.168.1.20, or a name",
            fix=_EXAMPLE,
        )
    if address.is_global:
        raise UsageError(
            f"--rpc {host} is a public address, and RPC has neither password nor encryption",
            rule="open-host",
            expected="an address of a private network",
            fix="reach it by a tunnel, such as ssh -L or WireGuard, and name its address",
        )


def _most_bytes(worker: Worker, text: str) -> int:
    """What may be used of each of its devices."""
    example = f"--rpc {worker.endpoint}=12GiB"
    try:
        size = parse_size(text, "SIZE")
    except UsageError as error:
        raise UsageError(
            f"--rpc {worker.endpoint}={clean(text, 40)}: {clean(text, 40)!r} is not a size",
            rule="rpc",
            expected="a size such as 12GiB or 900MiB",
            fix=f"type for example: {example}",
        ) from error
    if size < LEAST_BYTES:
        raise UsageError(
            f"--rpc {worker.endpoint}={clean(text, 40)} is too little for a device",
            rule="rpc",
            expected=f"at least {format_bytes(LEAST_BYTES)}; a number alone is bytes",
            fix=f"type for example: {example}",
        )
    return size
