"""Clean English out of pages in reStructuredText and Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of a documentation page and the clean paragraphs below it."""

    heading: str
    paragraphs: tuple[str, ...]


UNDERLINE = re.compile(r"([=\-~^\"'`*+#.:_])\1{2,}\s*$")
CODE_DIRECTIVE = re.compile(
    r"\s*\.\. (?:\S*code\S*|sourcecode|parsed-literal|doctest|testcode|testoutput|ipython|plot|"
    r"math|toctree|image|figure|table|\S*-table|index|console|literalinclude|include|raw|"
    r"productionlist|graphviz|digraph|prompt|click|contents|currentmodule|_).*"
)


def restructured(text: str) -> Iterator[Section]:
    """Yield the sections of a page in reStructuredText."""
    heading = ""
    kept: list[str] = []
    hidden = -1  # what is indented further than this is code
    for block in re.split(r"\n\s*\n", text.expandtabs(8)):
        lines = block.rstrip().splitlines()
        while lines and not lines[0].strip():
            del lines[0]
        if lines and UNDERLINE.fullmatch(lines[0]):
            del lines[0]
        if len(lines) >= 2 and UNDERLINE.fullmatch(lines[1]):
            yield Section(heading, tuple(kept))
            heading, kept = inline(lines[0].strip()), []
            lines = lines[2:]
        if not lines:
            continue
        depth = indent(lines[0])
        if hidden >= 0 and depth > hidden:
            continue
        hidden = -1
        if CODE_DIRECTIVE.fullmatch(lines[0]) or lines[-1].endswith("::"):
            last = depth if CODE_DIRECTIVE.fullmatch(lines[0]) else indent(lines[-1])
            hidden = last
        if paragraph := clean(lines):
            kept.append(paragraph)
    yield Section(heading, tuple(kept))


def markdown(text: str) -> Iterator[Section]:
    """Yield the sections of a page in Markdown."""
    text = re.sub(r"(?ms)^( *)(```+|:::+|~~~+).*?^\1?\2.*?$", "", text)
    text = re.sub(r"\{[\w:-]+\}`", "`", text)
    text = re.sub(r"!?\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    heading = ""
    kept: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip("\n").splitlines()
        if lines and lines[0].startswith("#"):
            yield Section(heading, tuple(kept))
            heading, kept = inline(lines[0].lstrip("# ")), []
            del lines[0]
        if lines and (paragraph := clean(lines)):
            kept.append(paragraph)
    yield Section(heading, tuple(kept))


def indent(line: str) -> int:
    """Return the number of blanks before the line's text."""
    return len(line) - len(line.lstrip())


def clean(lines: list[str]) -> str:
    """Return the block as one line of English, or nothing where it is something else."""
    if len(lines) > 1 and indent(lines[1]) > indent(lines[0]):
        bullet = re.match(r"\s*(?:[*+-]|#\.|\d+\.) ", lines[0])
        lines = lines if bullet else lines[1:]
    if re.match(r"\s*(\.\. |:|\||\+-|>>>|\$ |<|@|#)", lines[0]):
        return ""
    text = " ".join(line.strip() for line in lines)
    if re.search(r"(?<=\S)\s(?:[*+-]|\d+\.)\s+[A-Z`]", text):  # a list in one block
        return ""
    text = inline(re.sub(r"^(?:[*+-]|#\.|\d+\.)\s+", "", text))
    return text if english(text) else ""


def english(text: str) -> bool:
    """Say whether the text is one or more whole sentences with few symbols."""
    if not (60 <= len(text) <= 1500 and re.match(r"[A-Z]", text) and re.search(r"[.!?]$", text)):
        return False
    if not text.isascii() or re.search(
        r"[`|<>{}\\=@#~^]|\*\*|://|__|\(\)\.|\]_| [a-z]?_ |::", text
    ):
        return False
    plain = sum(c.isalpha() or c in " ,.'" for c in text)
    return plain >= len(text) * 0.95 and text.count("(") == text.count(")") and " " in text[:25]


REPLACED = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": " - "}
    | {"\u2026": "...", "\u00a0": " ", "\u2192": "->", "\u2011": "-"}
)
MARKUP = (
    (re.compile(r":[\w:+.-]+:`!?~(?:[^`<]*\.)?([^`.<]+)`"), r"\1"),
    (re.compile(r":[\w:+.-]+:`([^`<]*?)\s*<[^>`]*>`"), r"\1"),
    (re.compile(r":[\w:+.-]+:`!?\.?([^`]*)`"), r"\1"),
    (re.compile(r"``([^`]*)``"), r"\1"),
    (re.compile(r"`([^`<]*?)\s*<[^>`]*>`_{0,2}"), r"\1"),
    (re.compile(r"`([^`]*)`_{0,2}"), r"\1"),
    (re.compile(r"\s*\[(?:\d+|#\w*)\]_?"), ""),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])"), r"\1"),
    (re.compile(r"\b([A-Za-z]\w*[a-z])_(?=[\s.,;)]|$)"), r"\1"),
    (re.compile(r"\\(?:\s|(?=\W))"), ""),
    (re.compile(r"::(?=\s|$)"), ":"),
    (re.compile(r"\s+"), " "),
)


def inline(text: str) -> str:
    """Return the text without inline markup, in ASCII where that is possible."""
    text = unicodedata.normalize("NFKC", text.translate(REPLACED))
    for pattern, plain in MARKUP:
        text = pattern.sub(plain, text)
    return re.sub(r"(?<=[\w\"')]) (?=[,;.](?:\s|$))", "", text).strip()
