"""The `timings` that llama-server puts into an answer (tools/server/server-task.cpp)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timings:
    """Of one request. `predicted` counts the first token too, which belongs to the prompt: its
    time is none of `predicted_s`. Unknown is 0."""

    prompt_tokens: int
    prompt_s: float
    predicted: int
    predicted_s: float
    drafted: int
    accepted: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Timings:
        """From a whole answer; what it lacks is 0."""
        told = answer.get("timings")
        timings = told if isinstance(told, dict) else {}
        return cls(
            prompt_tokens=int(_number(timings.get("prompt_n"))),
            prompt_s=_number(timings.get("prompt_ms")) / 1000,
            predicted=int(_number(timings.get("predicted_n"))),
            predicted_s=_number(timings.get("predicted_ms")) / 1000,
            drafted=int(_number(timings.get("draft_n"))),
            accepted=int(_number(timings.get("draft_n_accepted"))),
        )

    @property
    def tokens_per_s(self) -> float | None:
        """Of decoding; None where there is nothing to divide."""
        if self.predicted < 2 or self.predicted_s <= 0:
            return None
        return (self.predicted - 1) / self.predicted_s

    @property
    def steps(self) -> int:
        """Passes of the main model after the prompt: each yields one token besides the drafts."""
        return max(self.predicted - 1 - self.accepted, 0)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) else 0.0
