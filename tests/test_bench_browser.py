"""The page of a bench record in a real browser; only with --browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_records import HOSTILE, SHAPES, a_record, replaced
from browser import Browser, browser, pixels

from llmtp.bench.page.make import make_page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(params=list(SHAPES))
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(make_page(SHAPES[request.param]), encoding="utf-8")
    return path


#: What reaches beyond the right edge and cannot be scrolled to inside its own box.
_BEYOND = """
[...document.querySelectorAll('body *')].filter(one => !one.closest('.scrolled, pre, details'))
  .filter(one => one.getBoundingClientRect().right > innerWidth + 0.5)
  .map(one => one.outerHTML.slice(0, 90))
"""
#: Texts of a chart that lie on each other or leave it.
_CLASHES = """
[...document.querySelectorAll('svg')].flatMap(chart => {
  const frame = chart.getBoundingClientRect();
  const texts = [...chart.querySelectorAll('text')]
    .map(one => ({text: one.textContent, box: one.getBoundingClientRect()}));
  const out = texts.filter(({box}) => box.left < frame.left - 1.5 || box.right > frame.right + 1.5
    || box.top < frame.top - 1.5 || box.bottom > frame.bottom + 1.5);
  const over = texts.filter((a, i) => texts.slice(i + 1).some(b => a.box.left < b.box.right - 1
    && b.box.left < a.box.right - 1 && a.box.top < b.box.bottom - 4
    && b.box.top < a.box.bottom - 4));
  return [...out, ...over].map(({text}) => `${chart.querySelector('title').textContent}: ${text}`);
})
"""
#: Sizes of letters in charts, in pixels.
_LETTERS = """
Math.min(...[...document.querySelectorAll('svg text')].map(one =>
  parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a))
"""


@pytest.mark.parametrize(("width", "height"), [(360, 800), (1200, 900)])
def test_it_fits_and_asks_for_nothing(
    chromium: Browser, written: Path, width: int, height: int
) -> None:
    chromium.open(written, width, height)
    assert chromium.requests == [written.as_uri()]
    assert chromium.logged() == []
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate(_BEYOND) == []
    assert chromium.evaluate(_CLASHES) == []
    assert chromium.evaluate(_LETTERS) >= 10


def test_a_hostile_record_runs_and_loads_nothing(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page = make_page(replaced(a_record(), lambda v: HOSTILE if isinstance(v, str) else v))
    path.write_text(page, encoding="utf-8")
    chromium.open(path, 360, 800)
    assert chromium.requests == [path.as_uri()]
    assert chromium.evaluate("document.scripts.length + document.images.length") == 0
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_policy_would_stop_what_got_in(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    inside = "<script>document.title = 'ran'</script><img src='http://127.0.0.1:9/x.png'>"
    path.write_text(make_page(a_record()).replace("</main>", f"{inside}</main>"), encoding="utf-8")
    chromium.open(path, 360, 800)
    assert chromium.evaluate("document.title") == "gemma-4-12b: MTP measured"
    assert len(chromium.logged()) == 2
    assert all("Content Security Policy" in text for text in chromium.logged())


def test_light_and_dark_are_both_drawn(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(make_page(a_record()), encoding="utf-8")
    papers = []
    for scheme in ("light", "dark"):
        chromium.open(path, 360, 800, scheme)
        rows = pixels(chromium.screenshot())
        paper = rows[0][:3]
        assert sum(row[i : i + 3] != paper for row in rows for i in range(0, len(row), 3)) > 5000
        papers.append(sum(paper) / 3)
        assert chromium.evaluate(_CONTRAST) >= 4.5
    light, dark = papers
    assert light > 220
    assert dark < 50


#: The least contrast of a text with the paper behind it, by WCAG.
_CONTRAST = """
(() => {
  const luminance = colour => colour.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const texts = [...document.querySelectorAll('body *')].filter(one =>
    [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())
    && !one.closest('title'));
  return Math.min(...texts.map(one => {
    const style = getComputedStyle(one);
    const own = luminance(one.closest('svg') ? style.fill : style.color);
    return (Math.max(own, paper) + 0.05) / (Math.min(own, paper) + 0.05);
  }));
})()
"""


def test_it_prints_on_white_with_nothing_beside_the_paper(chromium: Browser, written: Path) -> None:
    chromium.open(written, 718, 1000, "dark")
    printed = chromium.pdf()
    assert printed.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 2
    chromium.do("Emulation.setEmulatedMedia", media="print")
    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 718
