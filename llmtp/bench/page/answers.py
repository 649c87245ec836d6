"""What the page says of the answers: their form, their texts, and where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from llmtp.bench.page.markup import Markup, joined, number, tag
from llmtp.bench.page.tables import table
from llmtp.bench.page.words import NOT_TOLD, UNKNOWN, plain
from llmtp.bench.scheme import arm_name

_MOST_TOKEN = 60
_FORMS = {True: "✓ yes", False: "✗ no", None: "– cut off"}


def checks(record: dict[str, Any]) -> Markup:
    """Question by question, arm beside arm, why not, and the texts to open."""
    arms = [arm["n_max"] for arm in record["arms"]]
    by_prompt: dict[str, dict[int, dict[str, Any]]] = {}
    for row in record["checks"]:
        by_prompt.setdefault(row["prompt"], {})[row["n_max"]] = row
    rows = [_checked(prompt, found, arms) for prompt, found in by_prompt.items()]
    return joined(
        table("Is the form as asked?", ["", *map(arm_name, arms)], rows),
        *_reasons(record["checks"]),
        *(_texts(record, prompt) for prompt in by_prompt),
    )


def differences(record: dict[str, Any]) -> Markup:
    """Real ones first, near ties apart from them, then what could not be judged."""
    found = record["differences"]
    real = [one for one in found if one["near_tie"] is False]
    ties = [one for one in found if one["near_tie"]]
    parts = []
    if real:
        parts += [
            tag("h3", f"▲ Real: {len(real)}"),
            tag("p", "MTP took a token that is clearly less likely. That is an error."),
            _difference_table("Real differences", real),
        ]
    if ties:
        parts += [
            tag("h3", f"Near ties: {len(ties)}"),
            tag("p", "Two tokens were about as likely, and rounding took the other: both right."),
            _difference_table("Near ties", ties),
        ]  # fmt: skip
    if record["unjudged_differences"]:
        parts += [
            tag("h3", f"Not judged: {plain(record['unjudged_differences']) or NOT_TOLD}"),
            tag("p", "Whether these are ties was not looked at, or the engine did not tell."),
        ]
    return joined(*parts)


def _checked(prompt: str, found: dict[int, dict[str, Any]], arms: list[int]) -> Markup:
    asked = next(iter(found.values()))["asked"]
    head = tag("th", prompt, tag("small", asked), scope="row")
    return tag("tr", head, *(tag("td", _form(found.get(n_max))) for n_max in arms))


def _form(row: dict[str, Any] | None) -> str:
    if row is None:
        return UNKNOWN
    return _FORMS[row["ok"] if isinstance(row["ok"], bool) else None]


def _reasons(rows: Iterable[dict[str, Any]]) -> Iterator[Markup]:
    """Equal ones once."""
    by_reason: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row["why"]:
            by_reason.setdefault((row["prompt"], row["why"]), []).append(row["n_max"])
    if by_reason:
        yield tag(
            "ul",
            *(
                tag("li", tag("b", prompt), f", {_names(arms)}: {why}")
                for (prompt, why), arms in by_reason.items()
            ),
        )


def _texts(record: dict[str, Any], prompt: str) -> Markup:
    """Those of the first round, where a cell has the name of its workload; equal ones once."""
    cell = prompt.rpartition("-")[0]
    answers = [
        (arm["n_max"], one)
        for arm in record["arms"]
        for one in arm["prompts"]
        if (one["prompt"], one["cell"], one["round"]) == (prompt, cell, 0)
    ]
    if not answers:
        return joined()
    by_text: dict[str, list[int]] = {}
    for n_max, one in answers:
        by_text.setdefault(one["answer"], []).append(n_max)
    told = "all gave the same text" if len(by_text) == 1 else f"{len(by_text)} different texts"
    shown = [
        tag("div", tag("h3", _names(arms)), tag("pre", text or "(empty)", tabindex=0))
        for text, arms in by_text.items()
    ]
    return tag(
        "details",
        tag("summary", f"{prompt}: {told}"),
        tag("h3", "the question"),
        tag("pre", answers[0][1]["question"], class_="wrapped", tabindex=0),
        tag("div", *shown, class_="texts"),
    )


def _names(arms: Sequence[int]) -> str:
    """`off, n-max 1, 3`."""
    on = ", ".join(str(n_max) for n_max in arms if n_max != 0)
    return ", ".join(filter(None, ["off" if 0 in arms else "", f"n-max {on}" if on else ""]))


def _difference_table(name: str, found: Iterable[dict[str, Any]]) -> Markup:
    heads = ["where", "n-max", "round", "token", "off says", "MTP says", "less likely by"]
    return table(name, heads, map(_difference, found), "words")


def _difference(one: dict[str, Any]) -> Markup:
    position, gap, turn = number(one["position"]), number(one["gap"]), number(one["round"])
    where = one["prompt"] if one["cell"] == one["prompt"].rpartition("-")[0] else (
        f"{one['prompt']} ({one['cell']})"
    )  # fmt: skip
    return tag(
        "tr",
        tag("th", where, scope="row"),
        tag("td", str(one["n_max"])),
        tag("td", UNKNOWN if turn is None else f"{turn + 1:,.0f}"),
        tag("td", UNKNOWN if position is None else f"{position + 1:,.0f}"),
        tag("td", _token(one["off_token"])),
        tag("td", _token(one["arm_token"])),
        tag("td", "not among the likeliest" if gap is None else f"{gap:.2f} (log)"),
    )


def _token(text: str | None) -> Markup:
    """Spaces and line breaks in it are seen."""
    return joined(NOT_TOLD) if text is None else tag("code", repr(text[:_MOST_TOKEN]))
