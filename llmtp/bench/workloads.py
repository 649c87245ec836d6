"""What is asked: kinds of text on which drafting fares differently, and the user's own prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtp.bench.checks import CHECKS
from llmtp.errors import NotFoundError, UsageError
from llmtp.text import clean, near_names

OWN = "own"
_MOST_BYTES = 4 << 20
_MOST_PROMPTS = 1000
_MOST_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts of one kind, each another one, so that no answer is a replay of the last."""

    name: str
    prompts: tuple[str, ...]

    @property
    def is_own(self) -> bool:
        """Of the user?"""
        return self.name == OWN

    @property
    def is_checked(self) -> bool:
        """Can answers be judged by their form?"""
        return self.name in CHECKS


#: The first of each of the structured ones is known from reports, so that figures compare.
WORKLOADS = (
    Workload(
        "code",
        (
            "Write a Python function that converts a Markdown table to CSV.",
            "Write a Python function that finds the longest common prefix of a list of strings.",
            "Write a Python function that merges two sorted lists into one sorted list.",
            "Write a Python function that counts how often each word occurs in a text file.",
            "Write a Python function that flattens a nested list of numbers.",
            "Write a Python function that groups a list of dictionaries by one of their keys.",
            "Write a Python function that checks whether a string of brackets is balanced.",
            "Write a Python function that rotates a matrix by 90 degrees.",
        ),
    ),
    Workload(
        "json",
        (
            "Fix the following JSON and output only valid JSON:\n"
            '{"name":"demo","items":[{"id":1,"tags":["a","b",],},]}',
            "Fix the following JSON and output only valid JSON:\n"
            '{"city": "Oslo", "open": true, "rooms": [101, 102, 103,], "price": 84.5,}',
            "Fix the following JSON and output only valid JSON:\n"
            "{'user': 'mira', 'groups': ['staff', 'night'], 'active': true}",
            "Fix the following JSON and output only valid JSON:\n"
            '{"host": "db1", "port": 5432 "replicas": ["db2", "db3"], "timeout": 30}',
            "Fix the following JSON and output only valid JSON:\n"
            '{"order": 7, "lines": [{"sku": "A4", "count": 2}, {"sku": "B9", "count": 1}',
            "Fix the following JSON and output only valid JSON:\n"
            '{title: "Harbour", pages: 212, authors: ["Lind", "Okafor"]}',
            "Fix the following JSON and output only valid JSON:\n"
            '{"sensor": "t1", "unit": "C", "values": [20.1, 20.4, , 20.9], "ok": True}',
            "Fix the following JSON and output only valid JSON:\n"
            '{"job": "backup", "hours": [2, 14], "keep": 7, "mail": null,}}',
        ),
    ),
    Workload(
        "list",
        (
            "Output 5 Linux troubleshooting steps in a fixed format. Each item should include: "
            "problem, command, and judgment criteria.",
            "Output 5 network troubleshooting steps in a fixed format. Each item should include: "
            "problem, command, and judgment criteria.",
            "Output 5 disk troubleshooting steps in a fixed format. Each item should include: "
            "problem, command, and judgment criteria.",
            "Output 5 Docker troubleshooting steps in a fixed format. Each item should include: "
            "problem, command, and judgment criteria.",
            "Output 5 memory troubleshooting steps in a fixed format. Each item should include: "
            "problem, command, and judgment criteria.",
            "Output 5 SSH troubleshooting steps in a fixed format. Each item should include: "
            "problem, command, and judgment criteria.",
            "Output 5 DNS troubleshooting steps in a fixed format. Each item should include: "
            "problem, command, and judgment criteria.",
            "Output 5 systemd troubleshooting steps in a fixed format. Each item should include: "
            "problem, command, and judgment criteria.",
        ),
    ),
    Workload(
        "prose",
        (
            "Write a short story about a lighthouse keeper who finds a letter.",
            "Describe a market at dawn in a mountain town.",
            "Write a short story about two brothers who repair an old boat.",
            "Explain to a friend why you moved from the city to a village.",
            "Write a short story about a train that stops where there is no station.",
            "Describe the last day of summer in a garden by the sea.",
            "Write a short story about a clock that runs backwards.",
            "Tell how a small bakery became the heart of its street.",
        ),
    ),
    Workload(
        "translation",
        (
            "Translate into German: The meeting begins at nine in the large room, and coffee is "
            "served before it.",
            "Translate into French: The old bridge was closed in winter because the river had "
            "risen too far.",
            "Translate into Spanish: My sister works in a hospital and reads a book every week.",
            "Translate into German: Please send us the signed contract before the month ends.",
            "Translate into Italian: We walked along the coast until it was dark, then took the "
            "last bus home.",
            "Translate into French: The children planted three apple trees behind the school.",
            "Translate into Spanish: The library opens late on Mondays, but the garden is always "
            "open.",
            "Translate into German: He could not find his keys, so he waited on the stairs.",
        ),
    ),
    Workload(
        "math",
        (
            "A shop sells pens at 3 dollars and notebooks at 7 dollars. How much do 4 pens and 5 "
            "notebooks cost? Show the steps.",
            "A train travels 240 km in 3 hours. How far does it travel in 5 hours at the same "
            "speed? Show the steps.",
            "Paul earns 12 dollars an hour and works 18 hours. How much does he earn? Show the "
            "steps.",
            "A tank holds 900 litres and loses 45 litres an hour. When is it empty? Show the "
            "steps.",
            "What is 15 percent of 460? Show the steps.",
            "The sides of a rectangle are 14 and 9. What are its area and its perimeter? Show the "
            "steps.",
            "Three friends share 171 marbles equally. How many does each one get? Show the steps.",
            "A number is doubled, then 17 is added, which gives 63. What is the number? Show the "
            "steps.",
        ),
    ),
)


