"""Where a page goes that a command writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from llmtp import paths
from llmtp.errors import UsageError
from llmtp.text import clean

_PAGES = (".html", ".htm")


def page_place(asked: Path | None) -> Path | None:
    """Where a page can be written, known before minutes are spent; raises UsageError."""
    if asked is None:
        return None
    path = paths.typed(str(asked))
    shown = clean(str(path))
    if path.suffix.lower() not in _PAGES:
        raise UsageError(
            f"--html {shown} is no name for a page", expected="FILE.html", fix="end it with .html"
        )
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        paths.check_writable(path.parent)
        path.exists()  # a name may be too long
    except OSError as error:
        raise UsageError(
            f"--html {shown} cannot be written: {error.strerror}",
            rule="html",
            fix="name another file",
        ) from None
    return path


def write_page(path: Path, page: str) -> Path:
    """As a whole or not at all; raises UsageError."""
    try:
        paths.replace_file(path, page)
    except OSError as error:
        raise UsageError(
            f"{clean(str(path))} cannot be written: {error.strerror}",
            rule="html",
            fix="name another file with --html",
        ) from error
    return path
