"""What a model would take at several contexts, with its drafter and without: a picture of what is
possible beside the plan that was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtp.hub.reference import Reference
from llmtp.machine.devices import Machine
from llmtp.plan.fit import first_settings
from llmtp.plan.kv import round_context
from llmtp.plan.place import whole_places
from llmtp.plan.settings import Settings
from llmtp.plan.wishes import Wishes

CONTEXTS = (8 * 1024, 32 * 1024, 128 * 1024)
_DRAFTS = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """One context, with the drafter or without; bytes are those on the GPUs, or in RAM where there
    are none."""

    ctx_size: int
    drafts: bool
    used_bytes: int
    fits: bool

    def to_dict(self) -> dict[str, Any]:
        return {"ctx_size": self.ctx_size, "mtp": self.drafts, "used_bytes": self.used_bytes,
                "fits": self.fits}  # fmt: skip


def grid(ref: Reference, machine: Machine, wishes: Wishes) -> tuple[Cell, ...]:
    """With nothing else given up, in the first place that has room for it.

    A model that was trained for less than the smallest of the contexts has that one.
    """
    text, cells = ref.main.shape, []
    places = whole_places(machine, wishes.margin, text)
    contexts = [one for one in CONTEXTS if one <= text.context_train] or [text.context_train]
    for drafts in (True, False) if ref.draft else (False,):
        for ctx in contexts:
            plain = first_settings(wishes, text, _DRAFTS if drafts else 0)
            settings = Settings(
                round_context(ctx, plain.parallel), plain.parallel, plain.kv_type, plain.n_max
            )
            fitting = [place for place in places if place.shortfall(ref, settings) <= 0]
            needed = (fitting or places[-1:])[0].needed(ref, settings)
            cells.append(Cell(settings.ctx_size, drafts, needed.used_bytes, bool(fitting)))
    return tuple(cells)
