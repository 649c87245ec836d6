"""One way to run a pair, and what was given up for it."""

from __future__ import annotations

from dataclasses import dataclass

from llmtp.hub.reference import Reference
from llmtp.plan.fit import first_settings
from llmtp.plan.ladder import GivenUp, Step
from llmtp.plan.nmax import Choice
from llmtp.plan.place import Place, usable_devices
from llmtp.plan.settings import Settings
from llmtp.plan.wishes import Wishes


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run it; `choice` is the n-max that was to be."""

    place: Place
    settings: Settings
    choice: Choice


def given_up_by(ref: Reference, wishes: Wishes, option: Option) -> tuple[GivenUp, ...]:
    """What was to be, and what is instead, in the order of giving up."""
    text, got = ref.main.shape, option.settings
    wanted = first_settings(wishes, text, option.choice.n_max)
    steps = [
        GivenUp(Step.UBATCH, wanted.ubatch, got.ubatch),
        GivenUp(Step.KV_TYPE, wanted.kv_type, got.kv_type),
        GivenUp(Step.SHORT_CONTEXT, wanted.ctx_size, min(got.ctx_size, wanted.ctx_size)),
        GivenUp(Step.MTP, option.choice.n_max, got.n_max),
    ]
    given_up = [one for one in steps if one.got != one.wanted]
    place = option.place
    if not place.is_whole and usable_devices(place.machine):
        given_up.append(GivenUp(Step.OFFLOAD, "all on the GPU", on_gpu_words(place, text.n_layers)))
    return tuple(given_up)


def on_gpu_words(place: Place, n_layers: int) -> str:
    """What is not on a GPU, in words."""
    if place.is_whole:
        return "all on the GPU"
    if not place.devices:
        return "all on the CPU"
    if place.cpu_experts:
        return f"experts of {place.cpu_experts} of {n_layers} layers on the CPU"
    return f"{n_layers + 1 - place.gpu_layers} of {n_layers} layers on the CPU"


def missed(ref: Reference, wishes: Wishes, option: Option) -> tuple[list[int], int]:
    """What it gave up, the last step first, and then how little context it has."""
    order = list(Step)
    given_up = given_up_by(ref, wishes, option)
    steps = sorted((order.index(one.step) for one in given_up), reverse=True)
    return steps, -option.settings.ctx_size
