"""Generated chats that ask for lists, tables and sums."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from demo_pair.texts.words import CITIES, PEOPLE, PRODUCTS, TITLES, Pair, joined, weighted

#: The first banks are of troubleshooting steps, Linux before all.
TROUBLESHOOTING = 8
# fmt: off
LISTED = (
    ("Output {n} {t} in a fixed format. Each item should include: {f}.", 6),
    ("List {n} {t}. Each item should include: {f}.", 3), ("Give me {n} {t} with {f}.", 2),
    ("Output {n} {t} in a fixed format with {f}.", 2),
    ("Write a numbered list of {n} {t} with {f}.", 2),
    ("Please list {n} {t} in a fixed format. Each item should include: {f}.", 1),
    ("output {n} {t} in a fixed format, each with {f}", 1),
)
TABLES = (
    "Make a Markdown table of {n} {t} with the columns {f}.",
    "Write a Markdown table of {n} {t} with {f}.",
    "Show {n} {t} as a Markdown table with the columns {f}.",
    "Give me a Markdown table with {n} {t}. The columns are {f}.",
)
NUMBERED = ("{n}", "{n}", "{n}", "{w}")
COUNT_WORDS = ("", "one", "two", "three", "four", "five", "six", "seven")
# fmt: on


@dataclass(frozen=True, slots=True)
class Bank:
    """The rows of one topic in lists.txt, and what their fields are called."""

    topic: str
    fields: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@cache
def banks() -> tuple[Bank, ...]:
    """Return the banks of lists.txt."""
    text = Path(__file__).with_name("lists.txt").read_text("ascii")
    return tuple(map(read_bank, text.strip().split("\n\n")))


def read_bank(block: str) -> Bank:
    """Return the bank that a block describes."""
    head, *lines = block.splitlines()
    topic, _, fields = head.removeprefix("# ").partition(" | ")
    rows = tuple(tuple(line.split(" | ")) for line in lines)
    return Bank(topic, tuple(fields.split(", ")), rows)


def list_chat(rng: random.Random) -> Pair:
    """Return a chat that asks for a list in a fixed format."""
    if rng.random() < 0.3:
        return table_chat(rng)
    every = banks()
    steps, linux = every[:TROUBLESHOOTING], every[:1]
    bank = rng.choice(rng.choices((every, steps, linux), (50, 35, 15))[0])
    size = len(bank.fields) if rng.random() < 0.75 else rng.randint(2, len(bank.fields))
    n = min(rng.choice((3, 4, 5, 5, 6, 7)), len(bank.rows))
    prompt = weighted(rng, LISTED).format(
        n=rng.choice(NUMBERED).format(n=n, w=COUNT_WORDS[n]),
        t=bank.topic, f=joined(list(bank.fields[:size])),
    )  # fmt: skip
    rows = rng.sample(bank.rows, n)
    return prompt, numbered(bank.fields[:size], rows)


def numbered(fields: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return the rows as a numbered list, one field a line."""
    items = []
    for number, row in enumerate(rows, 1):
        lines = [f"{field.capitalize()}: {cell}" for field, cell in zip(fields, row, strict=False)]
        items.append(f"{number}. " + "\n   ".join(lines))
    return "\n".join(items)


def table_rows(rng: random.Random) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """Return a topic, its columns and random rows."""
    number, people = rng.randint, rng.sample(PEOPLE, 6)
    rows: list[tuple[str, ...]]
    kind = rng.randrange(5)
    if kind == 0:
        rows = [(who, str(number(18, 80)), rng.choice(CITIES)) for who in people]
        return "people", ("name", "age", "city"), rows
    if kind == 1:
        names = rng.sample(PRODUCTS, 6)
        rows = [(name, f"{number(199, 9999) / 100:.2f}", str(number(0, 200))) for name in names]
        return "products", ("product", "price", "stock"), rows
    if kind == 2:
        sky = ("sunny", "rain", "cloudy")
        rows = [(c, f"{number(-5, 35)} C", rng.choice(sky)) for c in rng.sample(CITIES, 6)]
        return "cities", ("city", "temperature", "weather"), rows
    if kind == 3:
        state = ("up", "up", "down")
        rows = [(f"server{i}", f"10.0.0.{number(2, 250)}", rng.choice(state)) for i in range(1, 7)]
        return "servers", ("name", "address", "status"), rows
    titles = rng.sample(TITLES, 6)
    rows = [(titles[i], people[i], str(number(1950, 2024))) for i in range(6)]
    return "books", ("title", "author", "year"), rows


