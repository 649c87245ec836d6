"""What the engine reserves to compute in, in bytes: for the main model, and for its drafter.

As llama-context.cpp does (sched_reserve): for a whole ubatch, and where RAM computes some layers
for one token a slot too, which is too little to borrow matrices for; buffers only grow.
tests/measured_memory.csv is what engines said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from llmtp.gguf.model import ModelFacts
from llmtp.gguf.shape import TextModel
from llmtp.plan.kv import full_cells, is_quantised, streams
from llmtp.plan.reserve.allocate import allocated_bytes
from llmtp.plan.reserve.assistant import build_draft
from llmtp.plan.reserve.gemma4 import build_main
from llmtp.plan.reserve.graph import OUTPUT, Batch, Graph, last_cached
from llmtp.plan.reserve.schedule import Schedule, attends_in_place, schedule
from llmtp.plan.settings import ALL_LAYERS, Placement, Settings

Named = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Reserved:
    """Bytes on each GPU and in RAM (beside a GPU: pinned), and whether flash attention is used.

    `-fa auto` switches it off for all layers where it would not run on each one's own device.
    `most_inputs` is how many tensors are copied at once from one place to another.
    """

    devices: tuple[int, ...]
    host: int
    fuses_attention: bool
    most_inputs: int

    @property
    def device(self) -> int:
        """On all GPUs together."""
        return sum(self.devices)


def main_compute(main: ModelFacts, settings: Settings, placement: Placement) -> Reserved:
    """Of the context of a main model."""
    lent: Named = ()
    if placement.lends(main.shape):
        tensors = main.tensor_bytes
        lent = (*tensors.by_name.items(), (OUTPUT, tensors.output or tensors.token_embd))
    vocabulary_size = main.vocabulary_size or 0
    return _reserved(main.shape, None, settings, placement, vocabulary_size, lent)


def draft_compute(
    draft: ModelFacts, main: ModelFacts, settings: Settings, placement: Placement
) -> Reserved:
    """Of the context of a drafter, which attends to the cache of the main model: on one GPU."""
    vocabulary_size = draft.vocabulary_size or 0
    shape = main.shape
    read = (last_cached(shape, sliding=sliding) for sliding in (True, False))
    alone = replace(placement, split=())
    if all(placement.gpu_of(shape, layer) is not None for layer in read):
        # then it is the same wherever the other layers are, and computed once
        alone = replace(alone, gpu_layers=ALL_LAYERS, cpu_experts=0)
    return _reserved(main.shape, draft.shape, settings, alone, vocabulary_size, ())


@lru_cache(maxsize=1024)
def _reserved(
    main: TextModel,
    draft: TextModel | None,
    settings: Settings,
    placement: Placement,
    vocabulary_size: int,
    lent: Named,
) -> Reserved:
    slots = settings.parallel
    cells = full_cells(settings) * streams(settings)
    whole = -(-min(cells, settings.ubatch) // slots) * slots
    outputs = min(whole, slots * (1 + settings.n_max)) if draft is None else slots

    def scheduled(batch: Batch, *, fuses: bool) -> tuple[Graph, Schedule]:
        graph = Graph(main, draft or main, settings, placement, batch, dict(lent), fuses=fuses)
        (build_draft if draft else build_main)(graph, vocabulary_size)
        return graph, schedule(graph)

    batches, fuses = [Batch(whole, outputs)], settings.flash
    if placement.lends(main):
        few = Batch(slots, slots)
        batches.append(few)
        if fuses and not is_quantised(settings.kv_type):
            fuses = attends_in_place(scheduled(few, fuses=True)[0])
    graphs = [scheduled(batch, fuses=fuses) for batch in batches]
    sizes = [allocated_bytes(graph, schedule.steps) for graph, schedule in graphs]
    on_gpus = zip(*(gpus for gpus, _ in sizes), strict=True)
    return Reserved(
        tuple(map(max, on_gpus)),
        max(ram for _, ram in sizes),
        fuses,
        max(schedule.most_inputs for _, schedule in graphs),
    )
