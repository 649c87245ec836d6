"""How many tokens to draft where nobody has measured: a start, not an optimum."""

from __future__ import annotations

from llmtp.gguf.shape import TextModel

_FALLBACK = 2

#: By hidden size. Reported sweeps peak at 1-2 on small and sparse models and at 3-5 on dense
#: 31B (llama.cpp PR 23398 and 24267, the vLLM recipes for Gemma 4); too large is slower than off.
_BY_WIDTH = {1536: 2, 2560: 2, 3840: 3, 2816: 2, 5376: 4}


def default_n_max(model: TextModel) -> int:
    """A start for a model of this width."""
    return _BY_WIDTH.get(model.width, _FALLBACK)
