"""The page's tables: every figure of every cell and arm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llmtp.bench.page.markup import Markup, number, tag
from llmtp.bench.page.words import (
    UNKNOWN,
    arm_of,
    between,
    bytes_of,
    cells_of,
    decimal,
    milliseconds,
    percent,
    plain,
    rate,
    size,
    times,
)
from llmtp.bench.scheme import arm_name

_FIGURES = ("tokens/s", "× off", "95% interval", "right", "pays above", "tokens a step",
            "cost of a step", "first token")  # fmt: skip


def speed_table(record: dict[str, Any]) -> Markup:
    """All cells by all arms: tokens per second, and below it the multiple of off."""
    arms = [arm["n_max"] for arm in record["arms"]]
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *(_speed(arm_of(figures, n_max), n_max) for n_max in arms),
        )
        for name, figures in cells_of(record)
    ]
    return table("Tokens per second by kind of text and n-max", ["", *map(arm_name, arms)], rows)


def arm_table(record: dict[str, Any]) -> Markup:
    """What stands behind the speed of each arm, over all cells."""
    rows = [
        _row(arm, size(bytes_of(arm)), size(arm["memory"]["planned_bytes"]), plain(arm["starts"]))
        for arm in record["arms"]
    ]
    heads = ["", *_FIGURES, "memory", "planned", "starts"]
    return table("All kinds of text together", heads, rows)


def cell_table(record: dict[str, Any]) -> Markup:
    """The same of each cell by itself."""
    heads = ["", *_FIGURES]
    rows = []
    for cell in record["cells"]:
        name = tag("th", cell["name"], scope="colgroup", colspan=len(heads), class_="group")
        rows += [tag("tr", name), *(_row(arm) for arm in cell["arms"])]
    return table("Each kind of text by itself", heads, rows)


def table(name: str, heads: Sequence[str], rows: Iterable[Markup], class_: str = "") -> Markup:
    """What is wider than a phone scrolls by itself, by keyboard too."""
    head = tag("tr", *(tag("th", one, scope="col") if one else tag("td") for one in heads))
    drawn = tag("table", tag("thead", head), tag("tbody", *rows), class_=class_ or None)
    return tag("div", drawn, class_="scrolled", role="region", aria_label=name, tabindex=0)


def _speed(arm: dict[str, Any], n_max: Any) -> Markup:
    ratio = tag("small", times(arm.get("speedup")) or UNKNOWN) if n_max != 0 else None
    return tag("td", rate(arm.get("tokens_per_s")) or UNKNOWN, ratio)


def _row(arm: dict[str, Any], *more: str | None) -> Markup:
    break_even = number(arm["break_even_acceptance"])
    figures = (
        rate(arm["tokens_per_s"]),
        decimal(arm["speedup"]),
        between(arm, "–"),
        percent(arm["acceptance"]),
        "never" if break_even is not None and break_even > 1 else percent(break_even),
        decimal(arm["mean_accepted_length"]),
        decimal(arm["step_cost"]),
        milliseconds(arm["first_token_s"]),
        *more,
    )
    cells = (tag("td", UNKNOWN if one is None else one) for one in figures)
    return tag("tr", tag("th", arm_name(arm["n_max"]), scope="row"), *cells)
