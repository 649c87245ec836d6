"""Text to stand before a question, so that the context is as deep as asked."""

from __future__ import annotations

_PLACES = (
    "Northfield", "Harbour Lane", "Old Mill", "Station Road", "Eastgate", "Quarry Hill",
    "Long Acre", "Foundry Yard", "West Pier", "Green Court", "Canal Side",
)  # fmt: skip
_SKIES = ("clear", "light rain", "fog", "strong wind", "overcast", "snow", "showers")
#: So many lines are counted to know how many tokens a line has.
SAMPLE_LINES = 64


def records(lines: int, seed: int) -> str:
    """Lines of a log book; another seed begins with another day, so that no prefix is the same."""
    text = []
    for number in range(lines):
        day = seed * 1009 + number
        place, sky = _PLACES[day * 7 % len(_PLACES)], _SKIES[day * 5 % len(_SKIES)]
        visitors, degrees = day * 37 % 900 + 40, day * 13 % 31 - 4
        text.append(f"Day {day}, {place}: {visitors} visitors, {degrees} degrees, {sky}.")
    return "\n".join(text)


def deep_question(question: str, depth: int, tokens_a_line: float, seed: int) -> str:
    """A question behind so many tokens of records, as near as whole lines come."""
    lines = max(round(depth / tokens_a_line), 1)
    return f"Notes:\n{records(lines, seed)}\n\n{question}"
