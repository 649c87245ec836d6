"""Offers as they were tried on this machine, and what is shown of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from llmtp.errors import DoesNotFitError, LlmtpError
from llmtp.hub.offers import Offer
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Machine
from llmtp.plan.grade import Grade, grade
from llmtp.plan.grid import Cell, grid
from llmtp.plan.result import Plan
from llmtp.plan.wishes import Wishes
from llmtp.text import clean


@dataclass(frozen=True, slots=True)
class Tried:
    """One offer on this machine; without `plan` it does not fit, and `error` says why."""

    offer: Offer
    reference: Reference | None
    plan: Plan | None
    error: LlmtpError | None
    smaller_drafter: bool = False

    @property
    def grade(self) -> Grade | None:
        if self.plan is None:
            return None
        return grade(self.plan, smaller_drafter=self.smaller_drafter)


@dataclass(frozen=True, slots=True)
class Alternative:
    """A quant that could be had, what would come of it here, and what it would take by context and
    drafter. One that is only a file of the user's has no repository."""

    quant: str
    repository: str | None
    file_bytes: int
    on_disk: bool
    ctx_size: int | None
    n_max: int | None
    device: str | None
    chosen: bool
    reason: str | None
    cells: tuple[Cell, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "quant": self.quant,
            "repository": self.repository,
            "file_bytes": self.file_bytes,
            "on_disk": self.on_disk,
            "fits": self.ctx_size is not None,
            "ctx_size": self.ctx_size,
            "n_max": self.n_max,
            "device": self.device,
            "chosen": self.chosen,
            "reason": self.reason,
            "grid": [cell.to_dict() for cell in self.cells],
        }


def offer_key(offer: Offer) -> tuple[str, str]:
    """What is the same file, wherever it is listed."""
    return offer.repository.name.repo_id, offer.name


def alone(reference: Reference, plan: Plan, machine: Machine, wishes: Wishes) -> Alternative:
    """What was named by hand, and so is all that there is."""
    return Alternative(
        quant=reference.main.quant or reference.name,
        repository=None,
        file_bytes=reference.main.file_bytes,
        on_disk=reference.main.is_local,
        ctx_size=plan.ctx_size,
        n_max=plan.n_max,
        device=plan.where,
        chosen=True,
        reason=None,
        cells=grid(reference, machine, wishes),
    )


def alternatives(
    tried: list[Tried], chosen: Offer | None, machine: Machine, wishes: Wishes
) -> tuple[Alternative, ...]:
    """One a quant, with the drafter that makes the better plan."""
    better: dict[tuple[str, str], Tried] = {}
    for one in tried:
        known = better.setdefault(offer_key(one.offer), one)
        if one.grade is not None and (known.grade is None or one.grade < known.grade):
            better[offer_key(one.offer)] = one
    mine = None if chosen is None else offer_key(chosen)
    return tuple(
        replace(
            _alternative(one, key == mine),
            cells=grid(one.reference, machine, wishes) if one.reference else (),
        )
        for key, one in better.items()
    )


def _alternative(one: Tried, chosen: bool) -> Alternative:
    plan = one.plan
    if plan is not None:
        device = plan.where
        wanted = one.reference is not None and one.reference.draft is not None
        words = ["without MTP" if wanted and not plan.mtp else None,
                 "with a smaller drafter" if one.smaller_drafter else None]  # fmt: skip
        reason = ", ".join(filter(None, words)) or None
    else:
        short = one.error.short if isinstance(one.error, DoesNotFitError) else ""
        device, reason = None, short or clean(str(one.error), 120)
    return Alternative(
        quant=one.offer.label,
        repository=one.offer.repository.name.repo_id,
        file_bytes=one.offer.file_bytes,
        on_disk=one.reference is not None and one.reference.main.is_local,
        ctx_size=plan.ctx_size if plan else None,
        n_max=plan.n_max if plan else None,
        device=device,
        chosen=chosen,
        reason=reason,
    )
