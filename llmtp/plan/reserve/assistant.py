"""The graph of a drafter (src/models/gemma4-assistant.cpp)."""

from __future__ import annotations

from llmtp.plan.reserve.graph import OUTPUT, Graph, last_cached
from llmtp.plan.reserve.tensor import CPU, Tensor, like, mul_mat, new_input


def build_draft(graph: Graph, vocabulary_size: int) -> None:
    """Embeddings of the main model beside its state, all layers, logits and the next state."""
    own, n, target = graph.own, graph.tokens, graph.main.width
    width, last = own.width, own.n_layers
    ids, hidden = new_input("i32", n), new_input("f32", target, n)
    table = Tensor("none", (target, 1), n_bytes=0, on=CPU, is_weight=True)
    t = like("scale", Tensor("get_rows", (target, n), [table, ids]))
    t = Tensor("concat", (2 * target, n), [t, hidden])
    state = mul_mat(graph.weight("nextn.pre_projection.weight", 0, 2 * target, width), t)
    graph.add_attention_inputs()
    for layer in range(last):
        queries = graph.queries(layer, graph.norm(state, "attn_norm.weight", layer))
        t = graph.attention(layer, last_cached(graph.main, sliding=own.sliding[layer]), queries)
        if layer == last - 1:
            t = Tensor("get_rows", (width, graph.outputs), [t, graph.output_rows])
            state = Tensor("get_rows", (width, graph.outputs), [state, graph.output_rows])
        between = like("add", graph.norm(t, "post_attention_norm.weight", layer), state)
        t = graph.feed_forward(layer, graph.norm(between, "ffn_norm.weight", layer))
        t = graph.norm(t, "post_ffw_norm.weight", layer, forced=False)
        t = like("add", t, between)
        state = like("mul", t, graph.weight("layer_output_scale.weight", layer, 1))
    state = graph.norm(state, "output_norm.weight", last, forced=False)
    for name, length in ((OUTPUT, vocabulary_size), ("nextn.post_projection.weight", target)):
        t = mul_mat(graph.weight(name, last, width, length), state)
        t.is_output = True
        graph.expand(t)
