"""What is given up when memory is short, and in which order: for plans and for failed starts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llmtp.errors import Finding, Level
from llmtp.units import format_count


class Step(StrEnum):
    """In the order of giving up. What was asked for by name is never given up."""

    SLOTS = "slots"
    CONTEXT = "context"
    UBATCH = "ubatch"
    KV_TYPE = "kv-type"
    QUANT = "quant"
    SHORT_CONTEXT = "short-context"
    DRAFTER = "drafter"
    MTP = "mtp"
    OFFLOAD = "offload"


WORDS = {
    Step.SLOTS: "slots",
    Step.CONTEXT: "context down to 32k",
    Step.UBATCH: "ubatch",
    Step.KV_TYPE: "KV type",
    Step.QUANT: "quant (before a download)",
    Step.SHORT_CONTEXT: "context down to 8k",
    Step.DRAFTER: "drafter precision",
    Step.MTP: "MTP",
    Step.OFFLOAD: "layers or experts to the CPU",
}
#: What costs much speed, and what a user may not notice.
_LEVELS: dict[Step, Level] = {Step.DRAFTER: "warning", Step.MTP: "warning", Step.OFFLOAD: "warning"}


@dataclass(frozen=True, slots=True)
class GivenUp:
    """One step: what a plan would have had, and what it has."""

    step: Step
    wanted: str | int
    got: str | int

    @property
    def rule(self) -> str:
        """Of its finding."""
        return f"step-down-{self.step.value}"

    def words(self) -> str:
        """`KV type f16 → q8_0`."""
        wanted, got = (
            format_count(one) if isinstance(one, int) else one for one in (self.wanted, self.got)
        )
        match self.step:
            case Step.OFFLOAD:
                return got
            case Step.MTP:
                return "MTP"
            case Step.CONTEXT | Step.SHORT_CONTEXT:
                return f"context {wanted} → {got}"
        return f"{WORDS[self.step]} {wanted} → {got}"

    def to_dict(self) -> dict[str, Any]:
        return {"step": self.step.value, "from": self.wanted, "to": self.got}

    def finding(self, place: str) -> Finding:
        """What a user should know of it; the fix only where it costs much."""
        said = f"gives up {self.words()}" if self.step is not Step.OFFLOAD else self.words()
        level = _LEVELS.get(self.step, "info")
        fix = "free memory there, use a smaller quant, or insist with --strict"
        return Finding(
            self.rule,
            level,
            f"{said}: there is no more room in {place}",
            fix=None if level == "info" else fix,
        )


def next_steps(given_up: tuple[GivenUp, ...]) -> list[str]:
    """What would go next, in words."""
    last = max((list(Step).index(one.step) for one in given_up), default=-1)
    return [WORDS[step] for step in list(Step)[last + 1 :]]
