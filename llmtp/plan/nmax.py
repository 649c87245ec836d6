"""How many tokens to draft: as asked, pinned by the profile, or by the cost model."""

from __future__ import annotations

from llmtp.hub.reference import Reference
from llmtp.plan.fit import first_settings
from llmtp.plan.place import Place
from llmtp.plan.speed import PROSE, TYPICAL, best_gain
from llmtp.plan.wishes import Wishes
from llmtp.units import format_percent


def choose_n_max(wishes: Wishes, ref: Reference, place: Place) -> tuple[int, str]:
    """The n-max for a place, 0 for none, and the reason."""
    if ref.draft is None:
        return 0, "MTP is off, as asked"
    if wishes.n_max is not None:
        return wishes.n_max, f"n-max {wishes.n_max or 'off'}, as asked"
    pinned = None if ref.profile is None else ref.profile.n_max
    if pinned or (pinned == 0 and not wishes.draft_is_wanted):
        return pinned, f"n-max {pinned or 'off'} from the profile {ref.name}"
    placement = place.placement(ref, first_settings(wishes, ref.main.shape, 1))
    name = place.devices[0].name if place.devices else ""
    gain = best_gain(ref.main, ref.draft, placement, name)
    model = f"cost model: {gain.source}"
    if not gain.pays and not wishes.draft_is_wanted:
        return 0, f"MTP off: {gain.typical:.1f} times the speed at best is no gain ({model})"
    return gain.n_max, (
        f"n-max {gain.n_max}: {gain.typical:.1f} times the speed is expected where "
        f"{format_percent(TYPICAL)} of drafts are right, {gain.prose:.1f} for prose "
        f"({format_percent(PROSE)}; {model})"
    )
