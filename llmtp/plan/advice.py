"""What stands in the way of a better plan, and what would help."""

from __future__ import annotations

from dataclasses import replace

from llmtp.errors import DoesNotFitError, Finding
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Machine
from llmtp.plan.fit import LEAST_CONTEXT, context_range, first_settings, fit
from llmtp.plan.kv import round_context, takes
from llmtp.plan.nmax import choose_n_max
from llmtp.plan.option import Option, on_gpu_words
from llmtp.plan.place import Place, usable_devices
from llmtp.plan.wishes import Wishes
from llmtp.units import format_bytes, format_count

#: Of a card's total, free when nothing runs on it: the driver keeps some.
_EMPTY = 0.97


def emptied(machine: Machine) -> Machine:
    """As if nothing else were on its cards; those that share RAM, or are of workers, stay as they
    are."""
    devices = tuple(
        replace(device, free_bytes=max(device.free_bytes, round(device.total_bytes * _EMPTY)))
        if device.free_bytes is not None
        and device.total_bytes is not None
        and not device.shares_ram
        and device.worker is None
        else device
        for device in machine.devices
    )
    return replace(machine, devices=devices)


def card_in_use(ref: Reference, machine: Machine, better: Option) -> Finding:
    """Who holds what an empty card would have for a better plan."""
    free = {device.key: device.free_bytes or 0 for device in emptied(machine).devices}
    now = max(usable_devices(machine), key=lambda one: free[one.key] - (one.free_bytes or 0))
    taken = free[now.key] - (now.free_bytes or 0)
    users = ", ".join(f"{user.name} ({format_bytes(user.used_bytes)})" for user in now.users)
    settings = better.settings
    return Finding(
        "card-in-use",
        "warning",
        f"{format_bytes(taken)} of {now.name} are taken by {users or 'other programs'}: without "
        f"them it could have context {format_count(settings.ctx_size)}, "
        f"{f'n-max {settings.n_max}' if settings.drafts else 'MTP off'}, "
        f"KV type {settings.kv_type}, {on_gpu_words(better.place, ref.main.shape.n_layers)}",
        fix="end what else uses the card, and type it again",
    )


def short_of(place: Place) -> str:
    """Whose memory is short."""
    devices = place.devices or tuple(usable_devices(place.machine))
    return " + ".join(device.name for device in devices) or "RAM"


def does_not_fit(ref: Reference, place: Place, wishes: Wishes) -> DoesNotFitError:
    """By how much, and the options that would make it fit."""
    text = ref.main.shape
    n_max = choose_n_max(wishes, ref, place).n_max
    ctx, _, _ = context_range(wishes, text)
    settings = replace(first_settings(wishes, text, n_max), ctx_size=ctx)
    missing = place.shortfall(ref, settings)
    used = place.needed(ref, settings).used_bytes
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
