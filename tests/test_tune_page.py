"""The page of a tuning: what it shows, and that texts of files and engines stay text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from bench_records import HOSTILE, replaced
from hypothesis import given, settings
from pages import (
    NUMBERS,
    TEXTS,
    Page,
    assert_drawn_inside,
    assert_nothing_from_elsewhere,
    changed,
    drawn,
    found,
)
from tune_records import MEASURED, SHAPES, UNKNOWN, VARIANTS, a_result

from llmtp.bench.page import charts
from llmtp.tune.page import make_page


def speeds(page: Page) -> ElementTree.Element:
    return page.chart("Tokens per second by n-max")


def cells(page: Page, arm: str) -> list[str]:
    """Of the table, the row that begins with an arm."""
    rows = re.findall(r"<tr>(.*?)</tr>", page.source, re.DOTALL)
    (row,) = [one for one in rows if one.startswith(f'<th scope="row">{arm}<')]
    return re.findall(r"<td>(.*?)</td>", row)


@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_of_a_result_gives_a_whole_page(data: dict[str, Any]) -> None:
    page = Page(make_page(data))
    assert make_page(data) == page.source
    assert {"svg", "table", "h1", "h2", "dl"} <= page.names
    assert all(one.get("role") == "img" and one.findtext("title") for one in page.charts)
    assert all(attrs.get("scope") for name, attrs in page.tags if name == "th")
    assert not re.search(r"\b(nan|inf|None)\b", page.source)
    assert_nothing_from_elsewhere(page)
    assert_drawn_inside(page)


def test_what_counts_comes_first_and_in_order() -> None:
    text = Page(make_page(a_result())).text
    order = [
        "gemma-4-12b: n-max tuned", "llmtp tune", "n-max 4: 1.84 times as fast as off",
        "tokens/s at n-max 4", "times MTP off", "drafts right", "time taken",
        "Tokens per second by n-max", "Drafts that were right", "All figures",
        "How it was measured",
    ]  # fmt: skip
    places = [text.index(one) for one in order]
    assert places == sorted(places)


def test_key_figures_say_what_was_found() -> None:
    text = Page(make_page(a_result())).text
    for told in ("tokens/s at n-max 4\n73.6\nits own answers: 71.4",
                 "times MTP off\n1.84×\noff: 40.1",
                 "drafts right\n69%\nat n-max 4",
                 "time taken\n0:02:34\nservers started: 5"):  # fmt: skip
        assert told in text, told


def test_with_off_the_best_it_says_what_mtp_would_have_been() -> None:
    page = Page(make_page(SHAPES["off"]))
    for told in ("tokens/s with MTP off\n40.1", "MTP at its best, times off\n0.96×",
                 "38.5 at n-max 1", "drafts right\n87%\nat n-max 1"):  # fmt: skip
        assert told in page.text, told
    (off,), (best,) = found(speeds(page), "line", "off"), found(speeds(page), "path", "best")
    top = float(best.attrib["d"].removeprefix("M").split("l")[0].split()[1])
    assert top + 6 == pytest.approx(float(off.attrib["y1"]), abs=0.02)
    assert ["<small>to run with" in row for row in re.findall("<tr>.*?</tr>", page.source)][:3] == [
        False, True, False,
    ]  # fmt: skip


def test_the_method_is_told() -> None:
    text = Page(make_page(a_result())).text
    for told in ("cuda: NVIDIA H200", "Gemma 4 12B It, Q8_0, 12671234567 bytes", "Assistant",
                 "KV type\nq8_0", "up to 32,768 tokens", "b11434-0123abcd", "580.95.05",
                 "all kinds of text: code, json, list, prose", "temperature\n0",
                 "up to 96 tokens", "1.2 ms a token", "0.2 cores at most"):  # fmt: skip
        assert told in text, told


def test_what_was_noticed_is_told() -> None:
    page = make_page(a_result())
    assert "other programs computed meanwhile" in page
    assert "llmtp tune, 2026-11-28" in page
    assert "What was noticed" not in make_page(a_result() | {"noticed": []})


def test_measured_points_are_filled_and_expected_ones_hollow() -> None:
    chart = speeds(Page(make_page(a_result())))
    hollow = found(chart, "circle", "expected")
    filled = [one for one in found(chart, "circle", "point") if one not in hollow]
    assert len(hollow) == 13 - len(MEASURED)
    assert len(filled) == len(MEASURED) - 1
    assert len(found(chart, "path", "best")) == 1
    names = [one.text for one in found(chart, "text", "middle")]
    assert names == ["off", *map(str, range(1, 13))]


def test_lines_are_solid_only_between_measured_points() -> None:
    points = [
        charts.Point(str(n), charts.Measure(measured), expected=expected)
        for n, (measured, expected) in enumerate(
            [(40.0, None), (None, 50.0), (60.0, 55.0), (70.0, 65.0), (None, None), (None, 30.0)]
        )
    ]
    chart = drawn(charts.speeds("title", points))
    lines = found(chart, "polyline", "curve")
    counts = [(len(one.attrib["points"].split()), one.attrib["class"]) for one in lines]
    assert counts == [(3, "curve expected"), (2, "curve")]
    circles = found(chart, "circle", "point")
    heights = [float(one.attrib["cy"]) for one in circles]
    zero = max(float(one.attrib["y1"]) for one in found(chart, "line", "grid"))
    shown = [40, 50, 60, 70, 30]
    unit = (zero - heights[0]) / shown[0]
    assert [zero - y for y in heights] == pytest.approx([unit * v for v in shown], abs=0.05)


def test_another_rule_for_drafts_stands_in_the_table_alone() -> None:
    page = Page(make_page(SHAPES["another rule"]))
    names = [one.text for one in found(speeds(page), "text", "middle")]
    assert names == ["off", *map(str, range(1, 13))]
    assert "fastest n-max by itself; n-max 6, p-min 0.5 was faster still" in page.text
    assert "n-max 6\np-min 0.5\nto run with" in page.text
    assert "n-max 4\nprobabilistic" in page.text
    assert page.source.count("<small>to run with") == 1


def test_the_table_has_every_arm() -> None:
    page = Page(make_page(a_result(variants=VARIANTS[1:])))
    assert cells(page, "off") == ["40.1", "38.9", "–", "25.0", "1"]
    assert cells(page, "n-max 5") == ["74.4", "72.2", "63%", "42.5", "3"]
    assert cells(page, "n-max 12") == ["59.6", "–", "–", "–", "–"]


def test_what_is_unknown_is_told_so_and_never_as_zero() -> None:
    page = Page(make_page(UNKNOWN))
    assert "not told" in page.text
    assert not re.search(r"(?<![\d.,:-])0(\.0+)?(×|%| ms| tokens/s)", page.text)
    assert not found(speeds(page), "circle", "point")
    assert not found(page.chart("by position"), "rect", "bar")


def test_hostile_texts_stay_texts() -> None:
    hostile = replaced(a_result(), lambda v: HOSTILE if isinstance(v, str) else v)
    page = Page(make_page(hostile))
    assert_nothing_from_elsewhere(page)
    assert "<script" not in page.source
    assert "<script src='http" in page.text
    for bad in "\x1b\u202e\ud800\x00":
        assert bad not in page.source
    page.source.encode()


def test_long_texts_are_cut() -> None:
    long = replaced(a_result(), lambda v: "x" * 300_000 if isinstance(v, str) else v)
    assert max(map(len, Page(make_page(long)).texts)) <= 20_100


@settings(max_examples=50)
@given(changed(a_result, str, TEXTS))
def test_any_texts_give_a_whole_page(data: dict[str, Any]) -> None:
    page = Page(make_page(data))
    assert_nothing_from_elsewhere(page)
    assert page.charts
    page.source.encode()


@settings(max_examples=50)
@given(changed(a_result, (int, float), NUMBERS))
def test_any_numbers_give_a_whole_page(data: dict[str, Any]) -> None:
    assert_drawn_inside(Page(make_page(data)))
