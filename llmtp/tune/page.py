"""What a run has found as one page: what stands where, its table, and how it was measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmtp.bench.page.markup import Markup, harmless, number, tag
from llmtp.bench.page.method import noticed
from llmtp.bench.page.parts import entry, section, whole_page
from llmtp.bench.page.tables import table
from llmtp.bench.page.words import NOT_TOLD, UNKNOWN, percent, plain, rate, some_cores
from llmtp.machine.tuned import ALL_WORK
from llmtp.tune import pictures
from llmtp.tune.arms import arm_of, best_of
from llmtp.tune.search import Arm
from llmtp.tune.work import KINDS

_HEADS = ("", "tokens/s", "own answers", "accepted", "step, ms", "rounds")


def make_page(data: dict[str, Any]) -> str:
    """HTML of the `data` of `tune --json`; what its texts say stays text."""
    name = harmless(data["model"], 100)
    return whole_page(f"{name}: n-max tuned", _header(data, name), *_sections(data))


def _header(data: dict[str, Any], name: str) -> Markup:
    return tag(
        "header",
        tag("p", f"llmtp tune, {harmless(data['at'], 20)}", class_="kicker"),
        tag("h1", name),
        tag("div", tag("p", data["verdict"], class_="sentence"), class_="verdict"),
        pictures.key_figures(data),
    )


def _sections(data: dict[str, Any]) -> Iterator[Markup]:
    yield tag(
        "div",
        section("Tokens per second by n-max", _how_to_read(data), pictures.speed_chart(data)),
        section(
            "Drafts that were right",
            "In percent, by place in the draft: one is right where all before it are too. At the "
            "right: of all drafts.",
            pictures.position_chart(data),
        ),
        class_="pair",
    )
    yield section(
        "All figures",
        "Tokens per second are by all that was seen: the time of a step, and how often drafts are "
        "right. An arm that was clearly behind after a round of its own answers was asked no more.",
        _table(data),
    )
    yield section(
        "How it was measured",
        "One server with the largest n-max tells what to expect of all; then one for each that "
        "is worth it, with the same questions.",
        tag("dl", *_method(data), class_="method"),
    )
    if data["noticed"]:
        yield section("What was noticed", None, noticed(data))


def _how_to_read(data: dict[str, Any]) -> str:
    best = best_of(data)
    told = (
        "Filled points were measured, hollow ones on the dotted line are expected. The dashed line "
        "is MTP off. The diamond is the "
    )
    if pictures.is_variant(best):
        return f"{told}fastest n-max by itself; {best.name} was faster still."
    why = ": the least n-max that is nearly the fastest" if best.n_max else ""
    return f"{told}one to run with{why}."


def _table(data: dict[str, Any]) -> Markup:
    best = best_of(data)
    rows = []
    for row in data["arms"]:
        arm = arm_of(row)
        figures = (
            rate(row["predicted_tokens_per_s"]),
            rate(row["tokens_per_s"]),
            percent(row["acceptance"]),
            _in_ms(row["step_s"]),
            plain(row["rounds"]) if row["rounds"] else None,
        )
        cells = (tag("td", UNKNOWN if one is None else one) for one in figures)
        rows.append(tag("tr", _name(arm, is_best=arm == best), *cells))
    return table("Every n-max, measured or expected", _HEADS, rows)


def _name(arm: Arm, *, is_best: bool) -> Markup:
    """The rule for drafts below the n-max."""
    n_max, _, rule = arm.name.partition(", ")
    small = (tag("small", one) for one in (rule, "to run with" if is_best else "") if one)
    return tag("th", n_max, *small, scope="row")


def _method(data: dict[str, Any]) -> Iterator[Markup]:
    setting = data["setting"]
    yield entry("device", setting["device"])
    yield entry("model", setting["main"])
    yield entry("drafter", setting["draft"])
    yield entry("KV type", setting["kv_type"])
    yield entry("context", _up_to(setting["ctx_band"]))
    yield entry("engine", data["build"] or "build not told")
    yield entry("driver", data["driver"] or NOT_TOLD)
    work = pictures.work_of(data)
    yield entry("text", f"{work}: {', '.join(KINDS)}" if data["workload"] == ALL_WORK else work)
    yield entry("temperature", plain(data["temp"]) or NOT_TOLD)
    yield entry("answers", _up_to(data["tokens"]))
    drafting = _in_ms(data["draft_s"])
    yield entry("drafting", NOT_TOLD if drafting is None else f"{drafting} ms a token")
    yield entry("other programs", some_cores(data["others_cores"]) or NOT_TOLD)


def _up_to(tokens: Any) -> str:
    known = plain(tokens)
    return f"up to {known} tokens" if known else NOT_TOLD


def _in_ms(seconds: Any) -> str | None:
    known = number(seconds)
    return None if known is None else f"{1000 * known:,.1f}"
