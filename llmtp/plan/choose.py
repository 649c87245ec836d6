"""Choose placement, context and n-max for a pair on a machine, or say what it would take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from llmtp.errors import DoesNotFitError, Finding
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Machine
from llmtp.plan.fit import (
    LEAST_CONTEXT,
    USEFUL_CONTEXT,
    context_range,
    first_settings,
    fit,
    tightest_settings,
)
from llmtp.plan.kv import checkpoint_bytes, round_context, takes
from llmtp.plan.ladder import GivenUp, Step
from llmtp.plan.memory import Parts
from llmtp.plan.nmax import choose_n_max
from llmtp.plan.place import HOST_MARGIN, LEAST_LAYERS, Place, usable_devices, whole_places
from llmtp.plan.result import Plan, Usage
from llmtp.plan.search import largest
from llmtp.plan.settings import Settings
from llmtp.plan.wishes import Wishes, check_wishes
from llmtp.units import GiB, MiB, format_bytes, format_count

PROMPT_CACHE = 8 * GiB
#: A slot, which is the default of llama-server; it makes some two a prompt.
MOST_CHECKPOINTS = 32
#: The engine's threads spin at a barrier after each operation. A model this small is as fast on
#: one, and with two on a busy 2-core machine an answer took 60 s instead of 0.5 s (b10068).
ONE_THREAD = 64 * MiB
#: Of a card's total, free when nothing runs on it: the driver keeps some.
_EMPTY = 0.97


@dataclass(frozen=True, slots=True)
class _Option:
    """One way to run it; `wanted` is the n-max that was to be, and `why` the reason for it."""

    place: Place
    settings: Settings
    wanted: int
    why: str


def make_plan(ref: Reference, machine: Machine, wishes: Wishes, *, partly: bool = True) -> Plan:
    """The fastest safe plan; without `partly` only one that leaves nothing of a GPU's to the CPU.

    Raises DoesNotFitError with the shortfall and the ways out.
    """
    check_wishes(wishes, ref.main.shape, has_draft=ref.draft is not None)
    option = next(_options(ref, machine, wishes, partly=partly), None)
    if option is None:
        raise _does_not_fit(ref, whole_places(machine, wishes.margin, ref.main.shape)[-1], wishes)
    plan = _plan(ref, option, wishes)
    findings = [one.finding(_short_of(option.place)) for one in plan.given_up]
    if ref.draft is not None and option.wanted == 0 and wishes.n_max is None:
        findings.append(Finding("mtp-no-gain", "info", option.why, fix="insist with --n-max 1"))
    in_use = _in_use(ref, machine, wishes, option) if plan.given_up else None
    return replace(plan, findings=(*findings, *([in_use] if in_use else ())))


def _options(
    ref: Reference, machine: Machine, wishes: Wishes, *, partly: bool
) -> Iterator[_Option]:
    """What fits, in the order of giving up."""
    places = whole_places(machine, wishes.margin, ref.main.shape)
    for drafts in (True, False):
        found = []
        for place in places:
            wanted, why = choose_n_max(wishes, ref, place)
            kept = wishes.draft_is_wanted or wishes.strict
            if not drafts and (kept or wanted == 0):
                continue
            settings = fit(ref, place, wishes, wanted if drafts else 0)
            if settings is not None:
                found.append(_Option(place, settings, wanted, why))
                if wishes.ctx != "max" and not _given_up(ref, wishes, found[-1]):
                    break
        if found:  # of equal ones the one with the fewest cards
            yield min(found, key=lambda one: _missed(ref, wishes, one))
    if wishes.strict or not partly or not places[0].devices:
        return
    yield from _partly(ref, places[-1], wishes)
    yield from _in_ram(ref, machine, wishes)


def _missed(ref: Reference, wishes: Wishes, option: _Option) -> tuple[list[int], int]:
    """What it gave up, the last step first, and then how little context it has."""
    order = list(Step)
    given_up = _given_up(ref, wishes, option)
    steps = sorted((order.index(one.step) for one in given_up), reverse=True)
    return steps, -option.settings.ctx_size


def _partly(ref: Reference, whole: Place, wishes: Wishes) -> Iterator[_Option]:
    """With as much on the GPUs as fits; what drafting gains depends on how much that is."""
    wanted, _ = choose_n_max(wishes, ref, whole)
    for n_max in dict.fromkeys((wanted, wanted if wishes.draft_is_wanted else 0)):
        place = _most_on_gpu(ref, whole, wishes, n_max)
        if place is None:
            continue
        gains, why = choose_n_max(wishes, ref, place)
        if n_max and not gains:  # layers can use the room of a drafter that is no gain
            continue
        settings = fit(ref, place, wishes, min(gains, n_max))
        if settings is not None:
            yield _Option(place, settings, settings.n_max or gains, why)


def _in_ram(ref: Reference, machine: Machine, wishes: Wishes) -> Iterator[_Option]:
    place = Place(machine, (), wishes.margin)
    wanted, why = choose_n_max(wishes, ref, place)
    for n_max in dict.fromkeys((wanted, wanted if wishes.draft_is_wanted else 0)):
        settings = fit(ref, place, wishes, n_max)
        if settings is not None:
            yield _Option(place, settings, wanted, why)


def _most_on_gpu(ref: Reference, whole: Place, wishes: Wishes, n_max: int) -> Place | None:
    """Experts go first, as few layers of them as will do, then whole layers.

    Experts are cheap to leave, because few of them are read for a token: with them all else that
    could be given up is kept, if only there are enough.
    """
    text, n_layers = ref.main.shape, ref.main.shape.n_layers

    def search(
        place_with: Callable[[int], Place], least: int, most: int, settings: Settings
    ) -> Place | None:
        def missing(on_gpu: int) -> int:
            return place_with(on_gpu).device_shortfall(ref, settings)

        found = largest(least, most, missing)
        for on_gpu in range(least - 1 if found is None else found, least - 1, -1):
            place = place_with(on_gpu)
            settled = fit(ref, place, wishes, n_max)
            if settled is None:  # RAM is short, and the more so the less is on the GPU
                return None
            if not place.aborts(ref, settled):
                return place
        return None

    tightest = tightest_settings(wishes, text, n_max)
    if text.n_experts:
        for settings in (first_settings(wishes, text, n_max), tightest):
            place = search(
                lambda n: replace(whole, cpu_experts=n_layers - n), 0, n_layers - 1, settings
            )
            if place is not None:
                return place
    return search(lambda n: replace(whole, gpu_layers=n), LEAST_LAYERS, n_layers, tightest)


def _given_up(ref: Reference, wishes: Wishes, option: _Option) -> tuple[GivenUp, ...]:
    """What was to be, and what is instead, in the order of giving up."""
    text, got = ref.main.shape, option.settings
    wanted = first_settings(wishes, text, option.wanted)
    steps = [
        GivenUp(Step.UBATCH, wanted.ubatch, got.ubatch),
        GivenUp(Step.KV_TYPE, wanted.kv_type, got.kv_type),
        GivenUp(Step.SHORT_CONTEXT, wanted.ctx_size, min(got.ctx_size, wanted.ctx_size)),
        GivenUp(Step.MTP, option.wanted, got.n_max),
    ]
    given_up = [one for one in steps if one.got != one.wanted]
    place = option.place
    if not place.is_whole and usable_devices(place.machine):
        given_up.append(GivenUp(Step.OFFLOAD, "all on the GPU", _on_gpu(place, text.n_layers)))
    return tuple(given_up)


def _on_gpu(place: Place, n_layers: int) -> str:
    if place.is_whole:
        return "all on the GPU"
    if not place.devices:
        return "all on the CPU"
    if place.cpu_experts:
        return f"experts of {place.cpu_experts} of {n_layers} layers on the CPU"
    return f"{n_layers + 1 - place.gpu_layers} of {n_layers} layers on the CPU"


def _in_use(ref: Reference, machine: Machine, wishes: Wishes, option: _Option) -> Finding | None:
    """Would the cards allow more if nothing else were on them? Then who is?"""
    empty = tuple(
        replace(device, free_bytes=max(device.free_bytes, round(device.total_bytes * _EMPTY)))
        if device.free_bytes is not None
        and device.total_bytes is not None
        and not device.shares_ram
        else device
        for device in machine.devices
    )
    if empty == machine.devices:
        return None
    better = next(_options(ref, replace(machine, devices=empty), wishes, partly=True), None)
    if better is None or _missed(ref, wishes, better) >= _missed(ref, wishes, option):
        return None
    free = {device.id: device.free_bytes or 0 for device in empty}
    now = max(machine.devices, key=lambda one: free[one.id] - (one.free_bytes or 0))
    taken = free[now.id] - (now.free_bytes or 0)
    users = ", ".join(f"{user.name} ({format_bytes(user.used_bytes)})" for user in now.users)
    return Finding(
        "card-in-use",
        "warning",
        f"{format_bytes(taken)} of {now.name} are taken by {users or 'other programs'}: without "
        f"them it could have context {format_count(better.settings.ctx_size)}, "
        f"{f'n-max {better.settings.n_max}' if better.settings.drafts else 'MTP off'}, "
        f"KV type {better.settings.kv_type}, {_on_gpu(better.place, ref.main.shape.n_layers)}",
        fix="end what else uses the card, and type it again",
    )


def _plan(ref: Reference, option: _Option, wishes: Wishes) -> Plan:
    place, settings, text = option.place, option.settings, ref.main.shape
    needed, placement = place.needed(ref, settings), place.placement(ref, settings)
    host = place.machine.host
    in_ram = needed.host.total + place.shared_bytes(needed)
    spare = max(host.available_bytes - in_ram - HOST_MARGIN, 0)
    each = checkpoint_bytes(text, settings)
    # They and the prompt cache share what is left: without either, prompts are read again.
    checkpoints = MOST_CHECKPOINTS
    if each:
        checkpoints = min(spare // 2 // (each * settings.parallel), MOST_CHECKPOINTS)
    spare -= checkpoints * each * settings.parallel
    totals = [one.total for one in needed.devices]
    parts = dict(zip(map(id, place.devices), needed.devices, strict=True))
    draft = ref.draft if settings.drafts else None
    given_up = _given_up(ref, wishes, option)
    return Plan(
        name=ref.name,
        main=ref.main,
        draft=draft,
        mmproj=ref.mmproj,
        ctx_size=settings.ctx_size,
        parallel=settings.parallel,
        kv_type=settings.kv_type,
        n_max=settings.n_max,
        gpus=place.devices,
        gpu_layers=min(placement.gpu_layers, text.n_layers + 1) if place.devices else 0,
        cpu_experts=place.cpu_experts,
        split=placement.split,
        ubatch=settings.ubatch,
        threads=1 if ref.main.tensor_bytes.total < ONE_THREAD else None,
        prompt_cache_bytes=min(spare, PROMPT_CACHE),
        checkpoints=checkpoints,
        checkpoint_bytes=each,
        devices=tuple(Usage(d, parts.get(id(d), Parts())) for d in place.machine.devices),
        host=host,
        host_parts=needed.host,
        mapped_bytes=needed.mapped_bytes,
        mixed_batches=place.machine.mixed_batches,
        margin_bytes=max(map(place.device_margin, totals)) if totals else place.host_margin,
        given_up=given_up,
        why=(
            _why_place(place, text.n_layers),
            f"context {format_count(settings.ctx_size)} in {settings.parallel} slot(s), "
            f"{_why_context(settings, text.context_train)}",
            option.why if draft or not ref.draft or not option.wanted
            else "MTP off: there is no room for the drafter",
        ),
    )  # fmt: skip


def _why_place(place: Place, n_layers: int) -> str:
    if not place.devices:
        devices = place.machine.devices
        if any(device.usable for device in devices):
            return "all layers on the CPU: no GPU has room for them"
        among = f" among {', '.join(device.name for device in devices)}" if devices else ""
        return f"all layers on the CPU: no usable GPU{among}"
    free = "; ".join(
        f"{format_bytes(device.free_bytes)} free by {device.source}" for device in place.devices
    )
    if place.is_whole:
        return f"all layers on {place.name}, {free}"
    return f"{_on_gpu(place, n_layers)}, the rest on {place.name}, {free}"


def _why_context(settings: Settings, trained: int) -> str:
    if settings.ctx_size >= trained * settings.parallel:
        return "all that the model was trained for"
    if settings.ctx_size == USEFUL_CONTEXT:
        return "the default; a larger one costs speed"
    return f"of {format_count(trained)} that it was trained for"


def _short_of(place: Place) -> str:
    """Whose memory is short."""
    devices = place.devices or tuple(usable_devices(place.machine))
    return " + ".join(device.name for device in devices) or "RAM"


def _does_not_fit(ref: Reference, place: Place, wishes: Wishes) -> DoesNotFitError:
    text = ref.main.shape
    n_max, _ = choose_n_max(wishes, ref, place)
    ctx, _, _ = context_range(wishes, text)
    settings = replace(first_settings(wishes, text, n_max), ctx_size=ctx)
    missing = place.shortfall(ref, settings)
    needed = place.needed(ref, settings)
    used = sum(parts.total for parts in needed.devices) or needed.host.total
    free = sum(device.free_bytes or 0 for device in place.devices)
    free = free if place.devices else place.machine.host.available_bytes
    least = round_context(min(LEAST_CONTEXT, text.context_train), wishes.parallel)
    ways = {
        "--parallel 1": replace(settings, ctx_size=round_context(ctx, 1), parallel=1),
        f"--ctx {least}": replace(settings, ctx_size=least),
        "--kv-type q8_0": replace(settings, kv_type="q8_0"),
        "--n-max off" if wishes.n_max else "--draft off": replace(settings, n_max=0),
    }
    if not takes(text, "q8_0"):
        del ways["--kv-type q8_0"]
    if isinstance(wishes.ctx, int):
        if wishes.ctx > text.context_train:
            del ways["--parallel 1"]
        most = fit(ref, place, replace(wishes, ctx="max"), n_max)
        if most is not None and most.ctx_size > least:
            ways = {f"--ctx {most.ctx_size}": most} | ways
    fitting = [w for w, s in ways.items() if s != settings and place.shortfall(ref, s) <= 0]
    error = DoesNotFitError(
        f"{ref.name} does not fit in {place.name}: {format_bytes(missing)} are missing at context "
        f"{format_count(settings.ctx_size)}",
        expected=f"{format_bytes(used)} and a margin",
        observed=f"{format_bytes(free)} free",
        fix="it fits with " + ", or with ".join(fitting)
        if fitting
        else "use a smaller quant, or free memory",
    )
    error.short = f"{format_bytes(missing)} short"
    return error
