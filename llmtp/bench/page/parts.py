"""What pages have in common: the whole around their content, and its smaller parts."""

from __future__ import annotations

from pathlib import Path

from llmtp.bench.page.markup import Child, Markup, joined, tag
from llmtp.bench.page.words import NOT_TOLD

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def whole_page(title: str, *content: Child) -> str:
    """A page that needs nothing else: no script, nothing from elsewhere."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag("body", tag("main", *content))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def section(name: str, lead: str | None, *content: Child, id: str | None = None) -> Markup:
    """A heading, a sentence on how to read it, and what it is about."""
    return tag(
        "section",
        tag("h2", name),
        tag("p", lead, class_="lead") if lead else "",
        joined(*content),
        id=id,
    )


def key_figure(name: str, value: str | None, more: str) -> Markup:
    """One of the few that count most; None is told to be unknown."""
    shown = tag("dd", value or NOT_TOLD, class_=None if value else "unknown")
    return tag("div", tag("dt", name), shown, tag("dd", more, class_="more"))


def figure(drawn: Markup, *caption: Child) -> Markup:
    """A chart below its caption."""
    return tag("figure", tag("figcaption", *caption) if caption else "", drawn)


def entry(name: str, content: Child) -> Markup:
    """A line of how it was measured."""
    return tag("div", tag("dt", name), tag("dd", content))


def lines(*parts: Child) -> Markup:
    """Below each other, within an entry."""
    return joined(*(tag("span", part) for part in parts))