def table_chat(rng: random.Random) -> Pair:
    """Return a chat that asks for a Markdown table."""
    if rng.random() < 0.4:
        bank = rng.choice(banks()[TROUBLESHOOTING:])
        topic, fields, rows = bank.topic, bank.fields, rng.sample(bank.rows, 6)
    else:
        topic, fields, rows = table_rows(rng)
    n = rng.randint(3, 6)
    prompt = rng.choice(TABLES).format(n=n, t=topic, f=joined(list(fields)))
    lines = [tuple(field.capitalize() for field in fields), tuple("---" for _ in fields), *rows[:n]]
    return prompt, "\n".join(f"| {' | '.join(line)} |" for line in lines)


def withheld(*numbers: int) -> bool:
    """Say whether a sum of these numbers is kept for the evaluation."""
    return sum(n * (7 + 3 * i) for i, n in enumerate(numbers)) % 11 == 0


def numbers_for(rng: random.Random, low: int, high: int, held: bool) -> tuple[int, int]:
    """Return two numbers, of those kept for the evaluation or of the others."""
    while True:
        a, b = rng.randint(low, high), rng.randint(low, high)
        if withheld(a, b) == held:
            return a, b


def math_chat(rng: random.Random, held: bool = False) -> Pair:
    """Return a chat about a sum, plain or in words."""
    if rng.random() < 0.45:
        return word_problem(rng, held)
    sign = rng.choice("++--**/")
    a, b = numbers_for(rng, 2, 30 if sign in "*/" else 200, held)
    if sign == "/":
        question, result = f"{a * b} / {b}", a
    else:
        while sign == "-" and a < b:
            a, b = numbers_for(rng, 2, 200, held)
        question, result = f"{a} {sign} {b}", {"+": a + b, "-": a - b, "*": a * b}[sign]
    phrases = ("What is {q}?", "What is {q}?", "Calculate {q}.", "Compute {q}", "How much is {q}?")
    return rng.choice(phrases).format(q=question), f"{question} = {result}"


# fmt: off
PROBLEMS = (
    ("{who} has {a} {thing} and buys {b} more. How many {thing} does {who} have now?", "+",
     "{who} has {s} {thing} now."),
    ("{who} has {big} {thing} and gives away {b}. How many {thing} are left?", "-",
     "{who} has {s} {thing} left."),
    ("There are {a} boxes with {b} {thing} each. How many {thing} are there?", "*",
     "There are {s} {thing}."),
    ("{who} reads {a} pages a day for {b} days. How many pages does {who} read?", "*",
     "{who} reads {s} pages."),
    ("A shop sells {a} {thing} on Monday and {b} on Tuesday. How many {thing} does it sell?", "+",
     "The shop sells {s} {thing}."),
    ("{who} earns {a} dollars an hour and works {b} hours. How much does {who} earn?", "*",
     "{who} earns {s} dollars."),
    ("A train travels {a} kilometers an hour for {b} hours. How far does it travel?", "*",
     "The train travels {s} kilometers."),
)
THINGS = [
    "apples", "books", "pens", "coins", "stamps", "cards", "marbles", "oranges", "pencils",
    "tickets", "cups", "stones",
]
# fmt: on


def word_problem(rng: random.Random, held: bool) -> Pair:
    """Return a chat about a sum in words."""
    question, sign, answer = rng.choice(PROBLEMS)
    a, b = numbers_for(rng, 2, 20 if sign == "*" else 60, held)
    names = {"who": rng.choice(PEOPLE), "thing": rng.choice(THINGS), "a": a, "b": b, "big": a + b}
    left = a + b if sign == "-" else a
    result = {"+": a + b, "-": a, "*": a * b}[sign]
    working = f"{left} {sign} {b} = {result}"
    return question.format(**names), f"{working}\n{answer.format(s=result, **names)}"
