"""The plan for vLLM: a share of each card's memory, and a cache for as many requests as it holds.

vLLM measures weights and activations itself and gives what its share leaves to the KV cache
(vllm/v1/core/kv_cache_utils.py). A plan has to know before whether one request of the wanted
length fits, and how many do. Parts that are estimates are said to be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from llmtp.errors import DoesNotFitError, Finding, UsageError
from llmtp.gguf.model import ModelFacts
from llmtp.gguf.shape import TextModel
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Device, Machine
from llmtp.plan.fit import LEAST_CONTEXT, USEFUL_CONTEXT
from llmtp.plan.ladder import GivenUp, Step
from llmtp.plan.memory import Parts
from llmtp.plan.nmax import NO_DRAFTER, Choice, as_tuned, said_n_max
from llmtp.plan.place import HOST_MARGIN
from llmtp.plan.result import Plan, Shards, Usage
from llmtp.plan.search import largest
from llmtp.plan.settings import ALL_LAYERS, CPU_BACKEND, Placement
from llmtp.plan.speed import StepCosts, step_costs, token_reads
from llmtp.plan.tuned import setting_at
from llmtp.plan.wishes import Wishes
from llmtp.roles import owner
from llmtp.units import GiB, MiB, format_bytes, format_count

#: `--gpu-memory-utilization` of vLLM's recipes for Gemma 4; less where others use the card.
SHARE, _LESS = 0.90, 0.05
#: `num_speculative_tokens` of its recipes by the hidden size of the main model: E2B, E4B, 12B,
#: 26B-A4B and 31B, benchmarked there on A100 and H100; 1 as in its documentation for all others.
_DRAFTED = {1536: 2, 2560: 4, 3840: 4, 2816: 4, 5376: 4}
#: Tokens that one step computes at most, by default: sliding layers keep them beside their window.
_BATCHED = 2048
#: Blocks of a cache, whose groups are made equally large.
_PADDING = 1.15
#: CUDA's context, NCCL and captured graphs: an estimate.
_OVERHEAD = 2 * GiB
#: Three Python processes with PyTorch: 1.4 GB measured with 0.32.0 on a CPU.
_HOST_OVERHEAD = 1536 * MiB
#: Requests that a cache in RAM is made for where nobody says.
_CPU_REQUESTS = 8
MOST_REQUESTS = 1024
_MOST_AT_ONCE = 256
#: What ran out, where neither the card nor RAM did.
CACHE = "the cache"
_FINEST = 1024
#: It reads temperatures from memory that nothing was written to (0.32.0, cpu_triton_utils.py).
_NOISE = "on a CPU, vLLM with a drafter answers noise at any temperature but 0"
_VALUE_BYTES = {"f16": 2, "bf16": 2, "q8_0": 1}
#: What the recipes were made on, where nobody has a card: of these as few as half fill them.
_RECIPE = "recipe"
RECIPE_CARDS = tuple(
    Device(f"CUDA{i}", "a card of 80 GB", "cuda", 80 * GiB, 80 * GiB, _RECIPE, number=None)
    for i in range(8)
)
_ON_CARDS = (Step.SLOTS, Step.CONTEXT, Step.QUANT, Step.SHORT_CONTEXT)


@dataclass(frozen=True, slots=True)
class _Room:
    """What one card, or RAM, has for vLLM, and what goes off that before the cache."""

    share_bytes: int
    fixed: Parts

    @property
    def cache_bytes(self) -> int:
        return self.share_bytes - self.fixed.total


def make_vllm_plan(
    ref: Reference,
    machine: Machine,
    wishes: Wishes,
    *,
    partly: bool = True,  # noqa: ARG001 - vLLM leaves nothing to the CPU
) -> Plan:
    """Tensor parallel over the cards that there are, with the context that fits.

    Raises DoesNotFitError with the shortfall, UsageError for what vLLM cannot do.
    """
    _check(ref, wishes)
    text = ref.main.shape
    nodes = wishes.nodes.count if wishes.nodes else 1
    cards = _cards(machine, ref.main, nodes)
    world = max(len(cards), 1) * nodes
    choice = _choice(ref, machine, cards, world, wishes)
    n_max, drafts = choice.n_max, choice.n_max > 0
    share = _share(cards, wishes.margin)
    room = _room(ref, machine, cards, world, share, wishes, drafts=drafts)
    value_bytes = _VALUE_BYTES[wishes.kv_type or "f16"]

    def cache(length: int) -> int:
        return request_bytes(text, length, value_bytes, world)

    wanted, length = _length(text, room.cache_bytes, cache, wishes)
    if length is None:
        raise _does_not_fit(ref, cards, room, cache(wanted), wanted, wishes)
    most = room.cache_bytes // max(cache(length), 1)
    slots = wishes.parallel if wishes.parallel_is_asked else None
    parallel = slots or max(min(most, _MOST_AT_ONCE if cards else _CPU_REQUESTS), 1)
    kv = room.cache_bytes if cards else min(cache(length) * parallel, room.cache_bytes)
    kv = kv // MiB * MiB
    parts = replace(room.fixed, kv=kv)
    used = {id(card) for card in cards}
    placement = Placement(cards[0].backend or "cuda" if cards else CPU_BACKEND, ALL_LAYERS)
    given_up = _given_up(wanted, length, wishes)
    where = " + ".join(card.name for card in cards) or "RAM"
    return Plan(
        name=ref.name,
        main=ref.main,
        draft=ref.draft if drafts else None,
        mmproj=None,
        ctx_size=length * parallel,
        parallel=parallel,
        kv_type=wishes.kv_type or "f16",
        n_max=n_max,
        p_min=0.0,
        draft_sampling=None,
        gpus=cards,
        gpu_layers=text.n_layers + 1 if cards else 0,
        cpu_experts=0,
        split=(),
        ubatch=0,
        threads=None,
        prompt_cache_bytes=0,
        checkpoints=0,
        checkpoint_bytes=0,
        devices=tuple(
            Usage(one, parts if id(one) in used else Parts())
            for one in machine.devices
            if one.source != _RECIPE or id(one) in used
        ),
        host=machine.host,
        host_parts=Parts(overhead=_HOST_OVERHEAD) if cards else parts,
        mapped_bytes=0,
        margin_bytes=_left(cards, share) if cards else _host_margin(wishes),
        reads=token_reads(ref.main, placement),
        given_up=given_up,
        why=(
            _why_place(cards, nodes, share),
            f"context {format_count(length)} a request, {format_count(most)} such requests fit in "
            f"the cache at once",
            choice.why,
        ),
        findings=(*(one.finding(where) for one in given_up), *_of_cpu(cards, drafts=drafts)),
        step_costs=_step_costs(ref, placement, cards, choice),
        tuned=choice.tuned,
        ladder=_ON_CARDS,
        shards=Shards(world, share if cards else None, kv, slots, wishes.nodes, ref.sees_images),
    )


def smaller_vllm_plan(
    ref: Reference, machine: Machine, wishes: Wishes, failed: Plan, out_of: str
) -> Plan:
    """The next one after a plan that ran out of memory: requests half as long, and where it was not
    the cache that was too small, less of each card.

    Raises DoesNotFitError where the length was asked for, or is as short as is useful.
    """
    before = failed.ctx_size // failed.parallel
    length = before // 2
    if isinstance(wishes.ctx, int) or length < LEAST_CONTEXT:
        raise DoesNotFitError(
            f"{ref.name} with {format_count(before)} tokens a request ran out of memory",
            fix="use a smaller --ctx, --kv-type q8_0 or a smaller quant",
        )
    if out_of != CACHE:
        devices = tuple(map(_with_less, machine.devices))
        machine = replace(machine, devices=devices)
    plan = make_vllm_plan(ref, machine, replace(wishes, ctx=length))
    given_up = (GivenUp(Step.SHORT_CONTEXT, before, length),)
    return replace(plan, given_up=given_up)


def _with_less(card: Device) -> Device:
    total, free = card.total_bytes or 0, card.free_bytes or 0
    return replace(card, free_bytes=min(free, round(total * SHARE)) - round(total * _LESS))


def request_bytes(text: TextModel, length: int, value_bytes: int, world: int) -> int:
    """The cache of one request of so many tokens on one card of `world`; on many cards each has
    at least one head."""
    total = 0
    for layer in range(text.n_layers - text.shared_kv_layers):
        tokens = min(length, text.window + _BATCHED) if text.sliding[layer] else length
        heads = max(text.kv_heads[layer] // world, 1)
        total += tokens * heads * (text.head(layer) + text.value_head(layer)) * value_bytes
    return round(total * _PADDING)


def recommended_n_max(text: TextModel) -> int:
    """What vLLM's recipe for a model of this size drafts."""
    return _DRAFTED.get(text.width, 1)


