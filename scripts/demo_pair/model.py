"""The two models in PyTorch, as llama.cpp's graphs of `gemma4` and `gemma4-assistant` compute them.

Shapes below: B sequences, T tokens, W the width of the main model, V tokens in the vocabulary, H
heads of queries and G of keys, of D elements each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo_pair.shape import Shape

#: How much a post-norm lets through at first, so that a deep model begins calmly.
POST_NORM_AT_FIRST = 0.25

#: Cosines and sines (T, D) by whether a layer slides.
Turns = dict[bool, tuple[Tensor, Tensor]]
#: Keys and values, both (B, G, T, D).
Keys = tuple[Tensor, Tensor]


class Layer(nn.Module):
    """Sandwich norms around attention and around a gated feed-forward, then a scale.

    Only the layers of a main model have keys of their own; full ones use them as values too.
    """

    def __init__(
        self, shape: Shape, width: int, feed_forward: int, *, sliding: bool, keys: bool
    ) -> None:
        super().__init__()
        head = shape.head(sliding)
        queries, kv = head * shape.heads, head * shape.kv_heads(sliding)
        self.shape, self.sliding = shape, sliding
        self.weights = nn.ParameterDict(
            {
                "attn_norm": vector(width),
                "attn_q": matrix(width, queries),
                "attn_q_norm": vector(head, head**-0.5),
                "attn_output": matrix(queries, width),
                "post_attention_norm": vector(width, POST_NORM_AT_FIRST),
                "ffn_norm": vector(width),
                "ffn_gate": matrix(width, feed_forward),
                "ffn_up": matrix(width, feed_forward),
                "ffn_down": matrix(feed_forward, width),
                "post_ffw_norm": vector(width, POST_NORM_AT_FIRST),
                "layer_output_scale": vector(1),
            }
        )
        if keys:
            self.weights |= {"attn_k": matrix(width, kv), "attn_k_norm": vector(head)}
        if keys and sliding:
            self.weights["attn_v"] = matrix(width, kv)

    def forward(self, x: Tensor, turns: Turns, seen: Keys | None) -> tuple[Tensor, Keys]:
        """(B, T, width) to the same, and the keys that were attended to.

        With `seen`, those of another layer, a query stands one behind the last key that it sees.
        """
        shape, w = self.shape, self.weights
        turn, head = turns[self.sliding], shape.head(self.sliding)
        y = self._norm(x, "attn_norm")
        q = F.linear(y, w["attn_q"]).unflatten(-1, (-1, head))
        q = turned(self._norm(q, "attn_q_norm").transpose(1, 2), turn)
        k, v = seen or self._keys(y, turn)
        window = shape.window - (seen is not None) if self.sliding else None
        attended = attend(q, k, v, window).transpose(1, 2).flatten(-2)
        x = x + self._norm(F.linear(attended, w["attn_output"]), "post_attention_norm")
        y = self._norm(x, "ffn_norm")
        y = F.gelu(F.linear(y, w["ffn_gate"]), approximate="tanh") * F.linear(y, w["ffn_up"])
        x = x + self._norm(F.linear(y, w["ffn_down"]), "post_ffw_norm")
        return x * w["layer_output_scale"], (k, v)

    def _keys(self, y: Tensor, turn: tuple[Tensor, Tensor]) -> Keys:
        w, head = self.weights, self.shape.head(self.sliding)
        k = F.linear(y, w["attn_k"]).unflatten(-1, (-1, head))
        v = F.linear(y, w["attn_v"]).unflatten(-1, (-1, head)) if self.sliding else k
        k = turned(self._norm(k, "attn_k_norm").transpose(1, 2), turn)
        return k, rms(v, self.shape.epsilon).transpose(1, 2)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return rms(x, self.shape.epsilon) * self.weights[name]


class Model(nn.Module):
    """What both have: an embedding, layers and a last norm, by the names of GGUF tensors."""

    def __init__(self, shape: Shape, width: int, layers: list[Layer]) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList(layers)
        self.weights = nn.ParameterDict(
            {"token_embd": matrix(width, shape.vocabulary), "output_norm": vector(width)}
        )

    def named(self) -> dict[str, Tensor]:
        """Every parameter by its GGUF name."""
        found = {f"{n.replace('nextn_', 'nextn.')}.weight": w for n, w in self.weights.items()}
        for i, layer in enumerate(self.layers):
            found |= {f"blk.{i}.{name}.weight": w for name, w in layer.weights.items()}
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over the values of a file; raises KeyError where one is missing."""
        with torch.no_grad():
            for name, weight in self.named().items():
                weight.copy_(tensors[name])

    def last_norm(self, x: Tensor) -> Tensor:
        return rms(x, self.shape.epsilon) * self.weights["output_norm"]


