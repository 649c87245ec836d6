"""What the graphs of main model and drafter share (llama-graph.cpp, llama-kv-cache.cpp)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmtp.gguf.model import is_expert
from llmtp.gguf.shape import TextModel
from llmtp.plan.kv import full_cells, is_quantised, streams, widest_values, window_cells
from llmtp.plan.reserve.tensor import (
    BLOCKS,
    CPU,
    Numbers,
    Tensor,
    like,
    mul_mat,
    new_input,
    permute,
    reshape,
    row_bytes,
    view,
)
from llmtp.plan.settings import Placement, Settings

#: Loaded once, with the layer that first needs them.
_OF_ALL_LAYERS = {"per_layer_model_proj.weight", "per_layer_proj_norm.weight", "rope_freqs.weight"}
OUTPUT = "output"
_BATCHES_AHEAD = 4
_VALUE_ROTATION = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """How many tokens are computed at once, and of how many of them logits are wanted."""

    tokens: int
    outputs: int


class Graph:
    """One batch through the layers of `own`, which attend to the cache of `main`.

    `weight_bytes` are those of the tensors of `own` by name; only what a GPU borrows from RAM is
    looked up.
    """

    def __init__(
        self,
        main: TextModel,
        own: TextModel,
        settings: Settings,
        placement: Placement,
        batch: Batch,
        weight_bytes: Mapping[str, int],
        *,
        fuses: bool,
    ) -> None:
        self.main, self.own, self.placement = main, own, placement
        self.tokens, self.outputs = batch.tokens, batch.outputs
        self._kv_type, self._flash = settings.kv_type, settings.flash
        #: The cache may be laid out for flash attention that is not used then.
        self._fuses = fuses
        self.streams = streams(settings)
        self.cells = {False: full_cells(settings), True: window_cells(main, settings)}
        self.nodes: list[Tensor] = []
        self.leafs: list[Tensor] = []
        #: Sums of experts, and what CUDA's fused kernel for them must find still there.
        self.reductions: list[tuple[Tensor, list[Tensor]]] = []
        self._weight_bytes = weight_bytes
        self._weights: dict[tuple[str, int, int], Tensor] = {}
        self._caches: dict[int, tuple[Tensor, Tensor]] = {}
        self.on_gpu_from, self.n_gpus = placement.first_on_gpu(main), placement.n_gpus
        #: How many batches are prepared ahead (GGML_SCHED_MAX_COPIES).
        self.copies = _BATCHES_AHEAD if own is main and placement.pipelines(main) else 1
        if own is not main:  # a drafter is on the GPU, if there is one, whatever the main model is
            self.on_gpu_from = 0 if placement.has_gpu else own.n_layers + 1

    def expand(self, tensor: Tensor) -> None:
        """Add what a tensor needs and then itself, sources in their order
        (ggml_build_forward_expand)."""
        stack = [(tensor, 0)]
        while stack:
            t, i = stack.pop()
            if i == 0:
                if t.seen:
                    continue
                t.seen = True
            if i < len(t.sources):
                stack += [(t, i + 1), (t.sources[i], 0)]
            else:
                (self.leafs if t.op == "none" else self.nodes).append(t)

    def device(self, layer: int) -> int:
        """Where a layer is, or the output behind the last; a drafter knows one GPU only."""
        if self.own is not self.main:
            return 0 if layer >= self.on_gpu_from else CPU
        return self._cache_device(layer)

    def _cache_device(self, layer: int) -> int:
        gpu = self.placement.gpu_of(self.main, layer)
        return CPU if gpu is None else gpu

    def weight(self, name: str, layer: int, *shape: int) -> Tensor:
        """Of a layer, of the output (n_layers) or of the input (-1), which stays in RAM."""
        of_layer = 0 <= layer < self.own.n_layers and name not in _OF_ALL_LAYERS
        full_name = f"blk.{layer}.{name}" if of_layer else name
        in_ram = layer < 0 or (is_expert(name) and self.placement.experts_in_ram(layer))
        on = CPU if in_ram else self.device(layer)
        # one for all layers of a device, and so it is borrowed only once (TENSOR_DUPLICATED)
        key = full_name, on, layer if of_layer or layer < 0 else self.own.n_layers
        if key not in self._weights:
            borrowed = on == CPU and self.placement.has_gpu and layer >= 0
            n_bytes = self._weight_bytes.get(full_name, 0) if borrowed else 0
            self._weights[key] = Tensor("none", shape, n_bytes=n_bytes, on=on, is_weight=True)
        return self._weights[key]

    def norm(self, t: Tensor, name: str, layer: int, *, forced: bool = True) -> Tensor:
        """RMS norm and its scale; most are `forced` onto the device of their layer."""
        normed = like("rms_norm", t)
        if forced:
            normed.norm_of = layer
        return like("mul", normed, self.weight(name, layer, t.shape[0]))

    def add_attention_inputs(self) -> None:
        """Positions, masks, rows of the cache to write to, rotations, rows of the output."""
        kind = "f16" if self._fuses else "f32"
        n, s = self.tokens, self.streams
        values = n if self._flash else n * widest_values(self.main)
        self._positions = new_input("i32", n)
        self._masks = {w: new_input(kind, self.cells[w], n // s, 1, s) for w in (False, True)}
        self._rows = {w: (new_input("i64", n), new_input("i64", values)) for w in (False, True)}
        self._rotations: dict[bool, tuple[Tensor, Tensor]] = {}
        if is_quantised(self._kv_type):  # Hadamard matrices, for keys and for values
            sizes = {False: self.main.head_full, True: self.main.head_sliding}
            self._rotations = {
                w: (new_input("f32", size, size),
                    new_input("f32", _VALUE_ROTATION, _VALUE_ROTATION))
                for w, size in sizes.items()
            }  # fmt: skip
        self.output_rows = new_input("i32", self.outputs)

    def attention(
        self,
        layer: int,
        cached: int,
        queries: Tensor,
        keys: Tensor | None = None,
        values: Tensor | None = None,
    ) -> Tensor:
        """Of a layer that reads what the layer `cached` wrote; its own keys and values are stored
        first (build_attn of a cache with sliding windows, build_attn_mha)."""
        slides, own = self.own.sliding[layer], [keys, values]
        if self._rotations:
            by = self._rotations[slides]
            queries = _rotated(queries, by[0])
            own = [t and _rotated(t, matrix) for t, matrix in zip(own, by, strict=True)]
        for t in (queries, *own):
            if t:
                self.expand(t)
        caches = self._cache(cached)
        if own[0] and own[1]:
            self._store(own[0], own[1], caches, self._rows[slides])
        out = self._attended(self._queries_by_stream(queries), cached, caches, self._masks[slides])
        self.expand(out)
        if self._rotations:
            out = _rotated(out, self._rotations[slides][1])
        matrix = self.weight("attn_output.weight", layer, out.shape[0], self.own.width)
        return mul_mat(matrix, out)

    def queries(self, layer: int, t: Tensor) -> Tensor:
        """Projected, normed and rotated."""
        own, heads = self.own, self.own.n_heads[layer]
        size = own.head(layer)
        q = mul_mat(self.weight("attn_q.weight", layer, own.width, size * heads), t)
        q = self.norm(reshape(q, size, heads, self.tokens), "attn_q_norm.weight", layer)
        return self.rope(q, layer)

    def rope(self, t: Tensor, layer: int) -> Tensor:
        """Rotated by position; full layers have factors."""
        own = self.own
        if own.sliding[layer]:
            return like("rope", t, self._positions)
        factors = self.weight("rope_freqs.weight", layer, own.head_full // 2)
        return like("rope", t, self._positions, factors)

    def feed_forward(self, layer: int, t: Tensor) -> Tensor:
        """Gate, up, their product, down (build_ffn)."""
        width, wide = self.own.width, self.own.feed_forward[layer]
        up = mul_mat(self.weight("ffn_up.weight", layer, width, wide), t)
        gate = mul_mat(self.weight("ffn_gate.weight", layer, width, wide), t)
        product = Tensor("glu", up.shape, [gate, up])
        return mul_mat(self.weight("ffn_down.weight", layer, wide, width), product)

    def _cache(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values; without flash attention all values are as wide as the widest."""
        if layer not in self._caches:
            main, cells = self.main, self.cells[self.main.sliding[layer]]
            keys = main.kv_heads[layer] * main.head(layer)
            values = main.kv_heads[layer] * main.value_head(layer)
            widths = keys, values if self._flash else widest_values(main)
            on = self._cache_device(layer)
            key, value = (
                Tensor("none", (width, cells, self.streams), kind=self._kv_type, on=on)
                for width in widths
            )
            self._caches[layer] = key, value
        return self._caches[layer]

    def _queries_by_stream(self, q: Tensor) -> Tensor:
        each = self.tokens // self.streams
        strides = (*q.strides[:3], q.strides[2] * each)
        return permute(view(q, (q.shape[0], q.shape[1], each, self.streams), strides))

    def _attended(
        self, q: Tensor, cached: int, caches: tuple[Tensor, Tensor], mask: Tensor
    ) -> Tensor:
        s, kind = self.streams, self._kv_type
        size, heads = self.main.head(cached), self.main.kv_heads[cached]
        cells, unit = caches[0].shape[1], BLOCKS[kind][1]

        def strides(*counts: int) -> Numbers:
            return unit, *(row_bytes(kind, count) for count in counts)

        wide = [cache.shape[0] for cache in caches]
        shape = (size, heads, cells, s)
        k = permute(view(caches[0], shape, strides(size, wide[0], wide[0] * cells)))
        if self._flash:
            v = permute(view(caches[1], shape, strides(size, wide[1], wide[1] * cells)))
            v = v if self._fuses else _turned(v)
        else:
            by_head = strides(cells * size, cells, cells * wide[1])
            v = permute(view(caches[1], (cells, heads, size, s), by_head))
        if not self._fuses:
            out = permute(mul_mat(v, like("soft_max", mul_mat(k, q), mask)))
            return Tensor("cont", (out.shape[0] * out.shape[1], out.shape[2] * s), [out])
        if kind == "f32":
            k, v = Tensor("cpy", k.shape, [k], "f16"), Tensor("cpy", v.shape, [v], "f16")
        shape = (v.shape[0], q.shape[2], q.shape[1], s)
        out = Tensor("flash_attn", shape, [q, k, v, mask])
        return reshape(out, out.shape[0] * out.shape[1], out.shape[2] * s)

    def _store(
        self, k: Tensor, v: Tensor, caches: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]
    ) -> None:
        """Write to the cache (cpy_k, cpy_v); without flash attention values are turned."""
        for t, cache, at in zip((k, v), caches, rows, strict=True):
            width, n = t.shape[0] * t.shape[1], self.tokens
            into = cache
            if self._flash or cache is caches[0]:
                t = view(t, (width, n), (4, 4 * width, 4 * width * n, 4 * width * n))
                if self.streams > 1:
                    into = reshape(cache, cache.shape[0], cache.shape[1] * self.streams)
            else:
                t = reshape(t, width, n)
                if width < cache.shape[0]:
                    t = Tensor("pad", (cache.shape[0], n), [t])
                t, into = reshape(t, 1, t.count), reshape(cache, 1, cache.count)
            stored = Tensor("set_rows", into.shape, [t, at, into], into.type,
                            strides=into.strides, root=cache)  # fmt: skip
            self.expand(stored)


def last_cached(model: TextModel, *, sliding: bool) -> int:
    """Whose keys and values are read by a drafter's layer, or by one without its own: the engine
    goes by the place (llama-model.cpp, layer_reuse_cb and layer_share_cb)."""
    own = model.n_layers - model.shared_kv_layers
    return max(own - (2 if sliding else 1), 0)


def _turned(v: Tensor) -> Tensor:
    """Values of a cache that is laid out for flash attention, as it is done without it."""
    size, cells, heads, streams = v.shape
    unit, cell, head, stream = v.strides
    shape, strides = (cells, size, heads, streams), (cell, unit, head, stream)
    turned = Tensor("permute", shape, [v], v.type, strides=strides, root=v.memory,
                    n_bytes=v.n_bytes)  # fmt: skip
    return Tensor("cont", shape, [turned], v.type)


def _rotated(t: Tensor, matrix: Tensor) -> Tensor:
    """llama-impl.h, llama_mul_mat_hadamard."""
    size = matrix.shape[0]
    return reshape(mul_mat(matrix, reshape(t, size, t.count // size)), *t.shape)
