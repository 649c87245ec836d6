"""Which node runs where, and what is copied between (ggml-backend.cpp, split_graph)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from llmtp.plan.reserve.graph import Graph
from llmtp.plan.reserve.tensor import CPU, NOWHERE, Tensor
from llmtp.plan.reserve.vulkan import is_bindable, reordered
from llmtp.plan.settings import Placement

#: So many copies a split has room for before b11434: beyond, there is a new one, or an abort where
#: one node needs several (GGML_SCHED_MAX_SPLIT_INPUTS).
MOST_INPUTS = 30
#: From so many rows on a GPU borrows a matrix from RAM (GGML_OP_OFFLOAD_MIN_BATCH).
_OFFLOAD_TOKENS = 32

Step = tuple[Tensor, int]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Nodes in their order and where each is; copies stand where their split begins.

    `most_inputs` are the copies at the beginning of one split.
    """

    steps: list[Step]
    most_inputs: int


@dataclass(slots=True)
class _Split:
    """Nodes that run in one place, after its inputs have been copied there."""

    where: int
    inputs: list[Tensor] = field(default_factory=list)
    nodes: list[Tensor] = field(default_factory=list)


def schedule(graph: Graph) -> Schedule:
    """Split a graph over GPUs and RAM."""
    placement = graph.placement
    _assign(graph)
    held = {}
    if placement.is_cuda:  # ggml-cuda.cu, ggml_cuda_match_moe_weighted_reduction
        held = {id(t): kept for t, kept in graph.reductions if t.runs_on != CPU}
    steps: list[Step] = []
    splits = _splits(graph.nodes, limited=not placement.mixed_batches)
    if graph.copies > 1:
        _copy_inputs(graph, splits)
    for split in splits:
        for source in split.inputs:
            steps.append((_hold([source]), source.runs_on))
            steps.append((source.copies[split.where], split.where))
        nodes: Iterable[Tensor] = split.nodes
        if split.where != CPU and placement.backend == "vulkan":
            nodes = reordered(split.nodes)
        for t in nodes:
            steps.append((t, t.runs_on))
            if id(t) in held:
                steps.append((_hold(held[id(t)]), t.runs_on))
    return Schedule(steps, max(len(split.inputs) for split in splits))


def attends_in_place(graph: Graph) -> bool:
    """Is all flash attention where its layer is? If not, `auto` turns it off for all layers, unless
    the values in the cache are quantised (llama-context.cpp, resolve_fused_ops)."""
    attentions = (t for t in graph.nodes if t.op == "flash_attn")
    return all(t.runs_on == graph.device(layer) for layer, t in enumerate(attentions))


def _hold(kept: list[Tensor]) -> Tensor:
    """A step that frees nothing before it what it still needs."""
    return Tensor("none", (1,), kept, root=kept[0].memory)


def _splits(nodes: list[Tensor], *, limited: bool) -> list[_Split]:
    """Pass 5: a new one with each change of place, for each weight that must be borrowed, and in
    builds that are `limited` where one is full."""
    first = next(i for i, t in enumerate(nodes) if not t.is_view)
    split = _Split(nodes[first].runs_on, nodes=nodes[:first])
    splits = [split]
    for t in nodes[first:]:
        if t.is_view:
            split.nodes.append(t)
            continue
        borrows = any(s.is_weight and s.on != split.where for s in t.sources)
        full = limited and len(split.inputs) == MOST_INPUTS
        overflows = full and any(_is_copied(s, split.where) for s in t.sources)
        if t.runs_on != split.where or (split.inputs and borrows) or overflows:
            split = _Split(t.runs_on)
            splits.append(split)
        split.nodes.append(t)
        for i, source in enumerate(t.sources):
            if _lies(source) == split.where or source.runs_on == split.where:
                continue
            if split.where not in source.copies:
                source.copies[split.where] = _copy(source)
                split.inputs.append(source)
            t.sources[i] = source.copies[split.where]
    return splits


def _is_copied(source: Tensor, where: int) -> bool:
    """Must it be, and is not there yet?"""
    there = _lies(source) == where or source.runs_on == where
    return not there and where not in source.copies


