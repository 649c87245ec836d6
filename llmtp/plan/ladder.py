"""What is given up when memory is short, and in which order: for plans and for failed starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
#: Those that choose another file: not for a start that failed, whose files are there.
OF_FILES = (Step.QUANT, Step.DRAFTER)
#: What costs much speed, and what a user may not notice.
_LEVELS: dict[Step, Level] = {Step.MTP: "warning", Step.OFFLOAD: "warning"}


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
        return f"{WORDS[self.step].partition(' (')[0]} {wanted} → {got}"

    def to_dict(self) -> dict[str, Any]:
        return {"step": self.step.value, "from": self.wanted, "to": self.got}

    def finding(self, place: str) -> Finding:
        """What a user should know of it; the fix only where it costs much."""
        said = f"gives up {self.words()}" if self.step is not Step.OFFLOAD else self.words()
        level = _LEVELS.get(self.step, "info")
        fix = "free memory there, or use a smaller quant"
        return Finding(
            self.rule,
            level,
            f"{said}: there is no more room in {place}",
            fix=None if level == "info" else fix,
        )


def in_order(given_up: Iterable[GivenUp]) -> tuple[GivenUp, ...]:
    """Of giving up."""
    order = list(Step)
    return tuple(sorted(given_up, key=lambda one: order.index(one.step)))


def next_steps(
    ladder: Sequence[Step], given_up: Sequence[GivenUp], *, has_gpu: bool, is_long: bool
) -> list[str]:
    """What of a `ladder` would go next, in words: a context of more than 32k if it `is_long`,
    layers on a GPU. A quant that was chosen stays, and ubatch and KV type may go after it."""
    gone = [one.step for one in given_up]
    missing = {Step.SLOTS} | ({Step.QUANT} & set(gone))
    missing |= set() if has_gpu else {Step.OFFLOAD}
    missing |= set() if is_long else {Step.CONTEXT}
    order = [step for step in ladder if step not in missing]
    last = max((order.index(step) for step in gone if step in order), default=-1)
    return [WORDS[step] for step in order[last + 1 :]]