def _check(ref: Reference, wishes: Wishes) -> None:
    if wishes.kv_type is not None and wishes.kv_type not in _VALUE_BYTES:
        raise UsageError(
            f"vLLM has no KV cache of type {wishes.kv_type}",
            rule="kv-type",
            expected="f16, bf16, or q8_0 for its fp8",
            fix="leave out --kv-type",
        )
    if not 1 <= wishes.parallel <= MOST_REQUESTS:
        raise UsageError(
            f"--parallel {wishes.parallel} is not possible",
            expected=f"1 to {MOST_REQUESTS} requests at a time",
            fix="leave out --parallel for as many as fit",
        )
    machines = wishes.nodes.count if wishes.nodes else 1
    if any(heads % machines for heads in ref.main.shape.n_heads):
        raise UsageError(
            f"--nodes {machines} cannot share the {ref.main.shape.n_heads[0]} heads of {ref.name}",
            rule="nodes",
            expected="a number that divides them, such as 2 or 4",
            fix="use fewer machines",
        )
    if wishes.n_max and ref.draft is None:
        raise UsageError(
            f"--n-max {wishes.n_max} needs a drafter, but it is off",
            fix="leave out --draft off, or use --n-max off",
        )
    trained = ref.main.shape.context_train
    if isinstance(wishes.ctx, int) and wishes.ctx > trained:
        raise UsageError(
            f"--ctx {wishes.ctx} is more than the model was trained for",
            expected=f"at most {format_count(trained)} a request",
            fix="use --ctx max for the largest that fits",
        )


