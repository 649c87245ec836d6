"""The arms in the `data` of a run, for its page."""

from __future__ import annotations

from typing import Any

from llmtp.bench.page.markup import number
from llmtp.text import clean
from llmtp.tune.search import Arm

_MOST_NAME = 40


def arm_of(row: dict[str, Any]) -> Arm:
    """What a row is of."""
    return _arm(row["n_max"], row["p_min"], row["draft_sampling"])


def best_of(data: dict[str, Any]) -> Arm:
    """The one to run with."""
    return _arm(data["best_n_max"], data["best_p_min"], data["best_draft_sampling"])


def row_of(data: dict[str, Any], arm: Arm) -> dict[str, Any]:
    """Empty where there is none."""
    return next((row for row in data["arms"] if arm_of(row) == arm), {})


def fastest(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of those that were measured; empty where none was."""
    known = [row for row in rows if is_measured(row) and speed_of(row) is not None]
    return max(known, key=lambda row: speed_of(row) or 0.0, default={})


def is_measured(row: dict[str, Any]) -> bool:
    """Has it had a server of its own?"""
    return number(row.get("tokens_per_s")) is not None


def speed_of(row: dict[str, Any]) -> float | None:
    """Tokens per second by all that was seen, by which arms are chosen."""
    return number(row.get("predicted_tokens_per_s"))


def at(arm: Arm) -> str:
    """`at n-max 3`, `with MTP off`."""
    return f"at {arm.name}" if arm.n_max else "with MTP off"


def _arm(n_max: int, p_min: Any, draft_sampling: str) -> Arm:
    return Arm(n_max, number(p_min) or 0.0, clean(draft_sampling, _MOST_NAME))
