"""Who and what is private on this machine, so that a report can leave it out."""

from __future__ import annotations

import os
import platform
import pwd
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmtp.paths import exists
from llmtp.report.redaction import Private, is_secret_name, secrets_in

_USER_VARIABLES = ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
_MOST_KEY_BYTES = 1 << 16


def find_private(
    environ: Mapping[str, str], models: tuple[Path, ...], key_file: Path | None
) -> Private:
    """Of this user, this machine and these models. Keys are read to be looked for, only."""
    home = Path(environ.get("HOME") or Path.home())
    named = [value for name, value in environ.items() if is_secret_name(name)]
    secrets = [value for value in named if not exists(Path(value))]
    folders = {str(path.parent) for path in models if path.is_absolute()}
    return Private(
        homes=tuple({str(home), str(home.resolve())}),
        users=tuple(dict.fromkeys(_users(environ))),
        hosts=tuple({platform.node(), socket.gethostname()}),
        secrets=secrets_in([*secrets, *_keys(key_file)]),
        folders=tuple(sorted(folders)),
    )


def _users(environ: Mapping[str, str]) -> Iterator[str]:
    yield from (environ[name] for name in _USER_VARIABLES if environ.get(name))
    try:
        yield pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return


def _keys(file: Path | None) -> list[str]:
    """The keys of a server; none where its file is gone or is no file."""
    if file is None or not file.is_file():
        return []
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return [line.strip() for line in stream.read(_MOST_KEY_BYTES).splitlines()]
    except OSError:
        return []
