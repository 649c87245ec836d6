"""The sizes of the demo pair: Gemma 4's form, made small.

Deep and narrow on purpose: where layers are this small, much of what a pass through them costs a
CPU is the same for one token and for four, as it is on a GPU, where it is reading the weights.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a main model and the assistant that fits it.

    Widths are in elements, `window` and `context` in tokens. Heads are those of the queries, and
    the same in both; keys and values have `kv_sliding` and `kv_full` heads. Every width is a
    multiple of 32, the block of Q8_0.
    """

    width: int = 160
    layers: int = 30
    feed_forward: int = 480
    heads: int = 4
    kv_sliding: int = 2
    kv_full: int = 1
    head_sliding: int = 32
    head_full: int = 64
    vocabulary: int = 3072
    window: int = 512
    context: int = 4096
    draft_width: int = 128
    draft_layers: int = 3
    draft_feed_forward: int = 384
    rope_base: float = 1e6
    rope_base_sliding: float = 1e4
    rotated_share: float = 0.25
    softcap: float = 30.0
    epsilon: float = 1e-6

    def sliding(self) -> tuple[bool, ...]:
        """Which layers of the main model slide: five, then a full one."""
        return tuple((i + 1) % 6 != 0 for i in range(self.layers))

    def draft_sliding(self) -> tuple[bool, ...]:
        """Which layers of the assistant slide: all but the last."""
        return (*(True,) * (self.draft_layers - 1), False)

    def head(self, sliding: bool) -> int:
        return self.head_sliding if sliding else self.head_full

    def kv_heads(self, sliding: bool) -> int:
        return self.kv_sliding if sliding else self.kv_full


DEMO = Shape()
