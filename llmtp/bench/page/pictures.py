"""The page's charts and the few figures that count most: what of a record goes into each."""

from __future__ import annotations

from typing import Any

from llmtp.bench.page import charts
from llmtp.bench.page.markup import Markup, number, tag
from llmtp.bench.page.parts import figure, key_figure
from llmtp.bench.page.words import (
    NOT_TOLD,
    arm_of,
    between,
    bytes_of,
    cells_of,
    ends_of,
    milliseconds,
    pays_above,
    percent,
    place_of,
    plain,
    rate,
    size,
    times,
)
from llmtp.bench.scheme import arm_name


def key_figures(record: dict[str, Any]) -> Markup:
    """Of the fastest n-max, against MTP off."""
    off, best = arm_of(record["arms"], 0), arm_of(record["arms"], record["best_n_max"])
    interval = between(best, " to ") if best else None
    equal, compared = plain(record["equal_answers"]), plain(record["compared_answers"])
    none = compared in (None, "0")
    return tag(
        "dl",
        key_figure(
            f"speed at {arm_name(record['best_n_max'])}",
            times(record["speedup"]),
            f"{interval} of off" if interval else "no interval",
        ),
        key_figure(
            "drafts right",
            percent(record["acceptance"]),
            pays_above(record["break_even_acceptance"]),
        ),
        key_figure(
            "answers the same",
            None if none or equal is None else equal,
            "none could be compared" if none else f"of {compared} compared",
        ),
        key_figure(
            "first token after",
            milliseconds(best.get("first_token_s")),
            f"off: {milliseconds(off.get('first_token_s')) or NOT_TOLD}",
        ),
        key_figure(
            f"memory {place_of(best)}" if best else "memory",
            size(bytes_of(best)) if best else None,
            f"off: {size(bytes_of(off)) or NOT_TOLD}" if off else "",
        ),
        class_="figures",
    )


def ratio_drawings(record: dict[str, Any]) -> tuple[Markup, Markup]:
    """By cell, of the fastest n-max; and by n-max, of all cells together; on one scale."""
    best = arm_name(record["best_n_max"])
    cells = [_ratio(name, arm_of(arms, record["best_n_max"])) for name, arms in cells_of(record)]
    arms = [_ratio(arm_name(arm["n_max"]), arm) for arm in record["arms"] if arm["n_max"] != 0]
    span = charts.ratio_span([row.measure for row in (*cells, *arms)])
    return (
        charts.ratios(f"Speed at {best} times MTP off, by kind of text", cells, span),
        charts.ratios("Speed times MTP off, by n-max, all kinds of text", arms, span),
    )


def ratio_charts(record: dict[str, Any]) -> Markup:
    """Both, with their captions."""
    by_cell, by_arm = ratio_drawings(record)
    best = arm_name(record["best_n_max"])
    return tag(
        "div",
        figure(by_cell, tag("b", best), tag("span", "by kind of text")),
        figure(by_arm, tag("b", "all kinds of text"), tag("span", "by n-max")),
        class_="pair",
    )


def speed_charts(record: dict[str, Any]) -> Markup:
    """One a cell, by n-max."""
    return tag("div", *(_speeds(*cell) for cell in cells_of(record)), class_="charts")


def position_chart(record: dict[str, Any]) -> Markup:
    """Of all arms with MTP on."""
    strips = [
        charts.Strip(
            arm_name(arm["n_max"]),
            [number(share) for share in arm["acceptance_per_position"]],
            f"{percent(arm['acceptance']) or NOT_TOLD}, {pays_above(arm['break_even_acceptance'])}",
        )
        for arm in record["arms"]
        if arm["n_max"] != 0
    ]
    return figure(charts.positions("Percent of drafts that were right, by position", strips))


def memory_chart(record: dict[str, Any]) -> Markup:
    """Of all arms: what was taken against what was planned."""
    rows = []
    for arm in record["arms"]:
        taken, planned = bytes_of(arm), arm["memory"]["planned_bytes"]
        told = f"{size(taken) or NOT_TOLD}, planned {size(planned) or NOT_TOLD}"
        rows.append(charts.Taken(arm_name(arm["n_max"]), taken, number(planned), told))
    return figure(charts.memory("Memory taken, and planned, by n-max", rows))


def memory_places(record: dict[str, Any]) -> str:
    """Where the memory of the chart is."""
    return " or ".join(sorted({place_of(arm) for arm in record["arms"]}))


def _ratio(name: str, arm: dict[str, Any]) -> charts.Row:
    told = times(arm.get("speedup")) or NOT_TOLD
    interval = between(arm, "–") if arm else None
    measure = _measure(arm, "speedup", 1.0)
    return charts.Row(name, measure, f"{told} ({interval})" if interval else told)


def _speeds(name: str, arms: list[dict[str, Any]]) -> Markup:
    off = number(arm_of(arms, 0).get("tokens_per_s"))
    measures = {arm["n_max"]: _measure(arm, "tokens_per_s", off) for arm in arms}
    known = {n_max: one.value for n_max, one in measures.items() if one.value is not None}
    fastest = max(known, key=lambda n_max: known[n_max], default=None)
    points = [
        charts.Point("off" if n_max == 0 else str(n_max), measure, n_max == fastest)
        for n_max, measure in measures.items()
    ]
    told = NOT_TOLD if fastest is None else f"{rate(known[fastest])} at {arm_name(fastest)}"
    drawn = charts.speeds(f"Tokens per second by n-max: {name}", points)
    return figure(drawn, tag("b", name), tag("span", told))


def _measure(arm: dict[str, Any], field: str, unit: float | None) -> charts.Measure:
    """A figure with the interval of the speed-up, times `unit`."""
    value, ends = number(arm.get(field)), ends_of(arm) if arm else None
    if value is None or unit is None or ends is None:
        return charts.Measure(value)
    return charts.Measure(value, ends[0] * unit, ends[1] * unit)
