"""How many tokens to draft: as asked, pinned by the profile, as tuned, or by the cost model."""

from __future__ import annotations

from dataclasses import dataclass

from llmtp.hub.reference import Reference
from llmtp.machine.tuned import ALL_WORK, SAMPLINGS, Tuned
from llmtp.plan.fit import first_settings
from llmtp.plan.place import Place
from llmtp.plan.speed import PROSE, TYPICAL, best_gain
from llmtp.plan.tuned import tuned_for
from llmtp.plan.wishes import Wishes
from llmtp.units import format_percent


@dataclass(frozen=True, slots=True)
class Choice:
    """The n-max for a place, 0 for none, the reason, and what `tune` has found, if that it is."""

    n_max: int
    why: str
    tuned: Tuned | None = None


#: Nobody drafts.
NO_DRAFTER = Choice(0, "MTP is off, as asked")


def said_n_max(wishes: Wishes, ref: Reference) -> Choice | None:
    """As the user or the profile says it, whatever serves; None where that is left to us."""
    if ref.draft is None:
        return NO_DRAFTER
    if wishes.n_max is not None:
        return Choice(wishes.n_max, f"n-max {wishes.n_max or 'off'}, as asked")
    pinned = None if ref.profile is None else ref.profile.n_max
    if pinned or (pinned == 0 and not wishes.draft_is_wanted):
        return Choice(pinned, f"n-max {pinned or 'off'} from the profile {ref.name}")
    return None


def choose_n_max(wishes: Wishes, ref: Reference, place: Place) -> Choice:
    """Of what is asked for, pinned, tuned or expected, the first that there is."""
    said = said_n_max(wishes, ref)
    if said is not None or ref.draft is None:
        return said or NO_DRAFTER
    tuned = tuned_for(wishes, ref, place)
    if tuned is not None:
        return as_tuned(tuned, insists=wishes.draft_is_wanted)
    placement = place.placement(ref, first_settings(wishes, ref.main.shape, 1))
    name = place.devices[-1].name if place.devices else ""
    gain = best_gain(ref.main, ref.draft, placement, name)
    model = f"cost model: {gain.source}"
    if not gain.pays and not wishes.draft_is_wanted:
        return Choice(
            0, f"MTP off: {gain.typical:.1f} times the speed at best is no gain ({model})"
        )
    return Choice(
        gain.n_max,
        f"n-max {gain.n_max}: {gain.typical:.1f} times the speed is expected where "
        f"{format_percent(TYPICAL)} of drafts are right, {gain.prose:.1f} for prose "
        f"({format_percent(PROSE)}; {model})",
    )


def as_tuned(tuned: Tuned, *, insists: bool) -> Choice:
    """What was found is taken, even where that is off, unless MTP was asked for by name."""
    work = f" for {tuned.workload}" if tuned.workload != ALL_WORK else ""
    when = f"as tuned here{work} at temperature {tuned.temp:g} on {tuned.at}"
    if not tuned.n_max and insists:
        times = tuned.insisted_tokens_per_s / tuned.off_tokens_per_s
        return Choice(
            tuned.insisted_n_max,
            f"n-max {tuned.insisted_n_max}, {when}: {times:.2f} times the speed of off, but "
            "MTP was asked for by name",
            tuned,
        )
    if not tuned.n_max:
        return Choice(0, f"MTP off, {when}: nothing was faster", tuned)
    more = f", p-min {tuned.p_min:g}" if tuned.p_min else ""
    if tuned.draft_sampling != SAMPLINGS[0]:
        more += f", {tuned.draft_sampling} drafts"
    return Choice(
        tuned.n_max,
        f"n-max {tuned.n_max}{more}, {when}: {tuned.speedup:.2f} times the speed of off",
        tuned,
    )