def chosen(names: Sequence[str]) -> tuple[Workload, ...]:
    """Those of these names, in our order; raises UsageError for a name that there is not."""
    known = {one.name: one for one in WORKLOADS}
    for name in names:
        if name not in known:
            near = near_names(name, known)
            raise UsageError(
                f"--workload {clean(name, 40)!r} is not known",
                expected=", ".join(known),
                fix=near or "leave out --workload for all",
            )
    return tuple(one for one in WORKLOADS if one.name in names)


def read_prompts(path: Path) -> Workload:
    """The user's own: a prompt a line; a line of JSON, a string or `{"prompt": ...}`, may hold
    line breaks. Raises NotFoundError and UsageError."""
    text = _read(path)
    prompts = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            prompts.append(_prompt(line.strip(), f"{clean(str(path))}, line {number}"))
    if not 0 < len(prompts) <= _MOST_PROMPTS:
        raise UsageError(
            f"{clean(str(path))} has {len(prompts) or 'no'} prompts",
            rule="prompts",
            expected=f"1 to {_MOST_PROMPTS}, one a line",
            fix="write a prompt a line",
        )
    return Workload(OWN, tuple(dict.fromkeys(prompts)))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no file {clean(str(path))}", rule="prompts", fix="see --prompts"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no such name is possible"
        raise UsageError(
            f"{clean(str(path))} cannot be read: {why}",
            rule="prompts",
            fix="name a text file with a prompt a line",
        ) from None
    try:
        if len(data) > _MOST_BYTES:
            raise ValueError("it is longer than 4 MiB")
        return data.decode("utf-8-sig")
    except ValueError as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise UsageError(
            f"{clean(str(path))} is no file of prompts: {why}",
            rule="prompts",
            expected="UTF-8 text, a prompt a line",
            fix="see --prompts",
        ) from None


def _prompt(line: str, where: str) -> str:
    value: Any = line
    if line.startswith(('"', "{")):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = line if line.startswith('"') else None
    if isinstance(value, dict):
        value = value.get("prompt")
    if not isinstance(value, str) or not value.strip() or len(value) > _MOST_CHARACTERS:
        raise UsageError(
            f"{where} has no prompt",
            rule="prompts",
            expected=f'text, or JSON such as {{"prompt": "..."}}, up to {_MOST_CHARACTERS:,} '
            "characters",
            fix="mend that line",
        )
    return value.encode("utf-8", "replace").decode("utf-8")
