"""Which of several plans is better: what each had to give up, in the order of giving up.

Ubatch and KV type go before a quant, so that they do not count here; quality goes before context
only where all of the useful context fits: a smaller quant with 32k is better than a larger one
with less. Equal plans keep the order of quality.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmtp.plan.ladder import Step
from llmtp.plan.result import Plan


@dataclass(frozen=True, slots=True, order=True)
class Grade:
    """Compares as what was given up; the least is the best. `on_cpu` is a share of the layers."""

    on_cpu: float
    left_mtp: bool
    smaller_drafter: bool
    short_context: bool
    missing_context: int

    @property
    def is_full(self) -> bool:
        """Nothing was given up."""
        return self < Grade(0, False, False, True, 0)

    @property
    def is_usable(self) -> bool:
        """As fast as it can be, if with less context."""
        return not (self.on_cpu or self.left_mtp or self.smaller_drafter)


def grade(plan: Plan, *, smaller_drafter: bool) -> Grade:
    """What a plan gave up."""
    given_up = {one.step: one for one in plan.given_up}
    short = given_up.get(Step.SHORT_CONTEXT)
    return Grade(
        plan.on_cpu if Step.OFFLOAD in given_up else 0,
        Step.MTP in given_up,
        smaller_drafter,
        short is not None,
        int(short.wanted) - int(short.got) if short else 0,
    )
