"""Where llmtp keeps its files; nothing is created until it is needed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import platformdirs

_PACKAGE = Path(__file__).resolve().parent


def config_dir() -> Path:
    """Profiles and config.yaml of the user."""
    return Path(platformdirs.user_config_dir("llmtp", appauthor=False))


def cache_dir() -> Path:
    """What can be learned again."""
    return Path(platformdirs.user_cache_dir("llmtp", appauthor=False))


def state_dir() -> Path:
    """Logs and keys."""
    return Path(platformdirs.user_state_dir("llmtp", appauthor=False))


def log_dir() -> Path:
    """Output of the engines, a file a run."""
    return state_dir() / "logs"


def shipped_profiles() -> Path:
    """The profiles that come with llmtp: inside a wheel, or beside an editable install."""
    installed = _PACKAGE / "_profiles"
    return installed if installed.is_dir() else _PACKAGE.parent / "profiles"


def typed(text: str) -> Path:
    """The path that somebody typed, whatever it is: it may be too long or name an unknown user."""
    return Path(os.path.expanduser(text.replace("\0", "�")))  # noqa: PTH111 - Path's raises


def exists(path: Path) -> bool:
    """Is there anything? A path that cannot be one is not there."""
    return os.path.exists(path)  # noqa: PTH110 - Path's raises for names that are too long


def write_cache(path: Path, text: str) -> None:
    """Replace a file of the cache as a whole; a cache that cannot be written is none."""
    with contextlib.suppress(OSError):
        private_dir(path.parent)
        replace_file(path, text)


def check_writable(folder: Path) -> None:
    """Raises OSError where no file can be made in it."""
    probe = folder / f".llmtp-{os.getpid()}"
    probe.touch()
    probe.unlink()


def replace_file(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, through a link where it leads; raises OSError."""
    path = Path(os.path.realpath(path))
    part = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def read_cache(path: Path) -> dict[str, Any]:
    """The JSON object in a file of the cache; one that cannot be read is as good as none."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def private_dir(path: Path) -> Path:
    """Make a directory, and those above it that are missing, for its owner only."""
    missing = [one for one in (path, *path.parents) if not exists(one)]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)  # an older llmtp made it, or somebody opened it
    return path