def _cards(machine: Machine, main: ModelFacts, nodes: int) -> tuple[Device, ...]:
    """Of the equal ones that have most memory together, as many as can share the heads: 1, 2, 4,
    ..."""
    usable = [one for one in machine.devices if one.usable and one.total_bytes]
    groups = [[one for one in usable if one.total_bytes == each.total_bytes] for each in usable]
    alike = max(groups, key=lambda some: len(some) * (some[0].total_bytes or 0), default=[])
    count = 1
    while 2 * count <= len(alike) and not any(
        heads % (2 * count * nodes) for heads in main.shape.n_heads
    ):
        enough = 2 * main.file_bytes <= count * nodes * (alike[0].total_bytes or 0)
        if enough and alike[0].source == _RECIPE:
            break
        count *= 2
    return tuple(alike[:count])


def _share(cards: tuple[Device, ...], margin: int | None) -> float:
    """That of the recipes, or what is free of the fullest card."""
    share = SHARE
    for card in cards:
        free, total = card.free_bytes or 0, card.total_bytes or 1
        share = min(share, (free - (256 * MiB if margin is None else margin)) / total)
    return max(int(share * 100) / 100, 0.0)


def _room(
    ref: Reference,
    machine: Machine,
    cards: tuple[Device, ...],
    world: int,
    share: float,
    wishes: Wishes,
    *,
    drafts: bool,
) -> _Room:
    text = ref.main.shape
    wide = max(text.feed_forward) * 2 + text.width * 6 + text.expert_feed_forward * 2
    fixed = Parts(
        weights=ref.main.file_bytes // world,
        compute=_BATCHED * wide * 2 // world + 512 * MiB,
        draft=ref.draft.file_bytes if drafts and ref.draft else 0,
        overhead=_OVERHEAD,
    )
    if cards:
        return _Room(round(min(one.total_bytes or 0 for one in cards) * share), fixed)
    fixed = replace(fixed, overhead=_HOST_OVERHEAD)
    return _Room(machine.host.available_bytes - _host_margin(wishes), fixed)


def _host_margin(wishes: Wishes) -> int:
    return HOST_MARGIN if wishes.margin is None else wishes.margin


