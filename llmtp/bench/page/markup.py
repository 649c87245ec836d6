"""HTML and SVG from parts: what is not Markup is a stranger's text, and is made harmless here."""

from __future__ import annotations

import html
import unicodedata
from typing import Any, TypeAlias

#: Characters of one text; what is longer is cut.
MOST_CHARACTERS = 20_000
#: Larger numbers are no measurement, smaller ones nothing.
_MOST, _LEAST = 1e15, 1e-9
_VOID = frozenset({"meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "Markup | str | float | None"


def tag(name: str, /, *children: Child, **attributes: Child) -> Markup:
    """`class_` is the attribute class, `aria_label` aria-label; None leaves an attribute out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{told}>" + ("" if name in _VOID else f"{joined(*children)}</{name}>"))


def joined(*children: Child) -> Markup:
    """One after the other."""
    return Markup("".join(escaped(child) for child in children))


def escaped(child: Child) -> Markup:
    """Markup as it is, numbers as CSS and SVG read them, texts harmless, nothing of None."""
    if isinstance(child, Markup):
        return child
    if isinstance(child, int | float):
        return Markup(f"{child:.2f}".rstrip("0").rstrip("."))
    return Markup(html.escape(harmless(child or "")))


def harmless(text: str, limit: int = MOST_CHARACTERS) -> str:
    """With its lines, tabs and spaces, without other control characters; cut at `limit`."""
    lines = text[: limit + 1].replace("\r\n", "\n")
    shown = "".join(c if _is_shown(c) else "�" for c in lines)
    return shown if len(text) <= limit else shown[: limit - 1] + "…"


def number(value: Any) -> float | None:
    """What can be drawn; None of anything else, and of what no measurement gives."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not abs(value) <= _MOST:
        return None
    return float(value) if abs(value) >= _LEAST else 0.0


def _is_shown(character: str) -> bool:
    return character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs"
