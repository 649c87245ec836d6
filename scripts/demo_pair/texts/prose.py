"""Chats that ask for English prose, answered with paragraphs of the documentation."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from demo_pair.texts.held import PROSE_TOPICS
from demo_pair.texts.markup import Section
from demo_pair.texts.verbs import VERBS
from demo_pair.texts.words import Pair, weighted

GENERIC = re.compile(
    r"(?i)(?:example|examples|note|notes|parameters?|introduction|overview|summary|usage|see also|"
    r"options?|arguments?|returns?|description|background|conclusion|details|other|misc\w*|"
    r"what's next\??|next steps|settings|references?|rationale|motivation|api|functions|classes|"
    r"methods|attributes|module|contents|index|basics|about|bug ?fixes|features|warning|default)"
)
# fmt: off
QUESTIONS = frozenset((
    "why", "what", "how", "when", "where", "can", "is", "are", "do", "does", "should", "if",
    "for", "in", "on", "to",
))
# fmt: on
DANGLING = re.compile(
    r"(?:This|These|Those|That|It|In (?:this|case|the)|However|But|And|So|Also|Then|Next|Finally|"
    r"For (?:example|this)|Now|As (?:you|we|mentioned)|Here|There|To do|Otherwise|Instead|They|He|"
    r"Note|Once|Both|Such|First|Let|If you|We|Another|Similarly|Additionally)\b"
)
POINTING = re.compile(
    r"(?i)\b(?:see|below|above|following|previous|earlier|later in|next section|chapter|tutorial|"
    r"this (?:page|section|document|guide|module|class|method|example)|here is|as follows)\b"
)
MAX_WORDS = 120
NOUN = (
    ("Explain {t}.", 4), ("Describe {t}.", 2), ("Write a short paragraph about {t}.", 4),
    ("Tell me about {t}.", 2), ("Explain {t}", 1), ("Please explain {t}.", 1),
    ("Write a paragraph about {t}", 1), ("What should I know about {t}?", 1),
    ("explain {t} in a few sentences", 1), ("Write a few sentences about {t}.", 1),
)  # fmt: skip
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


def pages(found: tuple[Section, ...], loose: tuple[str, ...]) -> Iterator[str]:
    """Yield the sections, then the loose paragraphs, as plain texts of some length."""
    yield from grouped(
        text for section in found for text in (section.heading, *section.paragraphs) if text
    )
    yield from grouped(loose)


def grouped(paragraphs: Iterable[str]) -> Iterator[str]:
    """Yield texts of several paragraphs each."""
    page: list[str] = []
    for text in paragraphs:
        page.append(text)
        if sum(map(len, page)) > 3000:
            yield "\n\n".join(page)
            page = []
    if page:
        yield "\n\n".join(page)


def subjects(found: tuple[Section, ...]) -> tuple[Subject, ...]:
    """Return the sections that can be asked for."""
    counts = Counter(
        word for section in found for text in section.paragraphs for word in inner_words(text)
    )
    usable = (subject(section, counts) for section in found)
    return tuple(item for item in usable if item and item.topic.lower() not in PROSE_TOPICS)


def inner_words(text: str) -> list[str]:
    """Return the words of a paragraph that do not begin a sentence."""
    return re.findall(r"(?<=[a-z,] )[A-Za-z]+", text)


def lowered(heading: str, counts: Counter[str]) -> str:
    """Return a heading as it is written within a sentence."""

    def usual(match: re.Match[str]) -> str:
        word = match[0]
        return word.lower() if counts[word.lower()] > counts[word] else word

    return re.sub(r"(?<![\w-])[A-Z][a-z]*(?!\w)", usual, heading)


def subject(section: Section, counts: Counter[str]) -> Subject | None:
    """Return what a section is about, or None where its heading does not say it."""
    heading = re.sub(r"^(?:\d+\.)+\s*|^Step \d+: |\s*\(.*\)$", "", section.heading).rstrip(".:")
    paragraphs = tuple(text for text in section.paragraphs if self_contained(text))
    if not 4 <= len(heading) <= 60 or not heading.isascii() or not paragraphs:
        return None
    if GENERIC.fullmatch(heading) or re.search(r"[^A-Za-z ,'\-]", heading):
        return None
    if not heading[0].isupper() or heading.isupper() or DANGLING.match(paragraphs[0]):
        return None
    topic = lowered(heading, counts)
    if match := re.fullmatch(r"how to (.*)|how do I (.*)", topic):
        return Subject(match[1] or match[2], HOW, paragraphs)
    first, *rest = topic.split()
    if first in QUESTIONS or (not rest and first not in paragraphs[0]):
        return None
    if first in VERBS and len(rest) > 1 and rest[0] != "of":
        return Subject(topic, HOW, paragraphs)
    if first.endswith("ing"):
        return Subject(topic, NOUN, paragraphs)
    head = re.split(r" (?:for|of|in|to|with|from|by|set|on|at|between|as) ", topic)[0]
    plural = re.search(r"[^s]s$", head)
    return Subject(topic, (*NOUN, ("What are {t}?" if plural else "What is {t}?", 4)), paragraphs)


def self_contained(text: str) -> bool:
    """Say whether a paragraph can stand without the page around it."""
    return (
        len(text) >= 80
        and len(text.split()) <= MAX_WORDS
        and not text.endswith(":")
        and not POINTING.search(text)
        and not re.search(r"\w[_/]\w|\d\.\d|\$|\(\)", text)
    )


@cache
def written() -> tuple[Subject, ...]:
    """Return the subjects of paragraphs.txt, one sentence a paragraph."""
    text = Path(__file__).with_name("paragraphs.txt").read_text("ascii")
    blocks = (block.splitlines() for block in text.strip().split("\n\n"))
    return tuple(Subject(head.removeprefix("# "), NOUN, tuple(lines)) for head, *lines in blocks)


def chat(rng: random.Random, known: tuple[Subject, ...]) -> Pair:
    """Return a chat about one of the subjects."""
    if rng.random() < 0.2 or not known:
        item = rng.choice(written())
        size = rng.randint(3, len(item.paragraphs))
        return weighted(rng, item.asked).format(t=item.topic), " ".join(item.paragraphs[:size])
    item = rng.choice(known)
    phrase = weighted(rng, item.asked)
    most = 1 if "paragraph" in phrase or "sentences" in phrase else 3
    answer = [item.paragraphs[0]]
    words = len(answer[0].split())
    for text in item.paragraphs[1:most]:
        words += len(text.split())
        if words > MAX_WORDS:
            break
        answer.append(text)
    return phrase.format(t=item.topic), "\n\n".join(answer)