@dataclass(frozen=True)
class Seen:
    """What the main model leaves behind: hidden states (B, T, W) past the last norm, and the keys
    of its last layer of each kind, by whether that slides."""

    hidden: Tensor
    keys: dict[bool, Keys]


class Main(Model):
    """`gemma4`: 5:1 sliding and full layers, tied output, soft-capped logits."""

    def __init__(self, shape: Shape) -> None:
        width, wide = shape.width, shape.feed_forward
        layers = [Layer(shape, width, wide, sliding=s, keys=True) for s in shape.sliding()]
        super().__init__(shape, width, layers)

    def embed(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.weights["token_embd"]) * self.shape.width**0.5

    def forward(self, tokens: Tensor) -> Seen:
        """(B, T) token ids at positions 0 to T - 1."""
        turns = turns_at(self.shape, torch.arange(tokens.shape[1], device=tokens.device))
        x = self.embed(tokens)
        keys: dict[bool, Keys] = {}
        for layer in self.layers:
            x, keys[layer.sliding] = layer(x, turns, None)
        return Seen(self.last_norm(x), keys)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, T, W) to (B, T, V)."""
        cap = self.shape.softcap
        return cap * torch.tanh(F.linear(hidden, self.weights["token_embd"]).float() / cap)


class Assistant(Model):
    """`gemma4-assistant`: no keys of its own, one position for all tokens that it drafts."""

    def __init__(self, shape: Shape) -> None:
        width, wide = shape.draft_width, shape.draft_feed_forward
        layers = [Layer(shape, width, wide, sliding=s, keys=False) for s in shape.draft_sliding()]
        super().__init__(shape, width, layers)
        self.weights["nextn_pre_projection"] = matrix(2 * shape.width, width)
        self.weights["nextn_post_projection"] = matrix(width, shape.width)

    def forward(self, embedded: Tensor, hidden: Tensor, seen: Seen) -> tuple[Tensor, Tensor]:
        """One token ahead, for every position at once.

        Takes the embedding of token p (B, T - 1, W), for p of 1 to T - 1, the hidden state that
        foretold it, and what the main model saw: of it p attends to what is before p. A second
        token ahead takes the drafted one's embedding and the hidden state returned here, at the
        same positions. Returns logits (B, T - 1, V) and the next hidden state (B, T - 1, W).
        """
        count = embedded.shape[1]
        turns = turns_at(self.shape, torch.arange(1, count + 1, device=embedded.device))
        x = F.linear(torch.cat((embedded, hidden), -1), self.weights["nextn_pre_projection"])
        for layer in self.layers:
            k, v = seen.keys[layer.sliding]
            x, _ = layer(x, turns, (k[:, :, :count], v[:, :, :count]))
        x = self.last_norm(x)
        logits = F.linear(x, self.weights["token_embd"]).float()
        return logits, F.linear(x, self.weights["nextn_post_projection"])


def matrix(columns: int, rows: int) -> nn.Parameter:
    """A weight that maps `columns` elements to `rows`."""
    return nn.Parameter(torch.randn(rows, columns) * columns**-0.5)


def vector(size: int, value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.full((size,), value))


def rms(x: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm without weight, in float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)).to(x.dtype)


def turns_at(shape: Shape, positions: Tensor) -> Turns:
    """Full layers turn only the fastest `rotated_share` of their pairs (proportional rope)."""

    def of(base: float, head: int, share: float) -> tuple[Tensor, Tensor]:
        pair = torch.arange(head // 2, device=positions.device)
        speed = base ** (-2.0 * pair / head) * (pair < share * head / 2)
        angle = (positions.float()[:, None] * speed).repeat(1, 2)
        return angle.cos(), angle.sin()

    return {
        True: of(shape.rope_base_sliding, shape.head_sliding, 1.0),
        False: of(shape.rope_base, shape.head_full, shape.rotated_share),
    }


def turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Turn (B, H, T, D): element i with element i + D/2 (NEOX)."""
    cos, sin = turn
    low, high = x.chunk(2, -1)
    return (x * cos + torch.cat((-high, low), -1) * sin).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """Causal attention without a scale: (B, H, T, D) over grouped (B, G, T, D).

    Query i sees keys i - window + 1 to i; all before it where `window` is None.
    """
    tokens, mask = q.shape[-2], None
    if window is not None and tokens > window:
        i = torch.arange(tokens, device=q.device)
        back = i[:, None] - i
        mask = (back >= 0) & (back < window)
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, scale=1.0)
