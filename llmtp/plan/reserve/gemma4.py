"""The graph of a main model (src/models/gemma4.cpp)."""

from __future__ import annotations

from llmtp.plan.reserve.graph import OUTPUT, Graph, last_cached
from llmtp.plan.reserve.tensor import Tensor, like, mul_mat, new_input, permute, reshape, view


def build_main(graph: Graph, vocabulary_size: int) -> None:
    """All layers, the state that the drafter reads, and the logits."""
    own = graph.own
    state = _embedded(graph)
    graph.add_attention_inputs()
    by_layer = _by_layer(graph, state) if own.per_layer_width else None
    for layer in range(own.n_layers):
        state = _layer(graph, layer, state, by_layer)
    state = graph.norm(state, "output_norm.weight", own.n_layers, forced=False)
    state.is_output = True
    state = Tensor("get_rows", (own.width, graph.outputs), [state, graph.output_rows])
    state.is_output = True
    logits = mul_mat(graph.weight(OUTPUT, own.n_layers, own.width, vocabulary_size), state)
    logits = like("scale", like("unary", like("scale", logits)))
    logits.is_output = True
    graph.expand(logits)


def _embedded(graph: Graph) -> Tensor:
    """Embeddings of tokens; room for those of images is there in any case (build_inp_embd)."""
    n, width = graph.tokens, graph.own.width
    table = graph.weight("token_embd.weight", -1, width, 1)
    rows = Tensor("get_rows", (width, n), [table, new_input("i32", n)])
    graph.expand(rows)
    graph.expand(new_input("f32", width, n))
    if not graph.placement.mixed_batches:
        return like("scale", rows)
    some = Tensor("get_rows", (width, n), [table, new_input("i32", n)])
    at, mixed = new_input("i64", n), like("dup", new_input("f32", width, n))
    graph.expand(Tensor("set_rows", mixed.shape, [some, at, mixed], root=mixed))
    return like("mul", rows, new_input("f32", 1, n))


def _by_layer(graph: Graph, state: Tensor) -> Tensor:
    """Embeddings of each layer (build_inp_per_layer, project_per_layer_inputs)."""
    own, n = graph.own, graph.tokens
    each, every = own.per_layer_width, own.per_layer_width * own.n_layers
    table = graph.weight("per_layer_token_embd.weight", -1, every, 1)
    rows = Tensor("get_rows", (every, n), [table, new_input("i32", n)])
    rows = like("scale", reshape(rows, each, own.n_layers, n))
    graph.expand(rows)
    matrix = graph.weight("per_layer_model_proj.weight", 0, own.width, every)
    part = reshape(like("scale", mul_mat(matrix, state)), each, own.n_layers, n)
    part = graph.norm(part, "per_layer_proj_norm.weight", 0, forced=False)
    both = permute(like("scale", like("add", part, rows)))
    return Tensor("cont", both.shape, [both])


def _layer(graph: Graph, layer: int, before: Tensor, by_layer: Tensor | None) -> Tensor:
    own, n, width = graph.own, graph.tokens, graph.own.width
    t = graph.norm(before, "attn_norm.weight", layer)
    t = _attention(graph, layer, t)
    between = like("add", graph.norm(t, "post_attention_norm.weight", layer), before)
    t = graph.feed_forward(layer, graph.norm(between, "ffn_norm.weight", layer))
    if own.n_experts:
        t = graph.norm(t, "post_ffw_norm_1.weight", layer)
        t = like("add", t, _experts(graph, layer, between))
    t = like("add", graph.norm(t, "post_ffw_norm.weight", layer, forced=False), between)
    if by_layer:
        each, inner = own.per_layer_width, t
        t = like("unary", mul_mat(graph.weight("inp_gate.weight", layer, width, each), t))
        t = like("mul", t, view(by_layer, (each, n), by_layer.strides))
        t = mul_mat(graph.weight("proj.weight", layer, each, width), t)
        t = like("add", inner, graph.norm(t, "post_norm.weight", layer))
    return like("mul", t, graph.weight("layer_output_scale.weight", layer, 1))


def _attention(graph: Graph, layer: int, t: Tensor) -> Tensor:
    own, n, width = graph.own, graph.tokens, graph.own.width
    queries = graph.queries(layer, t)
    if layer >= own.n_layers - own.shared_kv_layers:
        return graph.attention(layer, last_cached(own, sliding=own.sliding[layer]), queries)
    size, heads = own.head(layer), own.kv_heads[layer]
    k = v = mul_mat(graph.weight("attn_k.weight", layer, width, size * heads), t)
    if own.sliding[layer] or own.per_layer_width:  # elsewhere keys are the values too
        v = mul_mat(graph.weight("attn_v.weight", layer, width, size * heads), t)
    k, v = reshape(k, size, heads, n), reshape(v, size, heads, n)
    k = graph.norm(k, "attn_k_norm.weight", layer)
    v = like("rms_norm", v)
    return graph.attention(layer, layer, queries, graph.rope(k, layer), v)


def _experts(graph: Graph, layer: int, between: Tensor) -> Tensor:
    """The router, and build_moe_ffn of llama-graph.cpp."""
    own, n, width = graph.own, graph.tokens, graph.own.width
    used, wide, of = own.n_experts_used, own.expert_feed_forward, own.n_experts
    t = graph.norm(between, "pre_ffw_norm_2.weight", layer)
    asked = like("scale", like("rms_norm", between))
    asked = like("mul", asked, graph.weight("ffn_gate_inp.scale", layer, width))
    router = graph.weight("ffn_gate_inp.weight", layer, width, of)
    chances = like("soft_max", mul_mat(router, asked))
    order = Tensor("argsort", chances.shape, [chances], "i32")
    chosen = view(order, (used, n), (4, 4 * of, 4 * of * n, 4 * of * n))
    share = Tensor("get_rows", (1, used, n), [reshape(chances, 1, of, n), chosen])
    share = reshape(share, used, n)
    total = like("clamp", Tensor("sum_rows", (1, n), [share]))
    share = reshape(like("div", share, total), 1, used, n)
    graph.expand(share)
    table = graph.weight("ffn_gate_up_exps.weight", layer, width, 2 * wide, of)
    both = Tensor("mul_mat_id", (2 * wide, used, n), [table, reshape(t, width, 1, n), chosen])
    halves = [view(both, (wide, used, n), both.strides) for _ in range(2)]
    table = graph.weight("ffn_down_exps.weight", layer, wide, width, of)
    product = Tensor("glu", (wide, used, n), halves)
    answers = Tensor("mul_mat_id", (width, used, n), [table, product, chosen])
    weighted = like("mul", answers, share)
    graph.expand(weighted)
    step = weighted.strides[2]
    parts = [view(weighted, (width, n), (4, step, step * n, step * n)) for _ in range(used)]
    for part in parts:
        graph.expand(part)
    t = parts[0]
    for part in parts[1:]:
        t = Tensor("add", (width, n), [t, part])
        graph.expand(t)
    graph.reductions.append((t, [answers, share]))
    return graph.norm(t, "post_ffw_norm_2.weight", layer)
