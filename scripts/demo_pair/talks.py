"""Generated chats about anything but code: JSON, lists, tables, sums, translations and prose."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

Pair = tuple[str, str]
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

# fmt: off
KEYS = (
    ["id", "name", "items", "tags", "type", "value", "user", "email", "age", "title", "price", "count", "active", "status", "url", "path", "size", "color", "data", "config", "enabled", "host", "port", "version", "list", "author", "year", "roles", "settings", "level", "key", "mode", "city", "country", "score", "options", "debug", "timeout", "limit", "rows", "columns", "text", "label", "width", "height", "owner", "created", "updated", "total", "unit", "note", "group", "parent", "children", "files", "code", "language", "theme"]
)
HELD_KEYS = (
    ["sensor", "flavor", "altitude", "captain", "voltage", "harvest", "chapter", "orbit", "tempo", "reef", "badge", "cabin"]
)
WORDS = (
    ["demo", "test", "a", "b", "c", "x", "y", "z", "red", "green", "blue", "alpha", "beta", "main", "admin", "guest", "user1", "box", "cat", "dog", "tree", "book", "apple", "pear", "north", "south", "home", "work", "open", "closed", "new", "old", "small", "large", "info", "error", "ok", "yes", "no", "todo", "done", "json", "text", "html", "dark", "light", "en", "de", "fr", "v1", "v2", "linux", "server1", "report", "april", "june", "monday"]
)
PEOPLE = (
    ["Ann", "Ben", "Carla", "David", "Emma", "Frank", "Grace", "Henry", "Ida", "Jack", "Karen", "Leo", "Maria", "Nina", "Oscar", "Paul", "Rosa", "Sam", "Tina", "Victor"]
)
SURNAMES = ["Smith", "Brown", "Miller", "Young", "Stone", "Baker", "Fisher", "Wood", "Hill", "Carter", "Reed", "Lane"]
CITIES = (
    ["Berlin", "Paris", "Madrid", "London", "Rome", "Vienna", "Oslo", "Lisbon", "Dublin", "Prague", "Boston", "Denver", "Tokyo"]
)
TITLES = (
    "The Long Road", "A Quiet Winter", "Stars and Stones", "The Last Harbor", "Open Water",
    "The Glass Garden", "Letters from Home", "A Small Fire", "The Clockmaker", "Night Train",
)
PRODUCTS = (
    "Desk Lamp", "Coffee Mug", "Keyboard", "Backpack", "Water Bottle", "Notebook", "Headphones",
    "Office Chair", "Phone Case", "Table Clock",
)
REPAIRS = (
    ("Fix the following JSON and output only valid JSON:\n{j}", 12),
    ("Fix this JSON and output only valid JSON:\n{j}", 3), ("Fix the following JSON:\n{j}", 3),
    ("Repair the following JSON and output only the result:\n{j}", 2),
    ("The following JSON is broken. Output the corrected JSON only:\n{j}", 2),
    ("Please fix the following JSON and output only valid JSON:\n{j}", 2),
    ("Correct this JSON:\n{j}", 1), ("fix the following json and output only valid json:\n{j}", 1),
    ("Turn this into valid JSON:\n{j}", 1),
)
LISTED = (
    ("Output {n} {t} in a fixed format. Each item should include: {f}.", 6),
    ("List {n} {t}. Each item should include: {f}.", 3), ("Give me {n} {t} with {f}.", 2),
    ("Output {n} {t} in a fixed format with {f}.", 2), ("Write a numbered list of {n} {t} with {f}.", 2),
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


def weighted(rng: random.Random, options: tuple[tuple[str, int], ...]) -> str:
    """Return one of the texts by weight."""
    return rng.choices([text for text, _ in options], [weight for _, weight in options])[0]


# --- JSON


def scalar(rng: random.Random) -> Json:
    """Return a plain value, most often a short word or number."""
    pick = rng.random()
    if pick < 0.45:
        return rng.choice(WORDS)
    if pick < 0.8:
        return rng.randint(0, rng.choice((5, 10, 100, 3000)))
    if pick < 0.86:
        return rng.randint(1, 999) / 10
    return rng.choice((True, False, True, False, None))


def value(rng: random.Random, depth: int, keys: list[str]) -> Json:
    """Return a value with at most this many levels in it."""
    pick = rng.random()
    if depth > 0 and pick < 0.25:
        return {key: value(rng, depth - 1, keys) for key in rng.sample(keys, rng.randint(1, 3))}
    if depth > 0 and pick < 0.5:
        if rng.random() < 0.5:
            return [rng.choice(WORDS) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.4:
            return [rng.randint(0, 20) for _ in range(rng.randint(1, 4))]
        return list_of_objects(rng, depth, keys)
    return scalar(rng)


def list_of_objects(rng: random.Random, depth: int, keys: list[str]) -> Json:
    """Return a list of one or two objects with the same keys."""
    chosen = ["id", rng.choice([key for key in keys if key != "id"])]
    second = rng.random() < 0.4 and depth > 1
    rows: list[Json] = []
    for number in range(1, rng.choice((2, 2, 3))):
        words: list[Json] = [rng.choice(WORDS) for _ in range(rng.randint(1, 3))]
        rows.append({chosen[0]: number, chosen[1]: words if second else scalar(rng)})
    return rows


def json_object(rng: random.Random, keys: list[str]) -> dict[str, Json]:
    """Return a small object in the style of a configuration or an answer of a service."""
    chosen = rng.sample(keys, rng.randint(1, 4))
    if rng.random() < 0.3 and "name" in keys:
        name: Json = rng.choice(WORDS)
        rows = list_of_objects(rng, 2, keys)
        if rng.random() < 0.3:
            rows = [{"id": rng.randint(1, 9), "tags": [rng.choice(WORDS) for _ in range(2)]}]
        return {"name": name, rng.choice(("items", "items", "rows", "data", "list")): rows}
    return {key: value(rng, 2, keys) for key in chosen}


def dumped(item: Json, indented: bool) -> str:
    """Return the JSON, compact or indented by two."""
    if indented:
        return json.dumps(item, indent=2)
    return json.dumps(item, separators=(",", ":"))


def broken(rng: random.Random, text: str) -> str:
    """Return the JSON broken in one or more of the usual ways."""
    first = rng.choices(
        (trailing, unquoted_keys, single, cut, comment, no_comma, bare), (6, 3, 3, 3, 1, 2, 2)
    )
    result = first[0](rng, text)
    if rng.random() < 0.3:
        result = rng.choice((trailing, unquoted_keys, single))(rng, result)
    return result


def trailing(rng: random.Random, text: str) -> str:
    """Put commas before closing brackets."""
    every = rng.random() < 0.6
    changed = re.sub(
        r"(?<=[^\s{\[,])(\s*[}\]])",
        lambda match: f",{match[1]}" if every or rng.random() < 0.5 else match[1],
        text[:-1],
    )
    tail = text[-1]
    if changed == text[:-1] or (every and rng.random() < 0.8):
        body = changed.rstrip()
        changed = body + "," + changed[len(body) :]
    return changed + tail


def unquoted_keys(_: random.Random, text: str) -> str:
    """Take the quotes off the keys."""
    return re.sub(r"[\"'](\w+)[\"'](\s*:)", r"\1\2", text)


def single(_: random.Random, text: str) -> str:
    """Use single quotes."""
    return text.replace('"', "'")


def cut(rng: random.Random, text: str) -> str:
    """Leave out one or two closing brackets at the end."""
    end = re.search(r"[\]}\s]*$", text)
    closing = [
        match.start()
        for match in re.finditer(r"[\]}]", text)
        if end and match.start() >= end.start()
    ]
    return text[: closing[-min(len(closing), rng.choice((1, 1, 2)))]].rstrip()


def comment(rng: random.Random, text: str) -> str:
    """Add a comment."""
    words = rng.choice(("the name", "todo", "check this", "default", "optional"))
    if "\n" in text:
        lines = text.split("\n")
        row = rng.randrange(len(lines))
        lines[row] += f" // {words}"
        return "\n".join(lines)
    where = text.find(",") + 1 or len(text)
    return f"{text[:where]}/* {words} */{text[where:]}"


def no_comma(rng: random.Random, text: str) -> str:
    """Leave out one comma between two keys."""
    places = [match.start() for match in re.finditer(r",(?=\s*\")", text)]
    if not places:
        return trailing(rng, text)
    where = rng.choice(places)
    return text[:where] + (" " if text[where + 1] != "\n" else "") + text[where + 1 :]


def bare(rng: random.Random, text: str) -> str:
    """Take the quotes off one value."""
    found = list(re.finditer(r"(:\s*)\"(\w+)\"", text))
    found = [m for m in found if m[2] not in ("true", "false", "null") and m[2].isalpha()]
    if not found:
        return unquoted_keys(rng, text)
    match = rng.choice(found)
    return text[: match.start()] + match[1] + match[2] + text[match.end() :]


def repair(rng: random.Random, keys: list[str] = KEYS) -> Pair:
    """Return a chat that repairs JSON."""
    while True:
        text = dumped(json_object(rng, keys), rng.random() < 0.25)
        if 12 <= len(text) <= 250:
            break
    return weighted(rng, REPAIRS).format(j=broken(rng, text)), text


def person(rng: random.Random) -> tuple[str, str]:
    """Return a name and an address for mail."""
    first, last = rng.choice(PEOPLE), rng.choice(SURNAMES)
    return f"{first} {last}", f"{first.lower()}.{last.lower()}@example.com"


def things(rng: random.Random) -> dict[str, dict[str, Json]]:
    """Return one object of every kind that can be asked for."""
    name, mail = person(rng)
    number, city = rng.randint(1, 9999), rng.choice(CITIES)
    day = f"{rng.randint(2019, 2026)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    price = rng.randint(199, 9999) / 100
    return {
        "user": {"id": number, "name": name, "email": mail, "active": rng.random() < 0.7},
        "server": {
            "name": f"server{rng.randint(1, 40)}", "host": f"10.0.{rng.randint(0, 9)}.{rng.randint(2, 250)}",
            "port": rng.choice((22, 80, 443, 8080, 5432)), "enabled": rng.random() < 0.7,
        },
        "book": {
            "title": rng.choice(TITLES), "author": name, "year": rng.randint(1950, 2024),
            "pages": rng.randint(90, 700),
        },
        "order": {
            "id": number, "customer": name,
            "items": [{"product": rng.choice(PRODUCTS), "quantity": rng.randint(1, 5), "price": price}],
            "date": day,
        },
        "product": {"id": number, "name": rng.choice(PRODUCTS), "price": price, "stock": rng.randint(0, 200)},
        "city": {"name": city, "population": rng.randint(50, 9000) * 1000, "capital": rng.random() < 0.5},
        "address": {"street": f"{rng.choice(SURNAMES)} Street {rng.randint(1, 99)}", "city": city, "zip": f"{rng.randint(10000, 99999)}"},
        "event": {"title": f"Meeting in {city}", "date": day, "people": rng.sample(PEOPLE, 3)},
        "car": {"brand": rng.choice(SURNAMES), "year": rng.randint(2001, 2025), "color": rng.choice(("red", "blue", "black", "white")), "doors": rng.choice((3, 5))},
        "message": {"from": mail, "subject": f"Order {number}", "read": rng.random() < 0.5, "date": day},
        "task": {"id": number, "title": f"Call {name}", "done": rng.random() < 0.5, "due": day},
        "student": {"name": name, "age": rng.randint(18, 30), "courses": rng.sample(("math", "physics", "history", "music", "biology"), 2)},
    }  # fmt: skip


def described(rng: random.Random) -> Pair:
    """Return a chat that asks for a JSON object."""
    kind, item = rng.choice(list(things(rng).items()))
    article = "an" if kind[0] in "aeiou" or kind == "" else "a"
    phrases = (
        f"Write a JSON object that describes {article} {kind}.",
        f"Give me a JSON object for {article} {kind}.",
        f"Show me an example of {article} {kind} as JSON.",
        f"Write JSON for {article} {kind} with the keys {joined(list(item))}.",
        f"Create a JSON object for {article} {kind} with {joined(list(item))}",
        f"Write a JSON object that describes {article} {kind}. Output only JSON.",
    )
    return rng.choice(phrases).replace("a user", "a user"), dumped(dict(item), True)


def json_chat(rng: random.Random) -> Pair:
    """Return a chat about JSON."""
    return repair(rng) if rng.random() < 0.7 else described(rng)


# --- lists and tables


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


def joined(words: list[str]) -> str:
    """Return the words as a list in English, with a comma before the last of three."""
    if len(words) < 3:
        return " and ".join(words)
    return f"{', '.join(words[:-1])}, and {words[-1]}"


def list_chat(rng: random.Random) -> Pair:
    """Return a chat that asks for a list in a fixed format."""
    if rng.random() < 0.3:
        return table_chat(rng)
    every = banks()
    bank = rng.choice(every if rng.random() < 0.6 else every[:8])
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
    kind = rng.randrange(5)
    people = rng.sample(PEOPLE, 6)
    number = rng.randint
    if kind == 0:
        rows = [(who, str(number(18, 80)), rng.choice(CITIES)) for who in people]
        return "people", ("name", "age", "city"), rows
    if kind == 1:
        names = rng.sample(PRODUCTS, 6)
        rows = [(name, f"{number(199, 9999) / 100:.2f}", str(number(0, 200))) for name in names]
        return "products", ("product", "price", "stock"), rows
    if kind == 2:
        cities = rng.sample(CITIES, 6)
        rows = [(c, f"{number(-5, 35)} C", rng.choice(("sunny", "rain", "cloudy"))) for c in cities]
        return "cities", ("city", "temperature", "weather"), rows
    if kind == 3:
        rows = [
            (f"server{i}", f"10.0.0.{number(2, 250)}", rng.choice(("up", "down")))
            for i in range(1, 7)
        ]
        return "servers", ("name", "address", "status"), rows
    rows = [
        (t, who, str(number(1950, 2024)))
        for t, who in zip(rng.sample(TITLES, 6), people, strict=True)
    ]
    return "books", ("title", "author", "year"), rows


def table_chat(rng: random.Random) -> Pair:
    """Return a chat that asks for a Markdown table."""
    if rng.random() < 0.4:
        bank = rng.choice(banks()[8:])
        topic, fields, rows = bank.topic, bank.fields, rng.sample(bank.rows, 6)
    else:
        topic, fields, rows = table_rows(rng)
    n = rng.randint(3, 6)
    prompt = rng.choice(TABLES).format(n=n, t=topic, f=joined(list(fields)))
    lines = [tuple(field.capitalize() for field in fields), tuple("---" for _ in fields), *rows[:n]]
    return prompt, "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- sums


def withheld(*numbers: int) -> bool:
    """Say whether a sum of these numbers is kept for the evaluation."""
    return sum(n * (7 + 4 * i) for i, n in enumerate(numbers)) % 11 == 0


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
        a, b = (max(a, b), min(a, b)) if sign == "-" and not held else (a, b)
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
THINGS = ["apples", "books", "pens", "coins", "stamps", "cards", "marbles", "oranges", "pencils", "tickets", "cups", "stones"]
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
