"""Two ways to serve so many users, llama-server and vLLM: what each takes, and if it will do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from llmtp.gguf.model import ModelFacts
from llmtp.machine.devices import Device
from llmtp.plan.kv import round_context
from llmtp.plan.memory import Parts, needed
from llmtp.plan.result import Plan
from llmtp.plan.settings import CPU_BACKEND, Placement, Settings
from llmtp.plan.sizing import (
    Demand,
    Fleet,
    KvTerm,
    llama_terms,
    total,
    vllm_fleet,
    vllm_room,
    vllm_terms,
)
from llmtp.plan.wishes import MAX_SLOTS
from llmtp.units import format_bytes, format_count

LLAMA, VLLM = "llama-server", "vllm"
_DRAFTS = 3


@dataclass(frozen=True, slots=True)
class Way:
    """What an engine takes for all users, in bytes over all cards (in RAM without cards).

    `fits` is None where nobody said for which cards, `cards` 0 the CPU. `slots` are those of a
    replica for its share of the users. `other_bytes` is what it computes in and keeps free.
    """

    engine: str
    fits: bool | None
    reason: str
    slots: int
    quant: str | None
    weights_bytes: int | None
    draft_bytes: int | None
    kv_per_user_bytes: int
    kv_bytes: int
    other_bytes: int | None
    total_bytes: int | None
    cards: int | None
    nodes: int | None
    replicas: int
    tensor_parallel: int | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def llama_planned(plan: Plan, demand: Demand) -> Way:
    """As planned: all users have a slot and it fits."""
    where = plan.where if plan.gpus else "the CPU"
    parts = sum((one.parts for one in plan.used_devices), Parts()) if plan.gpus else plan.host_parts
    return _llama(
        parts,
        demand,
        fits=True,
        reason=f"a slot for each user, of {MAX_SLOTS} at most, on {where}",
        quant=plan.main.quant,
        cards=len(plan.gpus),
    )


def llama_refused(
    main: ModelFacts,
    draft: ModelFacts | None,
    demand: Demand,
    kv_type: str,
    backend: str,
    reason: str,
) -> Way:
    """What it would take on one card of endless memory."""
    settings = Settings(
        round_context(demand.users * demand.ctx_size, demand.users),
        demand.users,
        kv_type,
        _DRAFTS if draft else 0,
    )
    if demand.users > MAX_SLOTS:
        each = total(llama_terms(main.shape, settings))
        return Way(
            LLAMA, False, reason, MAX_SLOTS, main.quant, main.tensor_bytes.total,
            draft.tensor_bytes.total if draft else 0, each, each * demand.users, None, None,
            None, None, 1, None,
        )  # fmt: skip
    found = needed(main, draft, settings, Placement(backend))
    parts = found.host if backend == CPU_BACKEND else found.device
    return _llama(parts, demand, fits=False, reason=reason, quant=main.quant, cards=None)


def _llama(
    parts: Parts, demand: Demand, *, fits: bool, reason: str, quant: str | None, cards: int | None
) -> Way:
    return Way(
        engine=LLAMA,
        fits=fits,
        reason=reason,
        slots=demand.users,
        quant=quant,
        weights_bytes=parts.weights,
        draft_bytes=parts.draft,
        kv_per_user_bytes=parts.kv // demand.users,
        kv_bytes=parts.kv,
        other_bytes=parts.compute + parts.overhead + parts.mmproj,
        total_bytes=parts.total,
        cards=cards,
        nodes=None if cards is None else 1,
        replicas=1,
        tensor_parallel=None,
    )


def vllm_on(
    main: ModelFacts,
    draft: ModelFacts | None,
    demand: Demand,
    kv_type: str | None,
    card: Device | None,
) -> tuple[Way, Fleet | None]:
    """On as many cards of one kind as it takes; models in bf16."""
    if card is None or not card.total_bytes:
        return _vllm(main, draft, demand, vllm_terms(main.shape, demand.ctx_size, kv_type)), None
    if card.backend == "metal" or card.shares_ram:
        way = _vllm(main, draft, demand, vllm_terms(main.shape, demand.ctx_size, kv_type))
        return without(way, f"it does not run on {card.name}"), None
    room = vllm_room(card.total_bytes, card.free_bytes or 0)
    fleet = vllm_fleet(main, draft, demand, kv_type, room)
    if fleet is None:
        way = _vllm(main, draft, demand, vllm_terms(main.shape, demand.ctx_size, kv_type))
        size = format_bytes(card.total_bytes)
        return without(way, f"no number of cards of {size} holds it and one user"), None
    parallel = fleet.replica.tensor_parallel
    # What is on all cards of a replica: where there are fewer heads than cards, some keep copies.
    kv = fleet.replica.kv_bytes * parallel
    other = fleet.cards * (card.total_bytes - room)
    weights = fleet.replica.weights_bytes * fleet.cards
    drafter = fleet.replica.draft_bytes * fleet.cards
    way = Way(
        engine=VLLM,
        fits=True,
        reason=_fleet_words(fleet),
        slots=-(-demand.users // fleet.replicas),
        quant="bf16",
        weights_bytes=weights,
        draft_bytes=drafter,
        kv_per_user_bytes=kv,
        kv_bytes=kv * demand.users,
        other_bytes=other,
        total_bytes=weights + drafter + kv * demand.users + other,
        cards=fleet.cards,
        nodes=fleet.nodes,
        replicas=fleet.replicas,
        tensor_parallel=parallel,
    )
    return way, fleet


def _vllm(main: ModelFacts, draft: ModelFacts | None, demand: Demand, terms: list[KvTerm]) -> Way:
    """Where no cards are known: weights, cache and drafter, and nothing of what it works in."""
    weights, each = main.tensor_bytes.total, total(terms)
    drafter = draft.tensor_bytes.total if draft else 0
    return Way(
        engine=VLLM,
        fits=None,
        reason="which cards is not said",
        slots=demand.users,
        quant="bf16",
        weights_bytes=weights,
        draft_bytes=drafter,
        kv_per_user_bytes=each,
        kv_bytes=each * demand.users,
        other_bytes=None,
        total_bytes=weights + drafter + each * demand.users,
        cards=None,
        nodes=None,
        replicas=1,
        tensor_parallel=None,
    )


def without(way: Way, reason: str) -> Way:
    """The same, which will not do for that reason."""
    return replace(way, fits=False, reason=reason)


def _fleet_words(fleet: Fleet) -> str:
    """`2 replicas of 8 cards each, on 2 machines`."""
    parallel, replicas = fleet.replica.tensor_parallel, fleet.replicas
    shared = "1 card" if parallel == 1 else f"{parallel} cards that share weights and heads"
    words = shared if replicas == 1 else f"{format_count(replicas)} replicas of {shared}"
    return words if fleet.nodes == 1 else f"{words}, in {format_count(fleet.nodes)} machines"
