"""Who and what is private on this machine, so that a report can leave it out."""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from llmtp.paths import exists
from llmtp.ports import is_address
from llmtp.report.redaction import Private, is_secret_name, secrets_in

_USER_VARIABLES = ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
_MOST_KEY_BYTES = 1 << 16


def find_private(
    environ: Mapping[str, str],
    models: tuple[Path, ...],
    key_file: Path | None,
    workers: Iterable[str] = (),
) -> Private:
    """Of this user, this machine, these models and workers, by their endpoints. Keys are read to be
    looked for, only."""
    named = [value for name, value in environ.items() if is_secret_name(name)]
    secrets = [value for value in named if not exists(Path(value))]
    folders = {str(path.parent) for path in models if path.is_absolute()}
    return Private(
        homes=tuple(sorted(_homes(environ))),
        users=tuple(dict.fromkeys(_users(environ))),
        hosts=tuple({platform.node(), socket.gethostname(), *_names(workers)}),
        secrets=secrets_in([*secrets, *_keys(key_file)]),
        folders=tuple(sorted(folders)),
    )


def _names(endpoints: Iterable[str]) -> Iterator[str]:
    """Addresses are found by their form."""
    hosts = (endpoint.partition(":")[0] for endpoint in endpoints)
    return (host for host in hosts if not is_address(host))


def _homes(environ: Mapping[str, str]) -> set[str]:
    """What a shell makes of `~`, also by its real name."""
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        with contextlib.suppress(KeyError):
            home = pwd.getpwuid(os.getuid()).pw_dir
    return {home, os.path.realpath(home)} if home.startswith("/") else set()


def _users(environ: Mapping[str, str]) -> Iterator[str]:
    yield from (environ[name] for name in _USER_VARIABLES if environ.get(name))
    with contextlib.suppress(KeyError):
        yield pwd.getpwuid(os.getuid()).pw_name


def _keys(file: Path | None) -> list[str]:
    """The keys of a server; none where its file is gone or is no file."""
    try:
        if file is None or not file.is_file():
            return []
        with file.open(encoding="utf-8", errors="replace") as stream:
            return [line.strip() for line in stream.read(_MOST_KEY_BYTES).splitlines()]
    except OSError:
        return []
