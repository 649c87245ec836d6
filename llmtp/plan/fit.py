"""How much context, and what is given up for it, in one place."""

from __future__ import annotations

from dataclasses import replace

from llmtp.gguf.shape import TextModel
from llmtp.hub.reference import Reference
from llmtp.plan.kv import round_context, takes
from llmtp.plan.place import Place
from llmtp.plan.search import largest
from llmtp.plan.settings import UBATCH, Settings
from llmtp.plan.wishes import Wishes

USEFUL_CONTEXT = 32 * 1024
LEAST_CONTEXT = 8 * 1024
KV_TYPE = "f16"
#: A context is chosen to so small a part of the largest.
_FINEST = 256
#: What goes when memory is short: prompts are read in smaller pieces, and the cache is rounded.
_UBATCHES = (UBATCH, UBATCH // 2, UBATCH // 4)
_KV_TYPES = (KV_TYPE, "q8_0")


def first_settings(wishes: Wishes, text: TextModel, n_max: int) -> Settings:
    """What a plan has where nothing is given up."""
    _, useful, _ = context_range(wishes, text)
    return Settings(useful, wishes.parallel, wishes.kv_type or KV_TYPE, n_max)


def fit(ref: Reference, place: Place, wishes: Wishes, n_max: int) -> Settings | None:
    """The least given up of ubatch, then KV type, then context below the useful one; None where
    even all of that does not fit."""
    text = ref.main.shape
    least, useful, most = context_range(wishes, text)
    kv_types, ubatches = _choices(wishes, text)
    for kv_type in kv_types:
        for ubatch in ubatches:
            settings = Settings(0, wishes.parallel, kv_type, n_max, ubatch)
            found = _largest_context(ref, place, settings, useful, most)
            if found is not None:
                return found
    if least == useful:
        return None
    tightest = [Settings(0, wishes.parallel, kv_type, n_max, ubatches[-1]) for kv_type in kv_types]
    found = max(
        (
            one
            for settings in tightest
            if (one := _largest_context(ref, place, settings, least, useful))
        ),
        key=lambda one: one.ctx_size,
        default=None,
    )
    if found is None:
        return None
    restored = (replace(found, ubatch=ubatch) for ubatch in ubatches)
    return next(one for one in restored if place.shortfall(ref, one) <= 0)


def tightest_settings(wishes: Wishes, text: TextModel, n_max: int) -> Settings:
    """With all given up that may be."""
    least, _, _ = context_range(wishes, text)
    kv_types, ubatches = _choices(wishes, text)
    return Settings(least, wishes.parallel, kv_types[-1], n_max, ubatches[-1])


def context_range(wishes: Wishes, text: TextModel) -> tuple[int, int, int]:
    """The least context that may be, the useful one, and the most, as the engine counts."""
    slots = wishes.parallel
    if isinstance(wishes.ctx, int):
        return (round_context(wishes.ctx, slots),) * 3
    step = 256 * slots
    trained = max(text.context_train * slots // step, 1) * step
    useful = min(trained, max(USEFUL_CONTEXT // step, 1) * step)
    most = trained if wishes.ctx == "max" else useful
    if wishes.strict:
        return useful, useful, most
    return min(useful, round_context(LEAST_CONTEXT, slots)), useful, most


def _choices(wishes: Wishes, text: TextModel) -> tuple[list[str], list[int]]:
    """KV types and ubatches that may be used, the best first."""
    if wishes.kv_type is not None:
        kv_types = [wishes.kv_type]
    else:
        kv_types = [one for one in _KV_TYPES if takes(text, one)]
    if wishes.strict:
        return kv_types[:1], [UBATCH]
    return kv_types, list(_UBATCHES)


def _largest_context(
    ref: Reference, place: Place, settings: Settings, least: int, most: int
) -> Settings | None:
    """The largest that fits, or None."""
    step = 256 * settings.parallel
    step = max(most // _FINEST // step, 1) * step

    def missing(steps: int) -> int:
        return place.shortfall(ref, replace(settings, ctx_size=min(steps * step, most)))

    found = largest(-(-least // step), -(-most // step), missing)
    return None if found is None else replace(settings, ctx_size=min(found * step, most))
