"""The texts that the demo pair is trained on, and the prompts that it is judged by.

    cd scripts && python -m demo_pair.corpus FOLDER     fetch, then show and check samples

Standard library only; what comes out depends on the seed, the pinned sources and the Python
that runs, whose library is one of them (the shipped pair saw that of 3.11.7).
"""

from __future__ import annotations

import json
import operator
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo_pair.texts import held, objects, phrases, programs, prose, talks
from demo_pair.texts.library import docstrings, functions
from demo_pair.texts.sources import fetch, modules, sections

__all__ = ["Chat", "chats", "documents", "fetch", "held_out"]

KINDS = ("code", "json", "list", "prose", "math", "translation")
WEIGHTS = (35, 20, 15, 20, 5, 5)
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@dataclass(frozen=True, slots=True)
class Chat:
    """A prompt and its answer; the kind is one of KINDS."""

    kind: str
    prompt: str
    answer: str


def documents(folder: Path) -> Iterator[str]:
    """Yield the plain texts for pre-training: English pages, then whole Python modules."""
    yield from prose.pages(sections(folder), docstrings(folder))
    yield from modules(folder)


def chats(folder: Path, seed: int, count: int) -> Iterator[Chat]:
    """Yield as many chats as asked for, the same for the same seed."""
    rng = random.Random(seed)
    known = functions(folder)
    found = tuple(item for item in known if item.purpose not in held.FUNCTIONS)
    explained = prose.subjects(sections(folder))
    kept = {chat.prompt for chat in held_out()}
    while count > 0:
        kind = rng.choices(KINDS, WEIGHTS)[0]
        if kind == "code":
            pair = programs.code(rng, found)
        elif kind == "json":
            pair = objects.json_chat(rng)
        elif kind == "list":
            pair = talks.list_chat(rng)
        elif kind == "prose":
            pair = prose.chat(rng, explained)
        elif kind == "math":
            pair = talks.math_chat(rng)
        else:
            pair = phrases.translation(rng)
        if pair[0] not in kept:
            count -= 1
            yield Chat(kind, *pair)


def held_out() -> list[Chat]:
    """Return prompts that training never sees, 40 of each kind, always the same.

    Answers are given only where there is but one.
    """
    return [Chat(kind, *pair) for kind, pair in held.prompts(random.Random(0))]


def check(chat: Chat) -> None:
    """Assert what can be said of a generated chat."""
    assert chat.prompt.isascii(), chat
    assert chat.answer.isascii(), chat
    assert 0 < len(chat.answer) <= 1200, chat
    if chat.kind == "code":
        assert programs.valid(chat.answer), chat
    if chat.kind == "json":
        json.loads(chat.answer)
    if chat.kind == "math":
        sums = re.match(r"(\d+) ([-+*/]) (\d+) = (-?\d+)$", chat.answer, re.M)
        assert sums, chat
        assert OPERATIONS[sums[2]](int(sums[1]), int(sums[3])) == int(sums[4]), chat


def main() -> None:
    """Fetch the sources, then print and check samples of every kind."""
    folder = Path(sys.argv[1])
    fetch(folder)
    began = time.monotonic()
    english = sum(map(len, prose.pages(sections(folder), docstrings(folder))))
    print(f"{english} characters of English, {sum(map(len, modules(folder)))} of Python,", end=" ")
    print(f"{len(functions(folder))} functions: {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    made = list(chats(folder, 1, 5000))
    print(f"{(time.monotonic() - began) / 5:.2f} s for 1000 chats")
    for kind in KINDS:
        some = [chat for chat in made if chat.kind == kind]
        for chat in some:
            check(chat)
        length = sum(len(chat.answer) for chat in some) / len(some)
        print(f"\n=== {kind}: {len(some)} chats, {length:.0f} characters an answer")
        for chat in some[:2]:
            print(f"--- {chat.prompt}\n{chat.answer}")
    print(f"\n{len(held_out())} prompts held out")


if __name__ == "__main__":
    main()
