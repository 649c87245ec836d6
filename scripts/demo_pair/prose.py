"""Chats that ask for English prose, answered with paragraphs of the documentation."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from held import PROSE_TOPICS
from sources import Section

Pair = tuple[str, str]

GENERIC = re.compile(
    r"(?i)(?:example|examples|note|notes|parameters?|introduction|overview|summary|usage|see also|"
    r"options?|arguments?|returns?|description|background|conclusion|details|other|misc\w*|"
    r"what's next\??|next steps|settings|references?|rationale|motivation|api|functions|classes|"
    r"methods|attributes|module|contents|index|basics|about|bug ?fixes|features|warning|default)"
)
PROPER = re.compile(r"[A-Z]\S*[A-Z0-9]|(?:Python|Django|Sphinx|Flask|Git|Jinja|Twisted|Scrapy)\b")
MAX_WORDS = 120
NOUN = (
    ("Explain {t}.", 4), ("Describe {t}.", 2), ("Write a short paragraph about {t}.", 4),
    ("Tell me about {t}.", 2), ("Explain {t}", 1), ("Please explain {t}.", 1),
    ("Write a paragraph about {t}", 1), ("What should I know about {t}?", 1),
    ("explain {t} in a few sentences", 1), ("Write a few sentences about {t}.", 1),
)  # fmt: skip
PLAIN_NOUN = (*NOUN, ("What is {t}?", 4))
HOW = (
    ("Explain how to {t}.", 3), ("How do I {t}?", 3), ("Describe how to {t}.", 1),
    ("Write a short paragraph about how to {t}.", 1),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Subject:
    """What a section is about, how one can ask for it, and its paragraphs."""

    topic: str
    asked: tuple[tuple[str, int], ...]
    paragraphs: tuple[str, ...]


def pages(found: tuple[Section, ...]) -> Iterator[str]:
    """Yield the sections as plain texts, some together."""
    page: list[str] = []
    for section in found:
        page += [section.heading, *section.paragraphs] if section.heading else section.paragraphs
        if sum(map(len, page)) > 3000:
            yield "\n\n".join(page)
            page = []
    if page:
        yield "\n\n".join(page)


def subjects(found: tuple[Section, ...]) -> tuple[Subject, ...]:
    """Return the sections that can be asked for."""
    usable = (subject(section) for section in found)
    kept = [item for item in usable if item and item.topic.lower() not in PROSE_TOPICS]
    return tuple(kept)


def subject(section: Section) -> Subject | None:
    """Return what a section is about, or None where its heading does not say it."""
    heading = re.sub(r"^(?:\d+\.)+\s*|^Step \d+: |\s*\(.*\)$", "", section.heading).rstrip(".:")
    paragraphs = tuple(text for text in section.paragraphs if not text.endswith(":"))
    if not 4 <= len(heading) <= 60 or not heading.isascii() or not paragraphs:
        return None
    if GENERIC.fullmatch(heading) or re.search(r"[^A-Za-z0-9 ,'\-]|\d\.\d", heading):
        return None
    if not heading[0].isupper() or "_" in heading or len(paragraphs[0].split()) > MAX_WORDS:
        return None
    topic = heading if PROPER.match(heading) else heading[0].lower() + heading[1:]
    if match := re.fullmatch(r"how to (.*)|how do I (.*)", topic):
        return Subject(match[1] or match[2], HOW, paragraphs)
    first = topic.split()[0]
    if first in ("why", "what", "how", "when", "where", "can", "is", "are", "do", "does", "should"):
        return None
    plain = not first.endswith(("ing", "s")) and " " in topic
    return Subject(topic, PLAIN_NOUN if plain else NOUN, paragraphs)


def chat(rng: random.Random, known: tuple[Subject, ...]) -> Pair:
    """Return a chat about one of the subjects, with one to three of its paragraphs."""
    item = rng.choice(known)
    phrase = rng.choices([text for text, _ in item.asked], [weight for _, weight in item.asked])[0]
    most = 1 if "paragraph" in phrase or "sentences" in phrase else 3
    answer = [item.paragraphs[0]]
    words = len(answer[0].split())
    for text in item.paragraphs[1:most]:
        words += len(text.split())
        if words > MAX_WORDS:
            break
        answer.append(text)
    return phrase.format(t=item.topic), "\n\n".join(answer)
