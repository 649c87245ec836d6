"""Generated chats about JSON: broken JSON to repair, and objects to write."""

from __future__ import annotations

import json
import random
import re

from demo_pair.texts.words import CITIES, PEOPLE, PRODUCTS, TITLES, Pair, joined, weighted

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

# fmt: off
KEYS = [
    "id", "name", "items", "tags", "type", "value", "user", "email", "age", "title", "price",
    "count", "active", "status", "url", "path", "size", "color", "data", "config", "enabled",
    "host", "port", "version", "list", "author", "year", "roles", "settings", "level", "key",
    "mode", "city", "country", "score", "options", "debug", "timeout", "limit", "rows",
    "columns", "text", "label", "width", "height", "owner", "created", "updated", "total",
    "unit", "note", "group", "parent", "children", "files", "code", "language", "theme",
]
HELD_KEYS = [
    "sensor", "flavor", "altitude", "captain", "voltage", "harvest", "chapter", "orbit",
    "tempo", "reef", "badge", "cabin",
]
WORDS = [
    "demo", "test", "a", "b", "c", "x", "y", "z", "red", "green", "blue", "alpha", "beta",
    "main", "admin", "guest", "user1", "box", "cat", "dog", "tree", "book", "apple", "pear",
    "north", "south", "home", "work", "open", "closed", "new", "old", "small", "large", "info",
    "error", "ok", "yes", "no", "todo", "done", "json", "text", "html", "dark", "light", "en",
    "de", "fr", "v1", "v2", "linux", "server1", "report", "april", "june", "monday",
]
SURNAMES = [
    "Smith", "Brown", "Miller", "Young", "Stone", "Baker", "Fisher", "Wood", "Hill", "Carter",
    "Reed", "Lane",
]
ENDINGS = ("a", "e", "i", "o", "u", "an", "er", "ol", "it")
PARTS = [start + end for start in "bcdfghjklmnprstvwz" for end in ENDINGS]
REPAIRS = (
    ("Fix the following JSON and output only valid JSON:\n{j}", 12),
    ("Fix this JSON and output only valid JSON:\n{j}", 3), ("Fix the following JSON:\n{j}", 3),
    ("Repair the following JSON and output only the result:\n{j}", 2),
    ("The following JSON is broken. Output the corrected JSON only:\n{j}", 2),
    ("Please fix the following JSON and output only valid JSON:\n{j}", 2),
    ("Correct this JSON:\n{j}", 1), ("fix the following json and output only valid json:\n{j}", 1),
    ("Turn this into valid JSON:\n{j}", 1),
)
# fmt: on


def word(rng: random.Random) -> str:
    """Return a word of the list, or one that nobody knows, so that copying is learnt."""
    if rng.random() < 0.7:
        return rng.choice(WORDS)
    letters = "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 3)))
    return letters + (str(rng.randint(0, 99)) if rng.random() < 0.2 else "")


def scalar(rng: random.Random) -> Json:
    """Return a plain value, most often a short word or number."""
    pick = rng.random()
    if pick < 0.45:
        return word(rng)
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
            return [word(rng) for _ in range(rng.randint(1, 3))]
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
        words: list[Json] = [word(rng) for _ in range(rng.randint(1, 3))]
        rows.append({chosen[0]: number, chosen[1]: words if second else scalar(rng)})
    return rows


def json_object(rng: random.Random, keys: list[str]) -> dict[str, Json]:
    """Return a small object in the style of a configuration or an answer of a service."""
    chosen = rng.sample(keys, rng.randint(1, 4))
    if keys is KEYS and rng.random() < 0.3:
        chosen[0] = word(rng)
    if rng.random() < 0.3 and "name" in keys:
        name: Json = word(rng)
        rows = list_of_objects(rng, 2, keys)
        if rng.random() < 0.3:
            rows = [{"id": rng.randint(1, 9), "tags": [word(rng) for _ in range(2)]}]
        return {"name": name, rng.choice(("items", "items", "rows", "data", "list")): rows}
    return {key: value(rng, 2, keys) for key in chosen}


def dumped(item: Json, indented: bool) -> str:
    """Return the JSON, compact or indented by two."""
    if indented:
        return json.dumps(item, indent=2)
    return json.dumps(item, separators=(",", ":"))


def broken(rng: random.Random, text: str) -> str:
    """Return the JSON broken in one or more of the usual ways."""
    ways = (trailing, unquoted_keys, single, cut, comment, no_comma, bare)
    result = rng.choices(ways, (6, 3, 3, 3, 1, 2, 2))[0](rng, text)
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
    if tail not in "]}":
        return changed + tail
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
    first = end.start() if end else 0
    closing = [match.start() for match in re.finditer(r"[\]}]", text) if match.start() >= first]
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
            "name": f"server{rng.randint(1, 40)}",
            "host": f"10.0.{rng.randint(0, 9)}.{rng.randint(2, 250)}",
            "port": rng.choice((22, 80, 443, 8080, 5432)),
            "enabled": rng.random() < 0.7,
        },
        "book": {
            "title": rng.choice(TITLES),
            "author": name,
            "year": rng.randint(1950, 2024),
            "pages": rng.randint(90, 700),
        },
        "order": {
            "id": number,
            "customer": name,
            "items": [
                {"product": rng.choice(PRODUCTS), "quantity": rng.randint(1, 5), "price": price}
            ],
            "date": day,
        },
        "product": {
            "id": number,
            "name": rng.choice(PRODUCTS),
            "price": price,
            "stock": rng.randint(0, 200),
        },
        "city": {
            "name": city,
            "population": rng.randint(50, 9000) * 1000,
            "capital": rng.random() < 0.5,
        },
        "address": {
            "street": f"{rng.choice(SURNAMES)} Street {rng.randint(1, 99)}",
            "city": city,
            "zip": f"{rng.randint(10000, 99999)}",
        },
        "event": {"title": f"Meeting in {city}", "date": day, "people": rng.sample(PEOPLE, 3)},
        "car": {
            "brand": rng.choice(SURNAMES),
            "year": rng.randint(2001, 2025),
            "color": rng.choice(("red", "blue", "black", "white")),
            "doors": rng.choice((3, 5)),
        },
        "message": {
            "from": mail,
            "subject": f"Order {number}",
            "read": rng.random() < 0.5,
            "date": day,
        },
        "task": {"id": number, "title": f"Call {name}", "done": rng.random() < 0.5, "due": day},
        "student": {
            "name": name,
            "age": rng.randint(18, 30),
            "courses": rng.sample(("math", "physics", "history", "music", "biology"), 2),
        },
    }


def described(rng: random.Random) -> Pair:
    """Return a chat that asks for a JSON object."""
    kind, item = rng.choice(list(things(rng).items()))
    article = "an" if kind in ("order", "address", "event") else "a"
    phrases = (
        f"Write a JSON object that describes {article} {kind}.",
        f"Give me a JSON object for {article} {kind}.",
        f"Show me an example of {article} {kind} as JSON.",
        f"Write JSON for {article} {kind} with the keys {joined(list(item))}.",
        f"Create a JSON object for {article} {kind} with {joined(list(item))}",
        f"Write a JSON object that describes {article} {kind}. Output only JSON.",
    )
    return rng.choice(phrases), dumped(dict(item), True)


def json_chat(rng: random.Random) -> Pair:
    """Return a chat about JSON."""
    return repair(rng) if rng.random() < 0.7 else described(rng)
