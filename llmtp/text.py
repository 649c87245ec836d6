"""Strings from files, engines and other people, made safe to show."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_SHOWN = 200


def clean(text: str, limit: int = _SHOWN) -> str:
    """Without control characters, terminal escapes or surrogates, cut at `limit` characters."""
    shown = "".join(c if c.isprintable() else "�" for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def without_passwords(text: str) -> str:
    """What stands before the host of a URL is nobody's business."""
    return re.sub(r"(://|%3A//)[^\s'\"]*@", r"\1***@", text)


def file_name(text: str) -> str:
    """A part of a file's name that any system takes."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:_SHOWN]


def near_names(wrong: str, names: Iterable[str]) -> str | None:
    """`did you mean 'demo'?`, or None when nothing is near."""
    near = difflib.get_close_matches(wrong, list(names), n=3, cutoff=0.5)
    if not near:
        return None
    return "did you mean " + " or ".join(repr(n) for n in near) + "?"
