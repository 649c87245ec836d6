"""Where tensors are placed, and how large that makes the buffers (ggml-alloc.c)."""

from __future__ import annotations

from itertools import pairwise

from llmtp.plan.kv import is_quantised
from llmtp.plan.reserve.graph import Graph
from llmtp.plan.reserve.schedule import Step
from llmtp.plan.reserve.tensor import CPU, NOWHERE, Tensor
from llmtp.plan.reserve.vulkan import CHUNK

_IN_PLACE = {"scale", "add", "mul", "div", "unary", "rope", "rms_norm", "clamp", "soft_max"}
_ALIGNMENT = 128
_ENDLESS = 1 << 60
_MOST_CHUNKS = 16

Address = tuple[int, int]


def allocated_bytes(graph: Graph, steps: list[Step]) -> tuple[list[int], int]:
    """Sizes of the buffers on each GPU and in RAM (ggml_gallocr_alloc_graph_impl)."""
    allocator = _Allocator(graph)
    for t in graph.leafs:
        allocator.place(t, t.runs_on)
    for t, _ in steps:
        if t.root and t.op != "none":
            t.root.views += 1
        for source in t.sources:
            source.children += 1
    for t, where in steps:
        allocator.run(t, where)
    sizes = {where: sum(buffer.most) for where, buffer in allocator.buffers.items()}
    return [sizes[gpu] for gpu in range(graph.n_gpus)], sizes[CPU]


class _Allocator:
    def __init__(self, graph: Graph) -> None:
        placement = graph.placement
        chunk = CHUNK if placement.backend == "vulkan" else _ENDLESS
        self.buffers = {where: _Buffer(chunk) for where in (*range(graph.n_gpus), CPU)}
        self._is_cuda = placement.is_cuda

    def run(self, t: Tensor, where: int) -> None:
        """Give a node its memory, and free what nobody needs behind it."""
        for source in t.sources:
            self.place(source, where)
        self.place(t, where)
        for source in t.sources:
            source.children -= 1
            if source.children or source.views:
                continue
            if source.root is None:
                self._free(source)
                continue
            source.root.views -= 1
            if not source.root.views and not source.root.children:
                self._free(source.root)

    def place(self, t: Tensor, where: int) -> None:
        if t.place or t.on != NOWHERE or t.root:
            return
        reused = _reusable(t) if t.op in _IN_PLACE else None
        if reused:
            t.place, reused.place = reused.place, None
            return
        size = self._size(t, where)
        t.place = where, self.buffers[where].take(size), size

    def _free(self, t: Tensor) -> None:
        if t.place and not t.is_output:
            where, at, size = t.place
            self.buffers[where].give_back(at, size)
            t.place = None

    def _size(self, t: Tensor, where: int) -> int:
        """CUDA's flash attention has room behind its answer for keys and values as float16, except
        for one or two tokens (fattn-common.cuh, ggml_cuda_flash_attn_ext_get_f16_extra_data)."""
        size = t.n_bytes
        if t.op == "flash_attn" and where != CPU and self._is_cuda:
            q, k, v = t.sources[:3]
            few = q.shape[0] <= 256 and q.shape[1] <= 2 and is_quantised(k.type)
            if k.type != "f16" and not few:
                size = _padded(size) + 2 * k.count
                size = _padded(size) + 2 * v.count
        return _padded(size)


def _reusable(t: Tensor) -> Tensor | None:
    """A source that only this node needs, of the same form: its memory becomes the node's."""
    for s in t.sources:
        if s.place is None or s.is_output or s.root or s.children != 1 or s.views:
            continue
        if (s.type, s.shape, s.strides) == (t.type, t.shape, t.strides):
            return s
    return None


class _Buffer:
    """The best hole, or behind the last one; in chunks (ggml_dyn_tallocr).

    Holes are [begin, size]; the last of each chunk is what was never used.
    """

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk
        self._holes: list[list[list[int]]] = []
        self.most: list[int] = []

    def take(self, size: int) -> Address:
        chunk, hole = self._best(size) or self._last(size) or self._new(size)
        at = hole[0]
        hole[0] += size
        hole[1] -= size
        if hole[1] == 0:
            self._holes[chunk].remove(hole)
        self.most[chunk] = max(self.most[chunk], at + size)
        return chunk, at

    def give_back(self, address: Address, size: int) -> None:
        chunk, at = address
        holes = sorted([*self._holes[chunk], [at, size]])
        merged = [holes[0]]
        for before, hole in pairwise(holes):
            if before[0] + before[1] == hole[0]:
                hole[0], hole[1] = before[0], before[1] + hole[1]
                merged[-1] = hole
            else:
                merged.append(hole)
        self._holes[chunk] = merged

    def _best(self, size: int) -> tuple[int, list[int]] | None:
        """The smallest that is large enough, of the last chunk that has one."""
        found = None
        for chunk, holes in enumerate(self._holes):
            best = None
            for hole in holes[:-1]:
                if hole[1] >= size and (best is None or hole[1] <= best[1]):
                    best = hole
            found = (chunk, best) if best else found
        return found

    def _last(self, size: int) -> tuple[int, list[int]] | None:
        """Behind what was used: where least is left of what a chunk had at its fullest, or where
        it grows least."""
        found, spare = None, -_ENDLESS
        for chunk, holes in enumerate(self._holes):
            if holes and holes[-1][1] >= size:
                left = self.most[chunk] - holes[-1][0] - size
                if (spare < 0 and left > spare) or 0 <= left < spare:
                    found, spare = (chunk, holes[-1]), left
        return found

    def _new(self, size: int) -> tuple[int, list[int]]:
        is_last = len(self._holes) == _MOST_CHUNKS - 1
        self._holes.append([[0, _ENDLESS if is_last else max(size, self._chunk)]])
        self.most.append(0)
        return len(self._holes) - 1, self._holes[-1][0]


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
