"""The figures that count most on the page of a run, and its charts."""

from __future__ import annotations

from typing import Any

from llmtp.bench.page import charts
from llmtp.bench.page.markup import Markup, number, tag
from llmtp.bench.page.parts import figure, key_figure
from llmtp.bench.page.words import NOT_TOLD, duration, percent, plain, rate, times
from llmtp.machine.tuned import ALL_WORK
from llmtp.tune.arms import arm_of, at, best_of, fastest, is_measured, row_of, speed_of
from llmtp.tune.search import Arm


def key_figures(data: dict[str, Any]) -> Markup:
    """What was gained, and what it took to know."""
    best = best_of(data)
    own = rate(row_of(data, best).get("tokens_per_s"))
    starts = f"servers started: {plain(data['starts']) or NOT_TOLD}"
    return tag(
        "dl",
        key_figure(
            f"tokens/s {at(best)}",
            rate(data["tokens_per_s"]),
            f"its own answers: {own or NOT_TOLD}",
        ),
        _gain(data, best),
        key_figure("drafts right", *_right(data)),
        key_figure("time taken", duration(data["wall_s"]), starts),
        class_="figures",
    )


def speed_chart(data: dict[str, Any]) -> Markup:
    """By n-max alone; where another rule for drafts is the best, the fastest without one is
    marked."""
    rows = [row for row in data["arms"] if arm_of(row).is_plain]
    marked = fastest(rows) if is_variant(best_of(data)) else row_of(data, best_of(data))
    points = [
        charts.Point(
            "off" if row["n_max"] == 0 else str(row["n_max"]),
            charts.Measure(speed_of(row) if is_measured(row) else None),
            row is marked,
            speed_of(row),
        )
        for row in rows
    ]
    told = rate(speed_of(marked))
    return figure(
        charts.speeds("Tokens per second by n-max", points),
        tag("b", work_of(data)),
        tag("span", f"{told} {at(arm_of(marked))}" if told else NOT_TOLD),
    )


def position_chart(data: dict[str, Any]) -> Markup:
    """One strip, of all steps that are known."""
    share, where = _right(data)
    told = f"{share} {where}" if share else NOT_TOLD
    shares = [number(one) for one in data["acceptance_per_position"]]
    strip = charts.Strip(work_of(data), shares, told)
    return figure(charts.positions("Percent of drafts that were right, by position", [strip]))


def is_variant(best: Arm) -> bool:
    """Is it more than an n-max, and so not in the chart?"""
    return bool(best.n_max) and not best.is_plain


def work_of(data: dict[str, Any]) -> str:
    """What was asked for."""
    return "all kinds of text" if data["workload"] == ALL_WORK else str(data["workload"])


def _right(data: dict[str, Any]) -> tuple[str | None, str]:
    """The share of drafts, and of which arm: the one to run with, or with MTP off the fastest."""
    on = [row for row in data["arms"] if row["n_max"] and percent(row["acceptance"])]
    best = row_of(data, best_of(data))
    row = best if best in on else fastest(on)
    return (percent(row["acceptance"]), at(arm_of(row))) if row else (None, "")


def _gain(data: dict[str, Any], best: Arm) -> Markup:
    """The speed-up; where off is the best, what the best one with MTP has instead."""
    off = speed_of(row_of(data, Arm(0)))
    if best.n_max:
        return key_figure("times MTP off", times(data["speedup"]), f"off: {rate(off) or NOT_TOLD}")
    row = fastest([row for row in data["arms"] if row["n_max"]])
    speed = speed_of(row)
    told = times(speed / off) if speed is not None and off else None
    more = f"{rate(speed)} {at(arm_of(row))}" if row else "none was measured"
    return key_figure("MTP at its best, times off", told, more)
