"""Networks of this machine: which address is meant, and is it one that strangers reach?"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence

import psutil

from llmtp import signals
from llmtp.config import LOOPBACK
from llmtp.errors import UsageError
from llmtp.ports import is_loopback
from llmtp.text import clean

_NAME = "--host"


@signals.hold()
def addresses() -> Mapping[str, Sequence[str]]:
    """The IPv4 addresses of each interface that has some, by its name."""
    found = {
        name: [one.address for one in entries if one.family == socket.AF_INET]
        for name, entries in psutil.net_if_addrs().items()
    }
    return {name: ours for name, ours in found.items() if ours}


def private_address(named: str) -> str:
    """The IPv4 address of an interface, or that address itself.

    Raises UsageError for all interfaces at once, for an interface of several addresses, for what
    is not ours, and for an address that the whole internet may reach.
    """
    known = addresses()
    of_name = [LOOPBACK] if named == "localhost" else known.get(named, [named])
    shown = clean(named, 60)
    if len(of_name) > 1:
        raise _wrong(f"{_NAME} {shown} has several addresses", {named: of_name})
    (address,) = of_name
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        what = "is neither an IPv4 address nor an interface"
        if named in psutil.net_if_addrs():
            what = "has no IPv4 address, and RPC knows no other"
        raise _wrong(f"{_NAME} {shown!r} {what}", known) from None
    if parsed.is_unspecified:
        raise _wrong(f"{_NAME} {shown} would let in every network of this machine", known)
    if parsed.is_global:
        raise UsageError(
            f"{_NAME} {shown} is a public address, and RPC has neither password nor encryption",
            rule="open-host",
            expected="an address of a private network",
            fix="reach it by a tunnel, such as ssh -L or WireGuard, and name its address",
        )
    if not is_loopback(address) and not any(address in ours for ours in known.values()):
        raise _wrong(f"{_NAME} {shown} is no address of this machine", known)
    return address


def _wrong(message: str, known: Mapping[str, Sequence[str]]) -> UsageError:
    wider = [
        f"{one} ({name})" for name, ours in known.items() for one in ours if not is_loopback(one)
    ]
    return UsageError(
        message,
        rule="host",
        expected=f"one address: {', '.join([*wider, f'{LOOPBACK} (this machine only)'])}",
        fix="name one of them",
    )
