"""The page of a bench record: what it shows, that a record's texts stay text, and how it looks."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import draw_bench
import pytest
from bench_records import HOSTILE, SHAPES, UNKNOWN, a_record, replaced
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

from llmtp.bench.page import charts, svg
from llmtp.bench.page.make import make_page
from llmtp.bench.page.markup import Markup, harmless, number, tag


def sides(one: ElementTree.Element) -> tuple[float, float]:
    """Of a bar or a horizontal line: where it begins and ends."""
    if one.tag == "line":
        return float(one.attrib["x1"]), float(one.attrib["x2"])
    return float(one.attrib["x"]), float(one.attrib["x"]) + float(one.attrib["width"])


@pytest.mark.parametrize("record", SHAPES.values(), ids=SHAPES.keys())
def test_every_shape_of_a_record_gives_a_whole_page(record: dict[str, Any]) -> None:
    page = Page(make_page(record))
    assert make_page(record) == page.source
    assert {"svg", "table", "details", "h1", "h2"} <= page.names
    assert all(one.get("role") == "img" and one.findtext("title") for one in page.charts)
    assert all(attrs.get("scope") for name, attrs in page.tags if name == "th")
    assert not re.search(r"\b(nan|inf|None)\b", page.source)
    assert_nothing_from_elsewhere(page)


def test_what_counts_comes_first_and_in_order() -> None:
    text = Page(make_page(a_record())).text
    order = [
        "gemma-4-12b: MTP measured", "keep n-max 3: it is faster", "pays above 30% acceptance",
        "speed at n-max 3", "Speed against MTP off", "Tokens per second by n-max",
        "Drafts that were right", "Memory", "All figures", "Are structured answers well formed?",
        "Where answers differ", "How it was measured", "What was noticed",
    ]  # fmt: skip
    places = [text.index(one) for one in order]
    assert places == sorted(places)


def test_key_figures_say_what_the_record_says() -> None:
    text = Page(make_page(a_record())).text
    for told in ("1.75×", "1.57 to 1.93 of off", "70%", "pays above 30%", "30\nof 32 compared",
                 "250 ms", "memory on the cards", "13.75 GiB", "off: 13.00 GiB"):  # fmt: skip
        assert told in text, told


def test_what_is_unknown_is_told_so_and_never_as_zero() -> None:
    page = Page(make_page(UNKNOWN))
    assert "not told" in page.text
    assert not re.search(r"(?<![\d.,])0(\.0+)?(×|%| ms| tokens/s)", page.text)
    assert not found(page.chart("times MTP off, by kind"), "rect", "bar")


def test_one_drawing_for_where_no_page_can_be(tmp_path: Path) -> None:
    record, drawing = tmp_path / "record.json", tmp_path / "bench.svg"
    known = {"kind": "llmtp-bench", "record_version": 1}
    record.write_text(json.dumps(a_record() | known), encoding="utf-8")
    draw_bench.main(str(record), str(drawing))
    root = ElementTree.fromstring(drawing.read_text(encoding="utf-8"))  # noqa: S314 - our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = "".join(root.itertext())
    for word in ("prefers-color-scheme", "code", "prose", "n-max 3", "×"):
        assert word in words


def test_near_ties_and_real_differences_are_told_apart() -> None:
    text = Page(make_page(a_record())).text
    real, ties = text.index("▲ Real: 1"), text.index("Near ties: 1")
    assert real < text.index("not among the likeliest") < ties < text.index("0.04 (log)")
    assert ties < text.index("Not judged: 2")
    assert "ended early" in text
    assert "' then'" in text
    assert r"'\n'" in text


def test_checks_stand_arm_beside_arm_and_equal_texts_once() -> None:
    text = Page(make_page(a_record())).text
    assert re.search(r"code-1\nPython that compiles\n✓ yes\n✓ yes\n✗ no\n", text)
    assert ", n-max 3: line 7: invalid syntax" in text
    assert "code-1: 2 different texts" in text
    assert text.count("def f(): ...") == 2


def test_a_command_can_be_copied() -> None:
    assert "/opt/llama-server --model '/models/my main.gguf'" in Page(make_page(a_record())).text


def test_bars_begin_at_one_and_are_as_long_as_their_values() -> None:
    values = {"a": 1.5, "b": 2.0, "c": 0.5}
    rows = [charts.Row(k, charts.Measure(v), f"{v}×") for k, v in values.items()]
    chart = drawn(charts.ratios("title", rows, (0.0, 3.0)))
    at_one, unit = svg.WIDTH / 3, svg.WIDTH / 3
    for base in found(chart, "line", "base"):
        assert sides(base) == pytest.approx((at_one, at_one), abs=0.01)
    bars = [sides(one) for one in found(chart, "rect", "bar")]
    for (start, end), value in zip(bars, values.values(), strict=True):
        assert end - start == pytest.approx(abs(value - 1) * unit, abs=0.02)
        assert (end if value < 1 else start) == pytest.approx(at_one, abs=0.02)
    assert ["loss" in (one.get("class") or "") for one in found(chart, "rect", "bar")] == [
        False, False, True,
    ]  # fmt: skip


def test_whiskers_end_where_the_interval_does_and_without_caps_where_it_is_cut() -> None:
    rows = [
        charts.Row("inside", charts.Measure(1.5, 1.2, 1.8), ""),
        charts.Row("beyond", charts.Measure(1.5, 0.4, 9.0), ""),
    ]
    chart = drawn(charts.ratios("title", rows, (0.0, 2.0)))
    lines = [sides(one) for one in found(chart, "line", "whisker")]
    at = [value * svg.WIDTH / 2 for value in (1.2, 1.8, 0.4, 2.0)]
    inside, beyond = lines[:3], lines[3:]
    whole = ((at[0], at[1]), (at[0],) * 2, (at[1],) * 2)
    assert inside == [pytest.approx(one, abs=0.01) for one in whole]
    assert beyond == [pytest.approx(one, abs=0.01) for one in ((at[2], at[3]), (at[2],) * 2)]


def test_a_wide_interval_does_not_hide_the_values() -> None:
    low, high = charts.ratio_span([charts.Measure(1.4, 0.02, 98.0)])
    assert low < 1 < 1.4 < high < 3
    assert charts.ratio_span([charts.Measure(None)]) == pytest.approx((0.9, 1.1))


def test_speeds_stand_above_zero_by_their_size() -> None:
    points = [
        charts.Point("off", charts.Measure(40.0)),
        charts.Point("1", charts.Measure(80.0, 70.0, 90.0), is_best=True),
        charts.Point("2", charts.Measure(None)),
    ]
    chart = drawn(charts.speeds("title", points))
    (off,) = found(chart, "line", "off")
    (point,) = found(chart, "circle", "point")
    assert float(point.attrib["cy"]) == float(off.attrib["y1"])
    zero = max(float(one.attrib["y1"]) for one in found(chart, "line", "grid"))
    (curve,) = found(chart, "polyline", "curve")
    heights = [zero - float(pair.split(",")[1]) for pair in curve.attrib["points"].split()]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.05)
    whisker = found(chart, "line", "whisker")[0]
    ends = [zero - float(whisker.attrib[key]) for key in ("y1", "y2")]
    assert ends == pytest.approx([heights[0] * 7 / 4, heights[0] * 9 / 4], abs=0.05)
    assert len(found(chart, "path", "best")) == 1


def test_positions_are_as_high_as_their_share_and_below_each_other() -> None:
    strips = [charts.Strip("n-max 1", [0.8], ""), charts.Strip("n-max 2", [0.4, None], "")]
    bars = found(drawn(charts.positions("title", strips)), "rect", "bar")
    heights = [float(one.attrib["height"]) for one in bars]
    assert heights == pytest.approx([heights[0], heights[0] / 2, 0], abs=0.02)
    assert bars[0].attrib["x"] == bars[1].attrib["x"]


def test_memory_is_drawn_against_the_plan() -> None:
    rows = [charts.Taken("off", 50.0, 100.0, ""), charts.Taken("n-max 1", None, 25.0, "")]
    chart = drawn(charts.memory("title", rows))
    (bar,) = found(chart, "rect", "bar")
    assert sides(bar) == (0, svg.WIDTH / 2)
    planned = [sides(one)[0] for one in found(chart, "line", "planned")]
    assert planned == [svg.WIDTH, svg.WIDTH / 4]


def test_hostile_texts_stay_texts() -> None:
    hostile = replaced(a_record(), lambda v: HOSTILE if isinstance(v, str) else v)
    page = Page(make_page(hostile))
    assert_nothing_from_elsewhere(page)
    assert "<script" not in page.source
    assert "<script src='http" in page.text
    for bad in "\x1b\u202e\ud800\x00":
        assert bad not in page.source
    page.source.encode()


def test_long_texts_are_cut() -> None:
    long = replaced(a_record(), lambda v: "x" * 300_000 if isinstance(v, str) else v)
    assert len(make_page(long)) < 300 * 20_000
    assert max(map(len, Page(make_page(long)).texts)) <= 20_100


def test_texts_keep_their_lines_and_spaces() -> None:
    assert harmless("a\r\n\tb\u00a0c\u3000d") == "a\n\tb\u00a0c\u3000d"
    assert harmless("a\rb\x07") == "a�b�"
    assert harmless("abcdef", 4) == "abc…"


def test_markup_is_made_of_parts_that_cannot_leave_their_place() -> None:
    made = tag("p", "<b>", tag("b", "&"), None, 1.5, class_='"x', hidden=None)
    assert made == '<p class="&quot;x">&lt;b&gt;<b>&amp;</b>1.5</p>'
    assert isinstance(made, Markup)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, 10**400, True, "7", None])
def test_no_number_is_made_of_what_is_none(value: Any) -> None:
    assert number(value) is None


@settings(max_examples=100)
@given(changed(a_record, str, TEXTS))
def test_any_texts_give_a_whole_page(record: dict[str, Any]) -> None:
    page = Page(make_page(record))
    assert_nothing_from_elsewhere(page)
    assert page.charts
    page.source.encode()


@settings(max_examples=100)
@given(changed(a_record, (int, float), NUMBERS))
def test_any_numbers_give_a_whole_page(record: dict[str, Any]) -> None:
    assert_drawn_inside(Page(make_page(record)))
