"""The page of a tuning in a real browser; only with --browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_records import HOSTILE, replaced
from browser import (
    Browser,
    assert_fits,
    assert_harmless,
    assert_light_and_dark,
    assert_prints,
    browser,
)
from tune_records import SHAPES, a_result

from llmtp.tune.page import make_page

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


def test_hostile_texts_run_and_load_nothing(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page = make_page(replaced(a_result(), lambda v: HOSTILE if isinstance(v, str) else v))
    path.write_text(page, encoding="utf-8")
    assert_harmless(chromium, path)


def test_light_and_dark_are_both_drawn(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(make_page(a_result()), encoding="utf-8")
    assert_light_and_dark(chromium, path)


def test_it_prints_on_white_with_nothing_beside_the_paper(chromium: Browser, written: Path) -> None:
    assert 1 <= assert_prints(chromium, written) <= 3
