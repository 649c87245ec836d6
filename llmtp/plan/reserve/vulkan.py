"""How ggml-vulkan.cpp orders the nodes that it is given (ggml_vk_graph_optimize, b10068)."""

from __future__ import annotations

from collections.abc import Iterator

from llmtp.plan.reserve.tensor import Tensor

_NEAR, _NEAR_ROPE, _NEAR_STORE, _NEAR_SUM = 20, 15, 10, 15
#: A router's choice, which is one kernel.
_TOP_K = ["soft_max", "reshape", "argsort", "view", "get_rows", "reshape", "sum_rows", "clamp",
          "div", "reshape"]  # fmt: skip
_FUSED = {("rms_norm", "mul"), ("mul_mat", "add"), ("mul_mat_id", "mul"), ("add", "add")}
#: maxStorageBufferRange: 4 GiB less a byte.
_BINDABLE = 1 << 32
CHUNK = 1 << 30


def is_bindable(t: Tensor) -> bool:
    """Can a kernel see all of it and of its sources?"""
    return all(one.n_bytes < _BINDABLE for one in (t, *t.sources))


def reordered(nodes: list[Tensor]) -> Iterator[Tensor]:
    """What depends on nothing that is pending comes first, from among the next few nodes."""
    order = _Order(nodes)
    first = 0
    while first < len(nodes):
        for at in order.choose(first):
            order.use(at)
            yield nodes[at]
        while first < len(nodes) and order.used[first]:
            first += 1


class _Order:
    def __init__(self, nodes: list[Tensor]) -> None:
        self.nodes = nodes
        self.used = [False] * len(nodes)
        self._done: set[int] = set()
        self._ids = [id(t) for t in nodes]
        self._needs = self._find_needs()
        self._ops = [t.op for t in nodes]
        self._is_view = [t.is_view for t in nodes]

    def use(self, at: int) -> None:
        self.used[at] = True
        self._done.add(self._ids[at])

    def choose(self, first: int) -> list[int]:
        """What runs next, at once with the first node that is pending."""
        length = len(_TOP_K)
        if self._is_top_k(first):
            return list(range(first, first + length))
        near = range(first + 1, min(first + _NEAR, len(self.nodes)))
        chosen = [first]
        for at in near:
            if self.used[at] or self._is_view[at] or self._is_top_k(at):
                continue
            if not self._waits(at, chosen[-1]):
                chosen.append(at)
                chosen += self._with_it(at)
        if self._ops[chosen[-1]] != "add":
            for at in near:
                if self.used[at] or not self._is_view[at] or at in chosen:
                    continue
                pending = (c for c in self._needs[at] if not self.used[c] and c not in chosen)
                if next(pending, None) is None:
                    chosen.append(at)
        return chosen

    def _find_needs(self) -> list[list[int]]:
        """Nodes shortly before each that it reads, or that are in the same memory."""
        at_id = {known: at for at, known in enumerate(self._ids)}
        in_memory: dict[int, list[int]] = {}
        needs = []
        for at, t in enumerate(self.nodes):
            same = in_memory.setdefault(id(t.memory), [])
            found = {at_id.get(id(source), at) for source in t.sources}
            found.update(same[-_NEAR:])
            needs.append([c for c in found if at - _NEAR < c < at])
            same.append(at)
        return needs

    def _waits(self, at: int, last: int) -> bool:
        """For a node that is pending, unless it is fused with the last one that was chosen."""
        for c in self._needs[at]:
            if not self.used[c]:
                fused = (self._ops[c], self._ops[at]) in _FUSED
                if not (fused and at == c + 1 and c == last):
                    return True
        return False

    def _is_top_k(self, at: int) -> bool:
        end = at + len(_TOP_K)
        return (
            self._ops[at] == "soft_max"
            and self._ops[at:end] == _TOP_K
            and not any(self.used[at:end])
        )

    def _with_it(self, at: int) -> list[int]:
        """A rope behind its norm, what stores it, and a second sum: they are fused."""
        pair = (self._ops[at - 1], self._ops[at])
        more: list[int] = []
        if pair == ("rms_norm", "mul"):
            more += self._find_rope(at)
        last = more[-1] if more else at
        if self._ops[last] == "rope":
            more += self._find_store(last)
        if pair == ("mul_mat", "add"):
            more += self._find_sum(at)
        for found in more:
            self.used[found] = True
        return more

    def _find_rope(self, norm: int) -> list[int]:
        for at in self._after(norm, _NEAR_ROPE):
            t = self.nodes[at]
            same = t.op == "rope" and t.sources[0] is self.nodes[norm]
            if same and all(source.op == "none" for source in t.sources[1:3]):
                return [at]
        return []

    def _find_store(self, rope: int) -> list[int]:
        seen = None
        for at in self._after(rope, _NEAR_STORE):
            t = self.nodes[at]
            if seen is None and t.op == "view" and t.sources[0] is self.nodes[rope]:
                seen = at
            elif seen is not None and t.op == "set_rows" and t.sources[0] is self.nodes[seen]:
                return [seen, at]
        return []

    def _find_sum(self, first: int) -> list[int]:
        for at in self._after(first, _NEAR_SUM):
            t = self.nodes[at]
            if t.op != "add" or t.sources[0] is not self.nodes[first]:
                continue
            if t.sources[1].op == "none" or id(t.sources[1]) in self._done:
                return [at]
        return []

    def _after(self, at: int, count: int) -> range:
        return range(at + 1, min(at + count, len(self.nodes)))
