"""Which of several plans is better: what each had to give up, in the order of giving up.

Quality goes before context only where all of the useful context fits: a smaller quant with 32k is
better than a larger one with less. Then context goes down to 8k, then the drafter is a smaller
one, then MTP is off, then the GPU is left. Equal plans keep the order of quality.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmtp.plan.choose import USEFUL_CONTEXT
from llmtp.plan.result import Plan


@dataclass(frozen=True, slots=True, order=True)
class Grade:
    """Compares as what was given up; the least is the best."""

    left_device: bool
    left_mtp: bool
    smaller_drafter: bool
    short_context: bool
    missing_context: int

    @property
    def is_full(self) -> bool:
        """Nothing was given up."""
        return self < Grade(False, False, False, True, 0)

    @property
    def is_usable(self) -> bool:
        """As fast as it can be, if with less context."""
        return not (self.left_device or self.left_mtp or self.smaller_drafter)


def grade(plan: Plan, *, smaller_drafter: bool) -> Grade:
    """What a plan gave up."""
    given_up = {finding.rule for finding in plan.findings}
    useful = min(USEFUL_CONTEXT, plan.main.shape.context_train) * plan.parallel
    missing = max(useful - plan.ctx_size, 0)
    # An explicit context is what it is: nothing of it is missing.
    missing = 0 if plan.ctx_is_asked else missing
    return Grade(
        "step-down-place" in given_up,
        "step-down-mtp" in given_up,
        smaller_drafter,
        missing > 0,
        missing,
    )
