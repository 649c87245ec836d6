"""Sizing on paper: what so many users take, which engine, how many cards, and where MTP ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmtp.chain import Prepared
from llmtp.engine.command import quote
from llmtp.errors import DoesNotFitError, Finding, UsageError
from llmtp.gguf.model import ModelFacts
from llmtp.hub.reference import Asked, Reference
from llmtp.machine.devices import Device
from llmtp.machine.peaks import Peak, peak_of
from llmtp.plan.at_once import AtOnce, at_once
from llmtp.plan.batch import Batch, llama_batch, vllm_batch
from llmtp.plan.fit import KV_TYPE
from llmtp.plan.formulas import assumptions, memory_formulas, speed_formulas
from llmtp.plan.kv import is_quantised, round_context, takes
from llmtp.plan.result import Plan
from llmtp.plan.settings import CPU_BACKEND, Settings
from llmtp.plan.sizing import (
    CARDS_PER_NODE,
    DEFAULT_CTX,
    Demand,
    KvTerm,
    as_safetensors,
    drafter_share,
    llama_terms,
    total,
    vllm_terms,
)
from llmtp.plan.speed import PROSE, TYPICAL
from llmtp.plan.ways import LLAMA, Way, llama_planned, llama_refused, vllm_on, without
from llmtp.plan.wishes import MAX_SLOTS, Wishes
from llmtp.roles import GEMMA4_WIDTHS
from llmtp.units import format_bytes, format_count

#: Caches fill as answers grow: a step reads half of what is kept free for them.
_FILLED = 2
_SHOWN_AT_ONCE = 256
#: Findings of files that vLLM does not load.
_OF_QUANTS = {"main-quant", "draft-quant", "qat-mix", "quant-passed-over"}


@dataclass(frozen=True, slots=True)
class Sizing:
    """The answer: `way` is the chosen one of `ways`, `speeds` None without a drafter. `command` is
    what to type next, `engine_args` what vLLM is told of it."""

    demand: Demand
    way: Way
    ways: tuple[Way, ...]
    why: tuple[str, ...]
    card: Device | None
    cards_named: int
    flops_per_byte: float | None
    speeds: AtOnce | None
    formulas: tuple[str, ...]
    assumptions: tuple[str, ...]
    command: str
    engine_args: tuple[str, ...]

    def findings(self, prepared: Prepared) -> Iterator[Finding]:
        """What was noticed of the plan, as far as it matters to the way, and what keeps this from
        being a whole answer."""
        of_its_files = {*prepared.plan.findings, *prepared.command.findings}
        for one in prepared.findings:
            is_of_gguf = one in of_its_files or one.rule in _OF_QUANTS
            if self.way.engine == LLAMA or not is_of_gguf:
                yield one
        if self.way.fits is None:
            text = "there is no GPU here to count, so the number of cards is not known"
            fix = "name the cards that you would buy: --vram 80GiB, or --vram H100"
            yield Finding("no-card", "warning", text, fix=fix)

    def to_dict(self) -> dict[str, Any]:
        """`data.sizing` of `plan --json`."""
        speeds = self.speeds
        return {
            "users": self.demand.users,
            "ctx_per_user": self.demand.ctx_size,
            **self.way.to_dict(),
            "card": self.card.name if self.card else None,
            "card_bytes": self.card.total_bytes if self.card else None,
            "cards_named": self.cards_named,
            "cards_per_node": CARDS_PER_NODE,
            "engines": [one.to_dict() for one in self.ways],
            "why": list(self.why),
            "flops_per_byte": self.flops_per_byte,
            "n_max": speeds.n_max if speeds else 0,
            "n_max_alone": speeds.alone if speeds else 0,
            "acceptance": TYPICAL,
            "acceptance_prose": PROSE,
            "batches": [row.to_dict() for row in speeds.rows] if speeds else [],
            "break_even": [one.to_dict() for one in speeds.break_even] if speeds else [],
            "formulas": list(self.formulas),
            "assumptions": list(self.assumptions),
            "command": self.command,
            "engine_args": list(self.engine_args),
        }


#: Makes a plan for wishes, on imagined cards where there are any.
Prepare = Callable[[Wishes, Sequence[Device] | None], Prepared]


def size_up(
    demand: Demand,
    asked: Asked,
    wishes: Wishes,
    cards: Sequence[Device] | None,
    prepare: Prepare,
) -> tuple[Prepared, Sizing]:
    """The plan with a slot for each, or for one user where llama-server will not do, and the
    sizing.

    Raises UsageError for more context than the model was trained for, and DoesNotFitError where
    no number of the cards will do.
    """
    one = _for_one(wishes, cards, prepare)
    trained = one.reference.main.shape.context_train
    if demand.is_default:
        demand = replace(demand, ctx_size=min(demand.ctx_size, trained))
    if demand.ctx_size > trained:
        raise UsageError(
            f"--ctx-per-user {demand.ctx_size} is more than the model was trained for",
            expected=f"at most {format_count(trained)} tokens",
            fix=f"type for example: --ctx-per-user {min(trained, DEFAULT_CTX)}",
        )
    seen = cards if cards is not None else [usage.device for usage in one.plan.devices]
    devices = [device for device in seen if device.usable]
    every, refusal = _for_all(demand, wishes, one, devices, cards, prepare)
    if every is not None:
        return every, _sizing(
            demand, asked, wishes, every, llama_planned(every.plan, demand), devices
        )
    backend = (devices[0].backend or CPU_BACKEND) if devices else CPU_BACKEND
    main, draft = one.reference.main, _drafter(one.reference, wishes)
    refused = llama_refused(main, draft, demand, wishes.kv_type or KV_TYPE, backend, refusal)
    return one, _sizing(demand, asked, wishes, one, refused, devices)


def _for_one(wishes: Wishes, cards: Sequence[Device] | None, prepare: Prepare) -> Prepared:
    """For a user; where the named cards do not do, on eight like the first of them."""
    try:
        return prepare(wishes, cards)
    except DoesNotFitError as error:
        if not cards:
            fix = "name the cards that it should run on: --vram 80GiB"
            raise DoesNotFitError(str(error), fix=fix) from error
        letters = (cards[0].id or "").rstrip("0123456789")
        more = [replace(cards[0], id=f"{letters}{i}") for i in range(CARDS_PER_NODE)]
        return prepare(wishes, more)


def _for_all(
    demand: Demand,
    wishes: Wishes,
    one: Prepared,
    devices: Sequence[Device],
    cards: Sequence[Device] | None,
    prepare: Prepare,
) -> tuple[Prepared | None, str]:
    """A plan with a slot for each user and nothing in RAM that a GPU should have; or why not."""
    if demand.users > MAX_SLOTS:
        return None, f"{MAX_SLOTS} slots at most"
    text, users = one.reference.main.shape, demand.users
    smallest = wishes.kv_type or ("q8_0" if takes(text, "q8_0") else KV_TYPE)
    ctx_size = round_context(users * demand.ctx_size, users)
    caches = users * total(llama_terms(text, Settings(ctx_size, users, smallest)))
    files = [other.file_bytes for other in one.alternatives] or [one.reference.main.file_bytes]
    free = sum(device.free_bytes or 0 for device in devices) or one.plan.host.available_bytes
    if caches + min(files) > free:  # to plan it would take seconds
        return None, (
            f"the caches of all take {format_bytes(caches)} in {smallest}, the smallest file "
            f"{format_bytes(min(files))}, and {format_bytes(free)} are free"
        )
    try:
        every = prepare(replace(wishes, ctx=ctx_size, parallel=users), cards)
    except DoesNotFitError as error:
        return None, str(error)
    if devices and (not every.plan.gpus or every.plan.on_cpu):
        return None, "a part of it would be left to the CPU, even in the smallest quant"
    return every, ""


def _drafter(ref: Reference, wishes: Wishes) -> ModelFacts | None:
    return None if wishes.n_max == 0 else ref.draft


def _sizing(
    demand: Demand,
    asked: Asked,
    wishes: Wishes,
    chosen: Prepared,
    llama: Way,
    devices: Sequence[Device],
) -> Sizing:
    ref, drafter = chosen.reference, _drafter(chosen.reference, wishes)
    bf16 = replace(
        ref, main=as_safetensors(ref.main), draft=as_safetensors(drafter) if drafter else None
    )
    card, release = _measure(devices), _release(ref)
    vllm, fleet = vllm_on(bf16.main, bf16.draft, demand, wishes.kv_type, card)
    if release is None:
        vllm = without(vllm, "it serves the safetensors of a release, and this is of none")
    way = llama if llama.fits else vllm
    if way.fits is False:
        raise DoesNotFitError(
            f"llama-server: {llama.reason}; vLLM: {vllm.reason}",
            expected=f"room for {demand.users} users with {format_count(demand.ctx_size)} tokens",
            fix="name larger cards: --vram 80GiB, or ask for less with --ctx-per-user",
        )
    peak = peak_of(card.name if card else "")
    if way is llama:
        batch = _llama_batch(demand, chosen.plan, drafter)
        kept, planned, shown, parallel = _slot(demand, chosen.plan), chosen.plan.n_max, MAX_SLOTS, 1
    else:
        parallel = fleet.replica.tensor_parallel if fleet else 1
        batch = _vllm_batch(demand, bf16, wishes, parallel, peak)
        kept = vllm_terms(ref.main.shape, demand.ctx_size, wishes.kv_type)
        planned, shown = 0, _SHOWN_AT_ONCE
    speeds = at_once(batch, way.slots, wishes.n_max, planned, shown) if batch else None
    formulas = [*memory_formulas(demand, way, fleet, kept, bf16.main)]
    if batch is not None and speeds is not None:
        formulas += speed_formulas(batch, speeds, shared=parallel > 1)
    command, engine_args = _next(demand, asked, wishes, release, way, speeds)
    return Sizing(
        demand=demand,
        way=way,
        ways=(llama, vllm),
        why=tuple(_why(llama, vllm, way, chosen.plan, devices, speeds)),
        card=card,
        cards_named=len(devices),
        flops_per_byte=None if way is llama else peak.flops_per_byte,
        speeds=speeds,
        formulas=tuple(formulas),
        assumptions=tuple(assumptions(way, peak, drafts=batch is not None)),
        command=command,
        engine_args=engine_args,
    )


def _measure(devices: Sequence[Device]) -> Device | None:
    """The card that others are counted by: a replica is as good as its smallest, and of equal ones
    another may be in use."""
    sizes = {id(one): (one.total_bytes or 0, -(one.free_bytes or 0)) for one in devices}
    return min(devices, key=lambda one: sizes[id(one)], default=None)


def _slot(demand: Demand, plan: Plan, filled: int = 1) -> list[KvTerm]:
    """The cache of one slot as planned, or so much less of it."""
    ctx_size = round_context(-(-demand.ctx_size // filled), 1) * demand.users
    settings = Settings(ctx_size, demand.users, plan.kv_type, ubatch=plan.ubatch)
    return llama_terms(plan.main.shape, settings)


def _llama_batch(demand: Demand, plan: Plan, draft: ModelFacts | None) -> Batch | None:
    if draft is None or plan.step_costs is None or not plan.mtp:
        return None
    read = _slot(demand, plan, _FILLED)
    kv, draft_kv = total(read), drafter_share(read)
    return llama_batch(plan.reads.total, draft, plan.step_costs, kv, draft_kv)


def _vllm_batch(
    demand: Demand, bf16: Reference, wishes: Wishes, parallel: int, peak: Peak
) -> Batch | None:
    """On each of the cards that share a replica."""
    if bf16.draft is None:
        return None
    filled = -(-demand.ctx_size // _FILLED)
    read = vllm_terms(bf16.main.shape, filled, wishes.kv_type, parallel)
    kv, draft_kv = total(read), drafter_share(read)
    return vllm_batch(bf16.main, bf16.draft, parallel, peak.flops_per_byte, kv, draft_kv)


def _why(
    llama: Way,
    vllm: Way,
    way: Way,
    plan: Plan,
    devices: Sequence[Device],
    speeds: AtOnce | None,
) -> Iterator[str]:
    """The engine, and what comes of it, in words."""
    if way is llama:
        yield f"llama-server: {llama.reason}"
        if speeds is not None and not speeds.n_max and vllm.cards:
            yield (
                "where all ask at once MTP is no gain in it; vLLM, which computes batches at "
                f"less cost, would take {format_count(vllm.cards)} of these cards"
            )
        if not plan.mtp:
            yield plan.why[-1]
        if plan.given_up:
            gone = ", ".join(one.words() for one in plan.given_up)
            yield f"given up for it: {gone}; more or larger cards would keep that"
        if len(plan.gpus) > 1:
            yield "its cards take turns, layer by layer; with vLLM they would compute together"
        return
    yield f"vLLM, because llama-server will not do: {llama.reason}"
    if plan.main.is_local:
        yield "vLLM serves the safetensors of the release of this shape, not this file"
    if vllm.cards is None:
        return
    more, is_real = vllm.cards - len(devices), devices[0].source != "--vram"
    there = "are here" if is_real else "were named"
    is_short = more > 0 and (is_real or len(devices) > 1)
    yield f"{vllm.reason}{f'; {format_count(more)} more than {there}' if is_short else ''}"
    if vllm.replicas > 1:
        yield (
            f"a replica is a server of its own for {vllm.slots} users: something has to share the "
            "requests out among them"
        )
    if vllm.nodes is not None and vllm.replicas < vllm.nodes:
        yield "no machine of eight cards holds a replica: it goes over several (--nnodes)"


def _next(
    demand: Demand,
    asked: Asked,
    wishes: Wishes,
    release: str | None,
    way: Way,
    speeds: AtOnce | None,
) -> tuple[str, tuple[str, ...]]:
    """What to type, and what vLLM is to be told."""
    words, users = ["llmtp", "run"], demand.users
    engine_args: list[str] = []
    if way.engine == LLAMA:
        ctx_size = round_context(users * demand.ctx_size, users)
        words += [asked.model, "--parallel", str(users), "--ctx", _short(ctx_size)]
        words += ["--quant", asked.quant] if asked.quant else []
        words += ["--kv-type", wishes.kv_type] if wishes.kv_type else []
    else:
        words += [release or asked.model, "--engine", "vllm", "--ctx", _short(demand.ctx_size)]
        words += ["--parallel", str(way.slots)]
        words += ["--kv-type", wishes.kv_type] if wishes.kv_type else []
        engine_args = ["--max-model-len", str(demand.ctx_size), "--max-num-seqs", str(way.slots)]
        if way.tensor_parallel is not None and way.tensor_parallel > 1:
            engine_args += ["--tensor-parallel-size", str(way.tensor_parallel)]
        if way.nodes is not None and way.nodes > way.replicas:
            engine_args += ["--nnodes", str(way.nodes // way.replicas)]
        if wishes.kv_type and is_quantised(wishes.kv_type):
            engine_args += ["--kv-cache-dtype", "fp8"]
    words += ["--draft", asked.draft] if asked.draft != "auto" else []
    if speeds is not None and (wishes.n_max or speeds.n_max != speeds.alone):
        words += ["--n-max", str(speeds.n_max or "off")]
    elif wishes.n_max == 0 and asked.draft != "off":
        words += ["--n-max", "off"]
    return " ".join(map(quote, words)), tuple(engine_args)


def _short(ctx_size: int) -> str:
    return f"{ctx_size >> 10}k" if ctx_size % 1024 == 0 else str(ctx_size)


def _release(ref: Reference) -> str | None:
    """The profile whose safetensors vLLM takes, by its shape where a file was named."""
    if ref.profile is not None and ref.profile.vllm is not None:
        return ref.profile.name
    size = GEMMA4_WIDTHS.get(ref.main.shape.width)
    return f"gemma-4-{size.lower()}" if size else None
