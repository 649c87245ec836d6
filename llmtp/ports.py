"""Addresses and ports: what can be one, is one free, and which one is."""

from __future__ import annotations

import ipaddress
import random
import socket

#: Below those that systems give to outgoing connections (Linux from 32768, macOS from 49152): while
#: a server restarts, a client that tries again would get its port, and even connect to itself.
_FIRST, _LAST = 10240, 32767
_TRIES = 100


def is_address(host: str) -> bool:
    """An IP address, or localhost: no other name, which may be another machine's tomorrow."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def is_loopback(host: str) -> bool:
    """Can only this machine reach a server bound to `host`?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listened on a moment ago; raises OSError where the host is not ours."""
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - no secret
        if is_free(host, port):
            return port
    with _socket(host) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Could a server bind there now?"""
    try:
        with _socket(host) as probe:
            probe.bind((host, port))
    except OSError:
        return False
    return True


def _socket(host: str) -> socket.socket:
    probe = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return probe
