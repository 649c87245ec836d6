"""A report becomes a file: private, new, and whole."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from llmtp import paths, signals
from llmtp.errors import UsageError
from llmtp.text import clean


def place_for(asked: str | None, entry_id: str | None) -> Path:
    """The file that was asked for, or one here that is called after the server and the time."""
    if asked is not None:
        return paths.typed(asked)
    server = "" if entry_id is None else f"{entry_id}-"
    return Path(f"llmtp-bug-report-{server}{time.strftime('%Y%m%d-%H%M%S')}.md").absolute()


def write_new(path: Path, text: str) -> None:
    """Write a file that only its owner can read, or none; raises UsageError, also where there is
    one already."""
    shown = clean(str(path), 300)
    with signals.hold():
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise UsageError(
                f"{shown} is there already", rule="out", fix="name another file with --out"
            ) from None
        except (OSError, ValueError) as error:
            raise _unwritable(shown, error) from error
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise _unwritable(shown, error) from error


def _unwritable(shown: str, error: OSError | ValueError) -> UsageError:
    why = error.strerror if isinstance(error, OSError) else error
    return UsageError(
        f"{shown} cannot be written: {why}",
        rule="out",
        fix="name another file with --out, or print it with --out -",
    )
