"""The prompts that the demo pair is judged by; training leaves them out."""

from __future__ import annotations

import random
from collections.abc import Iterator

from demo_pair.texts import objects, phrases, programs, talks
from demo_pair.texts.words import Pair, joined, weighted

EACH = 40

# fmt: off
PROSE_TOPICS = frozenset((
    "the weather", "rivers", "good coffee", "how a bicycle works", "the ocean", "friendship",
    "healthy food", "old books", "the history of writing", "computer memory", "the moon",
    "city parks", "learning a language", "electric cars", "how bread is made", "mountains",
    "public libraries", "cats", "winter sports", "train stations", "clean code", "open source",
    "version numbers", "backups", "error messages", "compilers", "passwords", "file systems",
    "network cables", "code review", "web browsers", "keyboards", "release planning",
    "text editors", "debugging", "spreadsheets", "operating systems", "time zones",
    "data compression", "search engines",
))
FUNCTIONS = (
    "returns the last element of a list", "counts the spaces in a string",
    "returns the average length of the words in a text", "subtracts three numbers",
    "checks whether a string ends with a digit", "returns the third power of a number",
    "removes every vowel from a string", "joins two lists", "converts yards to meters",
    "returns the first item of a tuple", "counts the files in a folder",
    "reads the first line of a file", "returns the largest key of a dictionary",
    "checks whether two lists are equal", "adds five numbers", "repeats a string three times",
    "returns the middle character of a string", "converts ounces to grams",
    "checks whether a number is negative", "doubles every number in a list",
    "returns the number of uppercase letters in a string", "copies a file",
    "returns the keys of a dictionary as a list", "halves a number", "prints a triangle of stars",
)
LIST_TOPICS = (
    "macOS troubleshooting steps", "printer troubleshooting steps",
    "Kubernetes troubleshooting steps",
    "mail server troubleshooting steps", "USB troubleshooting steps", "Wi-Fi troubleshooting steps",
    "memory troubleshooting steps", "firewall troubleshooting steps",
)
# fmt: on


def prompts(rng: random.Random) -> Iterator[tuple[str, Pair]]:
    """Yield the prompts of every kind with their answers, which are empty where there are many."""
    for number in range(EACH):
        yield "code", (code_prompt(rng, number), "")
        yield "json", objects.repair(rng, objects.HELD_KEYS)
        yield "list", (list_prompt(rng), "")
        yield "math", talks.math_chat(rng, held=True)
        yield "translation", phrases.translation(rng, held=True)
    for topic in sorted(PROSE_TOPICS):
        yield "prose", (prose_prompt(rng, topic), "")


def code_prompt(rng: random.Random, number: int) -> str:
    """Return a prompt for a function that no task has, or for a class of another noun."""
    if number < len(FUNCTIONS):
        return programs.asked(rng, FUNCTIONS[number], "", True, programs.Style())
    names = [name for name, _ in programs.some_fields(rng)]
    what = rng.choice(("class", "dataclass"))
    return programs.class_prompt(rng, rng.choice(programs.HELD_NOUNS), names, what)


def list_prompt(rng: random.Random) -> str:
    """Return a prompt for a list on a topic that no bank has."""
    phrase = weighted(rng, talks.LISTED)
    fields = joined(["problem", "command", "judgment criteria"])
    return phrase.format(n=rng.randint(3, 6), t=rng.choice(LIST_TOPICS), f=fields)


def prose_prompt(rng: random.Random, topic: str) -> str:
    """Return a prompt for a paragraph on a topic."""
    if topic.startswith("how "):
        return f"Explain {topic}."
    return rng.choice(
        ("Explain {t}.", "Write a short paragraph about {t}.", "Describe {t}.")
    ).format(t=topic)
