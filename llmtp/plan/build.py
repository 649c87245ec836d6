"""An option becomes a plan: memory by place, what keeps prompts, and the reasons."""

from __future__ import annotations

from llmtp.gguf.model import ModelFacts
from llmtp.hub.reference import Reference
from llmtp.plan.fit import USEFUL_CONTEXT
from llmtp.plan.kv import checkpoint_bytes
from llmtp.plan.memory import Parts
from llmtp.plan.option import Option, given_up_by, on_gpu_words
from llmtp.plan.place import HOST_MARGIN, Place
from llmtp.plan.result import Plan, Usage
from llmtp.plan.settings import Settings
from llmtp.plan.speed import StepCosts, step_costs, token_reads
from llmtp.plan.tuned import tuned_for
from llmtp.plan.wishes import Wishes
from llmtp.units import GiB, MiB, format_bytes, format_count

PROMPT_CACHE = 8 * GiB
#: A slot, which is the default of llama-server; it makes some two a prompt.
MOST_CHECKPOINTS = 32
#: The engine's threads spin at a barrier after each operation. A model this small is as fast on
#: one, and with two on a busy 2-core machine an answer took 60 s instead of 0.5 s (b10068).
_SMALL = 64 * MiB


def is_small(model: ModelFacts) -> bool:
    """Too small to gain by more than one thread, as the demo is."""
    return model.tensor_bytes.total < _SMALL


def build_plan(ref: Reference, option: Option, wishes: Wishes) -> Plan:
    """Everything that is passed to the engine, without findings."""
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
    given_up, choice = given_up_by(ref, wishes, option), option.choice
    tuned = choice.tuned
    return Plan(
        name=ref.name,
        main=ref.main,
        draft=draft,
        mmproj=ref.mmproj,
        ctx_size=settings.ctx_size,
        parallel=settings.parallel,
        kv_type=settings.kv_type,
        n_max=settings.n_max,
        p_min=tuned.p_min if tuned and draft else 0.0,
        draft_sampling=tuned.sampling_flag if tuned and draft else None,
        gpus=place.devices,
        gpu_layers=min(placement.gpu_layers, text.n_layers + 1) if place.devices else 0,
        cpu_experts=place.cpu_experts,
        split=placement.split,
        ubatch=settings.ubatch,
        threads=1 if is_small(ref.main) else None,
        prompt_cache_bytes=min(spare, PROMPT_CACHE),
        checkpoints=checkpoints,
        checkpoint_bytes=each,
        devices=tuple(Usage(d, parts.get(id(d), Parts())) for d in place.machine.devices),
        host=host,
        host_parts=needed.host,
        mapped_bytes=needed.mapped_bytes,
        mixed_batches=place.machine.mixed_batches,
        margin_bytes=max(map(place.device_margin, totals)) if totals else place.host_margin,
        reads=token_reads(ref.main, placement),
        given_up=given_up,
        step_costs=_step_costs(ref, place, settings, wishes),
        tuned=tuned,
        why=(
            _why_place(place, text.n_layers),
            f"context {format_count(settings.ctx_size)} in {settings.parallel} slot(s), "
            f"{_why_context(settings, text.context_train)}",
            choice.why if draft or not ref.draft or not choice.n_max
            else "MTP off: there is no room for the drafter",
        ),
    )  # fmt: skip


def _step_costs(
    ref: Reference, place: Place, settings: Settings, wishes: Wishes
) -> StepCosts | None:
    """As `tune` has measured them here, or by the cost model."""
    if ref.draft is None:
        return None
    tuned = tuned_for(wishes, ref, place)
    if tuned is not None:
        return StepCosts(tuned.step_costs, f"tune, {tuned.at}")
    name = place.devices[-1].name if place.devices else ""
    return step_costs(ref.main, ref.draft, place.placement(ref, settings), name)


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
    return f"{on_gpu_words(place, n_layers)}, the rest on {place.name}, {free}"


def _why_context(settings: Settings, trained: int) -> str:
    if settings.ctx_size >= trained * settings.parallel:
        return "all that the model was trained for"
    if settings.ctx_size == USEFUL_CONTEXT:
        return "the default; a larger one costs speed"
    return f"of {format_count(trained)} that it was trained for"