def _copy(source: Tensor) -> Tensor:
    return Tensor("none", source.shape, kind=source.type, strides=source.strides,
                  n_bytes=source.n_bytes)  # fmt: skip


def _copy_inputs(graph: Graph, splits: list[_Split]) -> None:
    """Pass 6 and what follows: each batch that is prepared ahead has inputs of its own, which are
    placed first and stay."""
    kept: list[Tensor] = []

    def keep(t: Tensor, where: int) -> None:
        t.runs_on, t.is_output = where, True
        kept.append(t)

    for leaf in graph.leafs:
        if leaf.is_input:
            for one in (leaf, *(_copy(leaf) for _ in range(graph.copies - 1))):
                keep(one, leaf.runs_on)
    for split in splits:
        for source in split.inputs:
            first = source.copies[split.where]
            for one in (first, *(_copy(source) for _ in range(graph.copies - 1))):
                keep(one, split.where)
    graph.leafs = [*kept, *(t for t in graph.leafs if not t.is_input)]


def _assign(graph: Graph) -> None:
    """Passes 1 to 4."""
    placement = graph.placement
    forces = graph.tokens < _OFFLOAD_TOKENS or graph.on_gpu_from == 0
    for t in graph.nodes:
        if forces and t.norm_of is not None:
            t.runs_on = graph.device(t.norm_of)  # llama-context.cpp, graph_get_cb
    for t in (*graph.leafs, *graph.nodes):
        if t.runs_on == NOWHERE:
            t.runs_on = _preferred(t, placement)
    nodes = [t for t in graph.nodes if not t.is_view]
    for only_gpu in (True, False):
        _spread(nodes, placement, only_gpu=only_gpu)
        _spread(reversed(nodes), placement, only_gpu=only_gpu)
    for t in nodes:
        if t.runs_on == NOWHERE:  # where most of its sources are
            possible = [w for w in (*range(graph.n_gpus), CPU) if _supports(w, t, placement)]
            t.runs_on = max(possible, key=lambda w: sum(_lies(s) == w for s in t.sources))
    for t in graph.nodes:
        if t.root and t.runs_on == NOWHERE:
            t.runs_on = t.root.runs_on
        for source in t.sources:
            if source.runs_on == NOWHERE:
                source.runs_on = source.root.runs_on if source.root else t.runs_on


def _preferred(t: Tensor, placement: Placement) -> int:
    """By its memory or its weights (ggml_backend_sched_backend_id_from_cur)."""
    if t.memory.on != NOWHERE:
        return t.memory.on
    if t.is_input:
        return CPU
    if t.op in ("rope", "flash_attn"):
        return NOWHERE
    for source in t.sources:
        if source.is_weight:
            lender = placement.n_remote  # the first GPU that borrows
            borrows = source.on == CPU and lender < placement.n_gpus
            large = borrows and _rows(t) >= _OFFLOAD_TOKENS
            return lender if large and _supports(lender, t, placement) else source.on
    return NOWHERE


def _spread(nodes: Iterable[Tensor], placement: Placement, *, only_gpu: bool) -> None:
    """What has no place yet runs where the nodes before it do."""
    where = NOWHERE
    for t in nodes:
        if t.runs_on != NOWHERE:
            where = NOWHERE if only_gpu and t.runs_on == CPU else t.runs_on
        elif where != NOWHERE and _supports(where, t, placement):
            t.runs_on = where


def _lies(t: Tensor) -> int:
    """Where its memory is, as far as that is known."""
    if t.memory.on != NOWHERE:
        return t.memory.on
    return t.runs_on if t.runs_on != NOWHERE or t.root is None else t.root.runs_on


def _supports(where: int, t: Tensor, placement: Placement) -> bool:
    return where == CPU or placement.backend != "vulkan" or is_bindable(t)


def _rows(t: Tensor) -> int:
    """get_op_batch_size of ggml-cuda.cu and ggml-vulkan.cpp."""
    if t.op == "get_rows":
        return 0
    if t.op == "mul_mat":
        return t.shape[1]
    if t.op in ("mul_mat_id", "rope"):
        return t.shape[2]
    return t.shape[1] * t.shape[2] * t.shape[3]
