"""Where the token lists of two models part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmtp.gguf.facts import TOKENS
from llmtp.gguf.reader import iter_strings
from llmtp.text import clean

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class TokenDifference:
    """The first id that means another token in the drafter."""

    id: int
    main: str
    draft: str


def first_difference(main: Path, draft: Path) -> TokenDifference | None:
    """Walk both token lists at once; None when one is a start of the other, or they are equal.

    Raises BadFileError for files that changed since their header was read.
    """
    with main.open("rb") as ours, draft.open("rb") as theirs:
        pairs = zip(
            iter_strings(ours, main.stat().st_size, clean(str(main), 300), TOKENS),
            iter_strings(theirs, draft.stat().st_size, clean(str(draft), 300), TOKENS),
            strict=False,
        )
        for number, (a, b) in enumerate(pairs):
            if a != b:
                return TokenDifference(number, _text(a), _text(b))
    return None


def _text(raw: bytes) -> str:
    return clean(raw.decode("utf-8", "replace"), _SHOWN)
