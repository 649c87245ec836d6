"""Which lines of a log to show: the last ones, and of those before what tells. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

MOST_LINES, _MOST_TELLING = 200, 120


@dataclass(frozen=True, slots=True)
class Chosen:
    """Lines to show, in their order, with a mark where others are left out."""

    lines: tuple[str, ...]
    left_out: int


def choose(
    lines: Sequence[str],
    tells: Callable[[str], bool],
    show: Callable[[str], str],
    most_characters: int,
) -> Chosen:
    """The last lines, and of those before what `tells`, as `show` makes them, within the room.

    The telling ones may take a third of it.
    """
    start = max(len(lines) - MOST_LINES, 0)
    older = [at for at in range(start) if tells(lines[at])]
    older = [*older[: _MOST_TELLING // 2], *older[_MOST_TELLING // 2 :][-_MOST_TELLING // 2 :]]
    room = most_characters
    kept: dict[int, str] = {}
    for at in older:
        text = show(lines[at])
        if len(text) + 60 > room - 2 * most_characters // 3:
            break
        kept[at] = text
        room -= len(text) + 60
    for at in range(len(lines) - 1, start - 1, -1):
        text = show(lines[at])
        if len(text) + 60 > room:
            break
        kept[at] = text
        room -= len(text) + 1
    return Chosen(tuple(_marked(kept, len(lines))), len(lines) - len(kept))


def _marked(kept: dict[int, str], total: int) -> Iterator[str]:
    before = -1
    for at in [*sorted(kept), total]:
        if at - before > 1:
            yield f"[{at - before - 1:,} line(s) left out]"
        if at < total:
            yield kept[at]
        before = at
