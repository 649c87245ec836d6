"""Choose placement, context and n-max for a pair on a machine, or say what it would take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from llmtp.errors import DoesNotFitError, Finding, UsageError
from llmtp.gguf.shape import TextModel
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Device, Machine
from llmtp.plan import memory
from llmtp.plan.kv import KV_TYPES, checkpoint_bytes, round_context, takes
from llmtp.plan.memory import Parts
from llmtp.plan.nmax import default_n_max
from llmtp.plan.overhead import overhead_kind
from llmtp.plan.result import Plan, Usage
from llmtp.plan.settings import Placement, Settings
from llmtp.units import GiB, MiB, format_bytes, format_count

USEFUL_CONTEXT = 32 * 1024
LEAST_CONTEXT = 8 * 1024
MAX_SLOTS = 64
DEVICE_MARGIN = 256 * MiB
HOST_MARGIN = 1 * GiB
PROMPT_CACHE = 8 * GiB
#: A slot, which is the default of llama-server; it makes some two a prompt.
MOST_CHECKPOINTS = 32
#: The engine's threads spin at a barrier after each operation. A model this small is as fast on
#: one, and with two on a busy 2-core machine an answer took 60 s instead of 0.5 s (b10068).
ONE_THREAD = 64 * MiB


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked of the plan; the defaults leave everything to it.

    `n_max` 0 is MTP off; `margin` is in bytes; `draft_is_wanted` says that MTP was asked for
    by name, so that it may not be dropped.
    """

    ctx: Literal["auto", "max"] | int = "auto"
    n_max: int | None = None
    kv_type: str = "f16"
    parallel: int = 1
    margin: int | None = None
    draft_is_wanted: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Somewhere that could hold all layers: a device, or RAM where it is None."""

    machine: Machine
    device: Device | None
    margin: int | None

    @property
    def name(self) -> str:
        if self.device is None:
            return "RAM"
        return f"{self.device.name} ({self.device.id})"

    def parts(self, ref: Reference, settings: Settings) -> tuple[Parts, Parts, int]:
        """On the device (nothing where there is none), in RAM, and how much of that is mapped."""
        mmproj = memory.mmproj_bytes(ref.mmproj)
        mixed = self.machine.mixed_batches
        if self.device is None:
            needed = memory.needed(ref.main, ref.draft, settings, Placement(mixed_batches=mixed))
            return Parts(), replace(needed.host, mmproj=mmproj), needed.mapped_bytes
        placement = Placement(self.device.backend or "unknown", mixed_batches=mixed)
        needed = memory.needed(ref.main, ref.draft, settings, placement)
        overhead = needed.device.overhead
        kind = overhead_kind(ref.main.shape, settings.kv_type, drafts=settings.drafts)
        if kind in self.device.learned:
            # What fell far short of it was measured while another program let memory go.
            overhead = max(self.device.learned[kind].overhead_bytes, overhead // 2)
        on_device = replace(needed.device, overhead=overhead, mmproj=mmproj)
        return on_device, needed.host, needed.mapped_bytes

    def shortfall(self, ref: Reference, settings: Settings) -> int:
        """Bytes that are missing with the margin kept; 0 or less fits."""
        on_device, in_ram, _ = self.parts(ref, settings)
        host_margin = HOST_MARGIN if self.margin is None or self.device else self.margin
        missing = in_ram.total + host_margin - self.machine.host.available_bytes
        if self.device is not None:
            margin = DEVICE_MARGIN if self.margin is None else self.margin
            missing = max(missing, on_device.total + margin - (self.device.free_bytes or 0))
        return missing


def make_plan(ref: Reference, machine: Machine, wishes: Wishes) -> Plan:
    """The fastest safe plan; raises DoesNotFitError with the shortfall and the ways out."""
    text = ref.main.shape
    _check_wishes(wishes, text, ref.draft is not None)
    n_max, n_max_why = _choose_n_max(wishes, ref, text)
    drafts = [n_max]
    if n_max > 0 and not (wishes.draft_is_wanted or wishes.strict):
        drafts.append(0)
    places = _places(machine, wishes)
    for place in places[:1] if wishes.strict else places:
        for drafted in drafts:
            settings = _fit_context(ref, place, wishes, text, drafted)
            if settings is not None:
                plan = _plan(ref, place, settings, n_max_why)
                return replace(
                    plan,
                    ctx_is_asked=wishes.ctx != "auto",
                    findings=_given_up(plan, place, places[0], n_max > 0),
                )
    raise _does_not_fit(ref, places[0], wishes, text, n_max)


def _check_wishes(wishes: Wishes, text: TextModel, has_draft: bool) -> None:
    if wishes.n_max and not has_draft:
        raise UsageError(
            f"--n-max {wishes.n_max} needs a drafter, but it is off",
            fix="leave out --draft off, or use --n-max off",
        )
    if not 1 <= wishes.parallel <= MAX_SLOTS:
        raise UsageError(
            f"--parallel {wishes.parallel} is not possible",
            expected=f"1 to {MAX_SLOTS} slots",
            fix="leave out --parallel for 1",
        )
    if not takes(text, wishes.kv_type):
        block, _ = KV_TYPES[wishes.kv_type]
        heads = (text.head_full, text.value_full, text.head_sliding, text.value_sliding)
        raise UsageError(
            f"--kv-type {wishes.kv_type} does not go with this model's heads of {min(heads)}",
            rule="kv-type",
            expected=f"head sizes that {block} divides",
            fix="leave out --kv-type for f16",
        )
    most = text.context_train * wishes.parallel
    if isinstance(wishes.ctx, int) and wishes.ctx > most:
        raise UsageError(
            f"--ctx {wishes.ctx} is more than the model was trained for",
            expected=f"at most {format_count(most)} with {wishes.parallel} slot(s)",
            fix="use --ctx max for the largest that fits",
        )


def _choose_n_max(wishes: Wishes, ref: Reference, text: TextModel) -> tuple[int, str]:
    if ref.draft is None:
        return 0, "MTP is off, as asked"
    if wishes.n_max is not None:
        return wishes.n_max, f"n-max {wishes.n_max or 'off'}, as asked"
    pinned = None if ref.profile is None else ref.profile.n_max
    if pinned or (pinned == 0 and not wishes.draft_is_wanted):
        return pinned, f"n-max {pinned or 'off'} from the profile {ref.name}"
    n_max = default_n_max(text)
    return n_max, f"n-max {n_max}: a start for this model size, not measured here"


def _places(machine: Machine, wishes: Wishes) -> list[_Place]:
    devices = sorted(
        (d for d in machine.devices if d.usable), key=lambda d: d.free_bytes or 0, reverse=True
    )
    return [_Place(machine, device, wishes.margin) for device in (*devices, None)]


def _fit_context(
    ref: Reference, place: _Place, wishes: Wishes, text: TextModel, n_max: int
) -> Settings | None:
    """The largest context that is wanted and fits, or None."""
    slots = wishes.parallel
    settings = Settings(0, slots, wishes.kv_type, n_max)
    low, high = _context_range(wishes, text)
    step = 256 * slots

    def shortfall(ctx_size: int) -> int:
        return place.shortfall(ref, replace(settings, ctx_size=ctx_size))

    too_much = shortfall(high)
    if too_much <= 0:
        return replace(settings, ctx_size=high)
    spare = -shortfall(low)
    if spare < 0:
        return None
    low, high = low // step, high // step
    while high - low > 1:
        # Memory grows almost evenly with the context, so that a few guesses are enough.
        guess = low + (high - low) * spare // max(spare + too_much, 1)
        middle = min(max(guess, low + 1), high - 1)
        missing = shortfall(middle * step)
        if missing > 0:
            high, too_much = middle, missing
        else:
            low, spare = middle, -missing
    return replace(settings, ctx_size=low * step)


def _context_range(wishes: Wishes, text: TextModel) -> tuple[int, int]:
    """The least and the largest context that is good enough, as the engine counts."""
    slots = wishes.parallel
    if isinstance(wishes.ctx, int):
        return (round_context(wishes.ctx, slots),) * 2
    most = text.context_train * slots
    high = min(most, USEFUL_CONTEXT) if wishes.ctx == "auto" else most
    high = max(high // (256 * slots), 1) * 256 * slots
    low = high if wishes.strict else min(high, round_context(LEAST_CONTEXT, slots))
    return low, high


def _plan(ref: Reference, place: _Place, settings: Settings, n_max_why: str) -> Plan:
    on_device, in_ram, mapped_bytes = place.parts(ref, settings)
    host = place.machine.host
    spare = max(host.available_bytes - in_ram.total - HOST_MARGIN, 0)
    each = checkpoint_bytes(ref.main.shape, settings)
    # They and the prompt cache share what is left: without either, prompts are read again.
    checkpoints = MOST_CHECKPOINTS
    if each:
        checkpoints = min(spare // 2 // (each * settings.parallel), MOST_CHECKPOINTS)
    spare -= checkpoints * each * settings.parallel
    draft = ref.draft if settings.drafts else None
    text = ref.main.shape
    return Plan(
        name=ref.name,
        main=ref.main,
        draft=draft,
        mmproj=ref.mmproj,
        ctx_size=settings.ctx_size,
        parallel=settings.parallel,
        kv_type=settings.kv_type,
        n_max=settings.n_max,
        device=place.device,
        gpu_layers=text.n_layers + 1 if place.device else 0,
        ubatch=settings.ubatch,
        threads=1 if ref.main.tensor_bytes.total < ONE_THREAD else None,
        prompt_cache_bytes=min(spare, PROMPT_CACHE),
        checkpoints=checkpoints,
        checkpoint_bytes=each,
        devices=tuple(
            Usage(d, on_device if d is place.device else Parts()) for d in place.machine.devices
        ),
        host=host,
        host_parts=in_ram,
        mapped_bytes=mapped_bytes,
        mixed_batches=place.machine.mixed_batches,
        why=(
            _why_place(place),
            f"context {format_count(settings.ctx_size)} in {settings.parallel} slot(s), "
            f"{_why_context(settings.ctx_size, text)}",
            n_max_why if draft or not ref.draft else "MTP off: the drafter does not fit",
        ),
    )


def _why_place(place: _Place) -> str:
    device = place.device
    if device is None:
        devices = place.machine.devices
        if any(d.usable for d in devices):
            return "all layers on the CPU: no GPU has room for them"
        among = f" among {', '.join(d.name for d in devices)}" if devices else ""
        return f"all layers on the CPU: no usable GPU{among}"
    return f"all layers on {place.name}, {format_bytes(device.free_bytes)} free by {device.source}"


def _why_context(ctx_size: int, text: TextModel) -> str:
    if ctx_size >= text.context_train:
        return "all that the model was trained for"
    if ctx_size == USEFUL_CONTEXT:
        return "the default; a larger one costs speed"
    return f"of {format_count(text.context_train)} that it was trained for"


def _given_up(plan: Plan, place: _Place, first: _Place, wanted_mtp: bool) -> tuple[Finding, ...]:
    findings = []
    if place is not first:
        findings.append(
            Finding(
                "step-down-place",
                "warning",
                f"does not fit on {first.name}: it runs in {place.name}, which is slower",
                fix="free memory there, or use a smaller quant",
            )
        )
    if wanted_mtp and plan.n_max == 0:
        findings.append(
            Finding(
                "step-down-mtp",
                "warning",
                f"MTP is off: with the drafter it does not fit in {place.name}",
                fix="free memory, use a smaller quant, or insist with --strict",
            )
        )
    return tuple(findings)


def _does_not_fit(
    ref: Reference, place: _Place, wishes: Wishes, text: TextModel, n_max: int
) -> DoesNotFitError:
    ctx, _ = _context_range(wishes, text)
    settings = Settings(ctx, wishes.parallel, wishes.kv_type, n_max)
    missing = place.shortfall(ref, settings)
    on_device, in_ram, _ = place.parts(ref, settings)
    needed = (on_device if place.device else in_ram).total
    free = (place.device.free_bytes if place.device else place.machine.host.available_bytes) or 0
    least = round_context(min(LEAST_CONTEXT, text.context_train), wishes.parallel)
    ways = {
        "--parallel 1": replace(settings, ctx_size=round_context(ctx, 1), parallel=1),
        f"--ctx {least}": replace(settings, ctx_size=least),
        "--kv-type q8_0": replace(settings, kv_type="q8_0"),
        "--n-max off" if wishes.n_max else "--draft off": replace(settings, n_max=0),
    }
    if not takes(text, "q8_0"):
        del ways["--kv-type q8_0"]
    if isinstance(wishes.ctx, int) and wishes.ctx > text.context_train:
        del ways["--parallel 1"]
    fitting = [w for w, s in ways.items() if s != settings and place.shortfall(ref, s) <= 0]
    return DoesNotFitError(
        f"{ref.name} does not fit in {place.name}: {format_bytes(missing)} are missing at context "
        f"{format_count(settings.ctx_size)}",
        expected=f"{format_bytes(needed)} and a margin",
        observed=f"{format_bytes(free)} free",
        fix="it fits with " + ", or with ".join(fitting)
        if fitting
        else "use a smaller quant, or free memory",
    )
