"""What a page is made of, for tests of what it shows."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

from hypothesis import strategies as st

VOID = {"meta"}
NUMBERS = st.one_of(
    st.none(), st.floats(), st.integers(), st.sampled_from([10**400, -1, 0, 5e-324, 1e-9, 1e15])
)
TEXTS = st.text(st.characters(codec=None), max_size=60)


class Page(HTMLParser):
    """Fails where tags are not closed in order; keeps all tags and the text outside of <style>."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, self._open

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.tags}

    @property
    def charts(self) -> list[ElementTree.Element]:
        return [drawn(one) for one in re.findall(r"<svg.*?</svg>", self.source, re.DOTALL)]

    def chart(self, title: str) -> ElementTree.Element:
        return next(one for one in self.charts if title in (one.findtext("title") or ""))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.texts.append(data)


def drawn(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)  # noqa: S314 - our own


def found(chart: ElementTree.Element, name: str, class_: str) -> list[ElementTree.Element]:
    return [one for one in chart.iter(name) if class_ in (one.get("class") or "").split()]


def assert_drawn_inside(page: Page) -> None:
    """No number of a chart is far out, or none."""
    for chart in page.charts:
        for one in chart.iter():
            for key in ("x", "y", "x1", "x2", "y1", "y2", "width", "height", "cx", "cy"):
                assert -1 <= float(one.get(key, 0)) <= 2000, (one.attrib, one.tag)


def assert_nothing_from_elsewhere(page: Page) -> None:
    """No script, and nothing that a browser would fetch."""
    assert page.names <= {
        "html", "head", "meta", "title", "style", "body", "main", "header", "section", "h1", "h2",
        "h3", "p", "a", "b", "small", "span", "div", "dl", "dt", "dd", "ul", "li", "code", "pre",
        "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption",
        "svg", "line", "rect", "text", "path", "polyline", "circle",
    }  # fmt: skip
    for name, attrs in page.tags:
        assert not any(key.startswith("on") or key in ("src", "style") for key in attrs), attrs
        assert attrs.get("href", "#") == "#noticed" or "href" not in attrs, (name, attrs)
    (style,) = re.findall(r"<style>(.*?)</style>", page.source, re.DOTALL)
    assert not re.search(r"url\(|@import|@font-face|//", style)
    policies = [
        attrs["content"]
        for _, attrs in page.tags
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def changed(
    make: Callable[[], dict[str, Any]], kind: type | tuple[type, ...], to: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """What it makes, some leaves of that kind drawn anew; n-max, which names arms, stays."""
    count = sum(_is(one, kind) for one in leaves(make()))

    def put(values: dict[int, Any]) -> dict[str, Any]:
        record = make()
        places = [one for one in leaves(record) if _is(one, kind)]
        for place, value in values.items():
            _, holder, key = places[place]
            holder[key] = value
        return record

    return st.dictionaries(st.integers(0, count - 1), to, max_size=12).map(put)


def _is(leaf: tuple[str, Any, Any], kind: type | tuple[type, ...]) -> bool:
    name, holder, key = leaf
    value = holder[key]
    return isinstance(value, kind) and not isinstance(value, bool) and not name.endswith("n_max")


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The name of each leaf, what holds it, and where."""
    places = value.items() if isinstance(value, dict) else enumerate(value)
    for place, one in places:
        name = place if isinstance(place, str) else key
        if isinstance(one, dict | list):
            yield from leaves(one, name)
        else:
            yield name, value, place
