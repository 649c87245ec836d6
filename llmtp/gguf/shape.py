"""The shape of a Gemma 4 text model: everything that memory and pairing depend on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextModel:
    """Shape of a `gemma4` or `gemma4-assistant` model. Per-layer tuples have `n_layers` entries."""

    n_layers: int
    width: int
    feed_forward: tuple[int, ...]
    n_heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    sliding: tuple[bool, ...]
    head_full: int
    head_sliding: int
    value_full: int
    value_sliding: int
    window: int
    shared_kv_layers: int
    per_layer_width: int
    n_experts: int
    n_experts_used: int
    expert_feed_forward: int
    context_train: int
    rope_base: float | None
    rope_base_sliding: float | None
    target_width: int | None
    nextn_layers: int

    def head(self, layer: int) -> int:
        """Head size of a layer's queries and keys."""
        return self.head_sliding if self.sliding[layer] else self.head_full

    def value_head(self, layer: int) -> int:
        """Head size of a layer's values."""
        return self.value_sliding if self.sliding[layer] else self.value_full