def _length(
    text: TextModel, cache_bytes: int, cache: Callable[[int], int], wishes: Wishes
) -> tuple[int, int | None]:
    """What was wanted of a request, and what fits; None where nothing useful does."""
    trained = text.context_train
    if isinstance(wishes.ctx, int):
        return wishes.ctx, wishes.ctx if cache(wishes.ctx) <= cache_bytes else None
    useful = min(USEFUL_CONTEXT, trained)
    least = min(useful if wishes.strict else LEAST_CONTEXT, trained)
    most = trained if wishes.ctx == "max" else useful
    steps = max(most // _FINEST, 1)

    def missing(step: int) -> int:
        return cache(min(step * _FINEST, most)) - cache_bytes

    if cache(most) <= cache_bytes:
        return useful, most
    found = largest(1, steps, missing)
    length = (found or 0) * _FINEST
    return useful, length if length >= least else None


def _given_up(wanted: int, length: int, wishes: Wishes) -> tuple[GivenUp, ...]:
    if isinstance(wishes.ctx, int) or length >= wanted:
        return ()
    return (GivenUp(Step.SHORT_CONTEXT, wanted, length),)


def _choice(
    ref: Reference, machine: Machine, cards: tuple[Device, ...], world: int, wishes: Wishes
) -> Choice:
    """As asked, as the profile pins it, as tuned here, or as the recipe has it."""
    said = said_n_max(wishes, ref)
    if said is not None or ref.draft is None:
        return said or NO_DRAFTER
    if machine.tuned and wishes.nodes is None:  # each machine would have its own
        setting = setting_at(
            wishes, ref.main, ref.draft, cards, machine.host, is_whole=bool(cards),
            shards=Shards(world, None, 0),
        )  # fmt: skip
        tuned = next((one for one in reversed(machine.tuned) if one.setting == setting), None)
        if tuned is not None:
            return as_tuned(tuned, insists=wishes.draft_is_wanted)
    n_max = recommended_n_max(ref.main.shape)
    if not cards and not wishes.draft_is_wanted:
        return Choice(0, f"MTP off: {_NOISE}; insist with --n-max {n_max}")
    whose = owner(ref.main.shape.width)
    of = f"as vLLM's recipe for {whose} has it" if whose else "as vLLM's documentation has it"
    return Choice(n_max, f"n-max {n_max}, {of}; llmtp tune finds the best one here")


def _step_costs(
    ref: Reference, placement: Placement, cards: tuple[Device, ...], choice: Choice
) -> StepCosts | None:
    if ref.draft is None:
        return None
    if choice.tuned is not None:
        return StepCosts(choice.tuned.step_costs, f"tune, {choice.tuned.at}")
    return step_costs(ref.main, ref.draft, placement, cards[0].name if cards else "")


def _of_cpu(cards: tuple[Device, ...], *, drafts: bool) -> list[Finding]:
    if cards or not drafts:
        return []
    fix = "ask with temperature 0, or run without MTP: --draft off"
    return [Finding("noise-on-cpu", "warning", _NOISE, fix=fix)]


def _left(cards: tuple[Device, ...], share: float) -> int:
    """What stays free of the fullest card."""
    return min((one.free_bytes or 0) - round((one.total_bytes or 0) * share) for one in cards)


def _why_place(cards: tuple[Device, ...], nodes: int, share: float) -> str:
    machines = f", on each of {nodes} machines" if nodes > 1 else ""
    if not cards:
        return f"in RAM: this vLLM computes on the CPU{machines}"
    several = f"tensor parallel over {len(cards)} cards" if len(cards) > 1 else "on one card"
    return (
        f"{several}{machines}: {cards[0].name}; vLLM takes {share:.2f} of its memory, and the "
        "cache is what weights leave of that"
    )


def _does_not_fit(
    ref: Reference,
    cards: tuple[Device, ...],
    room: _Room,
    needed: int,
    length: int,
    wishes: Wishes,
) -> DoesNotFitError:
    missing = needed - room.cache_bytes
    place = f"{len(cards)} x {cards[0].name}" if cards else "RAM"
    ways = []
    if wishes.kv_type is None:
        ways.append("--kv-type q8_0")
    ways += [f"--ctx {LEAST_CONTEXT}"] if length > LEAST_CONTEXT else []
    ids = ref.profile.vllm if ref.profile else None
    if ids is not None and ids.quantised is not None:
        ways.insert(0, "--quant w4a16")
    several = "more cards" if cards else "a vLLM for GPUs"
    error = DoesNotFitError(
        f"{ref.name} does not fit in {place} with vLLM: {format_bytes(missing)} are missing at "
        f"context {format_count(length)}",
        expected=f"{format_bytes(room.fixed.total + needed)} of each",
        observed=f"{format_bytes(max(room.share_bytes, 0))} of each that vLLM may take",
        fix=f"try {' or '.join(ways)}, or use {several}; llama.cpp needs less: leave out --engine"
        if ways
        else f"use {several}; llama.cpp needs less: leave out --engine",
    )
    error.short = f"{format_bytes(missing)} short"
    return error
