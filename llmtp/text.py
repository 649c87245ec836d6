"""Strings from files, engines and other people, made safe to show."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_SHOWN = 200
#: Of all that is drawn and said, in ASCII.
_PLAIN = {
    **dict(zip("█▉▊▋▌▍▎▏·", "#####....", strict=True)),
    **dict(zip("▇▆▅▄▃▂▁", "##+++..", strict=True)),
    **dict(zip("▓▒░▚╱", "%+:x/", strict=True)),
    "→": "->", "•": "*", "…": "...", "–": "-", "×": "x",
}  # fmt: skip


def clean(text: str, limit: int = _SHOWN) -> str:
    """Without control characters, terminal escapes or surrogates, cut at `limit` characters."""
    shown = "".join(c if c.isprintable() else "�" for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks, as a handler of errors for codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in missing), error.end


def without_passwords(text: str) -> str:
    """What stands before the host of a URL is nobody's business."""
    return re.sub(r"(://|%3A//)[^\s'\"]*@", r"\1***@", text)


def file_name(text: str) -> str:
    """A part of a file's name that any system takes."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:_SHOWN]


def near_names(wrong: str, names: Iterable[str], alike: float = 0.5) -> str | None:
    """`did you mean 'demo'?`, or None when nothing is near; `alike` is a share of the letters."""
    near = difflib.get_close_matches(wrong, list(names), n=3, cutoff=alike)
    if not near:
        return None
    return "did you mean " + " or ".join(repr(n) for n in near) + "?"
