"""Who may reach the server: loopback for everyone here, anything wider only with a key."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from llmtp import paths, signals
from llmtp.errors import UsageError
from llmtp.ports import is_address, is_loopback
from llmtp.text import clean

_MOST_KEY_CHARACTERS = 1 << 16


def check_host(host: str, has_key: bool, said_by: str = "--host") -> None:
    """Raises UsageError for what is no address, and for an open one when there is no key; `said_by`
    is who named it."""
    shown = clean(host, 60)
    if not is_address(host):
        raise UsageError(
            f"{said_by} {shown!r} is not an address",
            rule="host",
            expected="an IP address of this machine, or localhost; the port goes behind --port",
            fix="leave out --host for 127.0.0.1",
        )
    if not is_loopback(host) and not has_key:
        raise UsageError(
            f"{said_by} {shown} lets other machines in, and there is no key",
            rule="open-host",
            expected="a loopback address, or a key",
            fix="add --api-key-file FILE (run makes one with --make-key)",
        )


def url_of(host: str, port: int) -> str:
    """Where this machine reaches a server bound to `host`, without a path."""
    if host == "0.0.0.0":  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@signals.hold()
def read_key(file: Path) -> str:
    """The first key of a file in the engine's format: one a line, # for comments."""
    shown = f"--api-key-file {clean(str(file), 200)}"
    fix = "write one into it (run makes one with --make-key)"
    try:
        if not file.is_file():
            raise UsageError(f"{shown} is not a file", fix=fix)
        with file.open(encoding="utf-8", newline="") as stream:
            lines = stream.read(_MOST_KEY_CHARACTERS).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{shown} cannot be read: {clean(str(error))}", fix=fix) from error
    keys = [line for line in lines if line and not line.startswith("#")]
    key = keys[0] if keys else ""
    # The engine takes the line as it is, blanks and carriage returns too.
    if not key or key != key.strip() or not key.isascii() or not key.isprintable():
        raise UsageError(
            f"{shown} has no key", expected="a line of printable ASCII without blanks", fix=fix
        )
    return key


def client_exports(url: str, key_file: Path | None) -> str:
    """Lines for a POSIX shell that let OpenAI clients use a server. No key is in them: the shell
    reads it. Without one they need some word all the same."""
    key = "none"
    if key_file is not None:
        key = f"\"$(grep -m1 '^[^#]' {shlex.quote(str(key_file))})\""
    return f"export OPENAI_BASE_URL={shlex.quote(url + '/v1')}\nexport OPENAI_API_KEY={key}\n"


def key_file(server_id: str, llmtp: int) -> Path:
    """Where the key is that is made for a server; `llmtp` is the number of who keeps it up."""
    return paths.state_dir() / "keys" / f"{server_id}.{llmtp}.key"


def make_key(file: Path) -> None:
    """A new random key in a file that only its owner can read."""
    import secrets  # 5 ms, for who makes one

    try:
        paths.private_dir(file.parent)
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(32) + "\n")
    except OSError as error:
        raise UsageError(
            f"--make-key cannot write {file}: {error.strerror}",
            fix="name a file of your own with --api-key-file",
        ) from error
