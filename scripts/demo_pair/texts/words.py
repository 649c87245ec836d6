"""Words and helpers that several kinds of chats use."""

from __future__ import annotations

import random

Pair = tuple[str, str]  # a prompt and its answer

# fmt: off
PEOPLE = [
    "Ann", "Ben", "Carla", "David", "Emma", "Frank", "Grace", "Henry", "Ida", "Jack", "Karen",
    "Leo", "Maria", "Nina", "Oscar", "Paul", "Rosa", "Sam", "Tina", "Victor",
]
CITIES = [
    "Berlin", "Paris", "Madrid", "London", "Rome", "Vienna", "Oslo", "Lisbon", "Dublin",
    "Prague", "Boston", "Denver", "Tokyo",
]
TITLES = (
    "The Long Road", "A Quiet Winter", "Stars and Stones", "The Last Harbor", "Open Water",
    "The Glass Garden", "Letters from Home", "A Small Fire", "The Clockmaker", "Night Train",
)
PRODUCTS = (
    "Desk Lamp", "Coffee Mug", "Keyboard", "Backpack", "Water Bottle", "Notebook", "Headphones",
    "Office Chair", "Phone Case", "Table Clock",
)
# fmt: on


def weighted(rng: random.Random, options: tuple[tuple[str, int], ...]) -> str:
    """Return one of the texts by weight."""
    return rng.choices([text for text, _ in options], [weight for _, weight in options])[0]


def joined(words: list[str]) -> str:
    """Return the words as a list in English, with a comma before the last of three."""
    if len(words) < 3:
        return " and ".join(words)
    return f"{', '.join(words[:-1])}, and {words[-1]}"
