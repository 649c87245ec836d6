"""Which profiles run on this machine, at which quant, context and n-max, asked of no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import asdict, dataclass
from typing import Any

from llmtp import config
from llmtp.errors import LlmtpError
from llmtp.hub.reference import Asked
from llmtp.machine.devices import Machine
from llmtp.plan.choose import make_plan
from llmtp.plan.wishes import Wishes
from llmtp.selection import select, select_published
from llmtp.text import clean

_DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Fit:
    """A profile here. `n_max` 0 is MTP off; `device` is where it runs; `reason` why it does not
    fit. Without `on_disk` sizes are estimates, and `download_bytes` is what has to come."""

    name: str
    fits: bool
    quant: str | None = None
    ctx_size: int | None = None
    n_max: int | None = None
    device: str | None = None
    on_disk: bool = False
    download_bytes: int = 0
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def fit_all(names: Iterable[str], machine: Machine) -> list[Fit]:
    """Each of these profiles on that machine."""
    return [_fit(name, machine) for name in names]


def best(fits: Iterable[Fit], room_bytes: int, closed: Set[str] = frozenset()) -> Fit | None:
    """What a newcomer should run: never the demo where there is something better, what is here
    before what has to come (at most `room_bytes`, and none of the `closed` names), of that the
    largest that a GPU holds, or the smallest for a CPU."""
    found = [
        fit
        for fit in fits
        if fit.fits
        and (fit.on_disk or (fit.download_bytes <= room_bytes and fit.name not in closed))
    ]
    return max(found, key=_merit, default=None)


def _merit(fit: Fit) -> tuple[bool, bool, int]:
    size = -fit.download_bytes if fit.device == "CPU" else fit.download_bytes
    return fit.name != _DEMO, fit.on_disk, size


def _fit(name: str, machine: Machine) -> Fit:
    asked = Asked(name, offline=True, preferred=config.preferred_quant())
    wishes = Wishes(margin=config.margin_bytes())

    def look() -> Machine:
        return machine

    try:
        chosen = _either(asked, wishes, look)
        plan = make_plan(chosen[0], machine, wishes)
    except LlmtpError as error:
        short = getattr(error, "short", "")
        return Fit(name, fits=False, reason=clean(short or str(error), 160))
    reference, on_disk, label = chosen
    size = sum(facts.file_bytes for facts in reference.models)
    return Fit(
        name,
        fits=True,
        quant=label or reference.main.quant,
        ctx_size=plan.ctx_size,
        n_max=plan.n_max,
        device=plan.where,
        on_disk=on_disk,
        download_bytes=0 if on_disk else size,
    )


def _either(asked: Asked, wishes: Wishes, look: Callable[[], Machine]) -> tuple[Any, bool, Any]:
    """What is on this disk, or else what its makers published."""
    try:
        found, on_disk = select(asked, wishes, look), True
    except LlmtpError as error:
        found, on_disk = select_published(asked, wishes, look, error, survey=False), False
    return found.reference, on_disk, found.offer.label if found.offer else None
