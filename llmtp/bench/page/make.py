"""A record as one page: what stands where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmtp.bench.page import answers, method, pictures, tables
from llmtp.bench.page.markup import Markup, harmless, joined, tag
from llmtp.bench.page.parts import section, whole_page


def make_page(record: dict[str, Any]) -> str:
    """HTML of a record that llmtp made; what its texts say stays text."""
    name = harmless(record["model"], 100)
    return whole_page(f"{name}: MTP measured", _header(record, name), *_sections(record))


def _header(record: dict[str, Any], name: str) -> Markup:
    verdict = record["verdict"]
    return tag(
        "header",
        tag("p", f"llmtp bench, {method.moment(record['created_at'])}", class_="kicker"),
        tag("h1", name),
        tag(
            "div",
            tag("p", verdict["sentence"], class_="sentence"),
            *(tag("p", sentence, class_="more") for sentence in verdict["more"]),
            _pointer(record["noticed"]),
            class_="verdict",
        ),
        pictures.key_figures(record),
    )


def _pointer(findings: list[dict[str, Any]]) -> Markup:
    """To the end of the page, where nobody may look by himself."""
    if not findings:
        return joined()
    what = "1 thing was" if len(findings) == 1 else f"{len(findings)} things were"
    sign = "✗" if any(one["level"] == "error" for one in findings) else "▲"
    return tag("p", tag("a", f"{sign} {what} noticed", href="#noticed"), class_="more")


def _sections(record: dict[str, Any]) -> Iterator[Markup]:
    yield section(
        "Speed against MTP off",
        "Bars begin at 1×, which is off: to the right is faster, to the left slower. The thin "
        "line is the 95% interval.",
        pictures.ratio_charts(record),
    )
    yield section(
        "Tokens per second by n-max",
        "The dashed line is MTP off, the diamond the fastest. Upright lines are 95% intervals of "
        "the speed-up.",
        pictures.speed_charts(record),
    )
    yield tag(
        "div",
        section(
            "Drafts that were right",
            "In percent, by place in the draft. At the right: of all drafts, and where MTP "
            "begins to pay.",
            pictures.position_chart(record),
        ),
        section(
            "Memory",
            f"Taken {pictures.memory_places(record)}; the upright line is what was planned.",
            pictures.memory_chart(record),
        ),
        class_="pair",
    )
    yield section(
        "All figures",
        "Tokens per second, and below them the multiple of MTP off.",
        tables.speed_table(record),
        tables.arm_table(record),
        tag(
            "details",
            tag("summary", "Each kind of text by itself"),
            tables.cell_table(record),
        ),
    )
    if record["checks"]:
        yield section(
            "Are structured answers well formed?",
            "Judged by form alone: no code was run.",
            answers.checks(record),
        )
    if record["differences"] or record["unjudged_differences"]:
        yield section(
            "Where answers differ",
            "The first token of an answer that is not the one without MTP.",
            answers.differences(record),
        )
    yield section(
        "How it was measured",
        "A server for each n-max, one after the other and back, with the same questions.",
        method.method(record),
        method.commands(record),
    )
    if record["noticed"]:
        yield section("What was noticed", None, method.noticed(record), id="noticed")
