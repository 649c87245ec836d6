"""The page of a bench record in a real browser; only with --browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_records import HOSTILE, SHAPES, a_record, replaced
from browser import (
    Browser,
    assert_fits,
    assert_harmless,
    assert_light_and_dark,
    assert_prints,
    browser,
)

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


@pytest.mark.parametrize(("width", "height"), [(360, 800), (1200, 900)])
def test_it_fits_and_asks_for_nothing(
    chromium: Browser, written: Path, width: int, height: int
) -> None:
    assert_fits(chromium, written, width, height)


def test_a_hostile_record_runs_and_loads_nothing(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page = make_page(replaced(a_record(), lambda v: HOSTILE if isinstance(v, str) else v))
    path.write_text(page, encoding="utf-8")
    assert_harmless(chromium, path)


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
    assert_light_and_dark(chromium, path)


def test_it_prints_on_white_with_nothing_beside_the_paper(chromium: Browser, written: Path) -> None:
    assert assert_prints(chromium, written) >= 2
