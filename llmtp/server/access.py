"""Who may reach the server: loopback for everyone here, anything wider only with a key."""

from __future__ import annotations

import ipaddress
import os
import secrets
from pathlib import Path

from llmtp import paths
from llmtp.errors import UsageError
from llmtp.text import clean


def is_loopback(host: str) -> bool:
    """Can only this machine reach a server bound to `host`?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(host: str, api_key_file: Path | None) -> None:
    """Raises UsageError for a host that others can reach when there is no key."""
    if is_loopback(host) or api_key_file is not None:
        return
    raise UsageError(
        f"--host {clean(host, 60)} lets other machines in, and there is no key",
        rule="open-host",
        expected="a loopback address, or a key",
        fix="add --make-key or --api-key-file FILE",
    )


def connect_host(host: str) -> str:
    """The address, ready for a URL, at which this machine reaches a server bound to `host`."""
    if host in ("0.0.0.0", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def read_key(file: Path) -> str:
    """The first key of a file in the engine's format: one a line, # for comments."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--api-key-file {file} cannot be read: {error}", fix="make one with --make-key"
        ) from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys or not keys[0].isascii() or not keys[0].isprintable():
        raise UsageError(f"--api-key-file {file} has no key", expected="a line of printable ASCII")
    return keys[0]


def make_key() -> Path:
    """A new random key in a file that only its owner can read."""
    folder = paths.private_dir(paths.state_dir() / "keys")
    file = folder / f"{secrets.token_hex(4)}.key"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        out.write(secrets.token_urlsafe(32) + "\n")
    return file
