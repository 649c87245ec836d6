"""What the shipped files say in PyTorch, for an engine's answers to be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from demo_pair.model import Assistant, Main, Seen
from demo_pair.tokens import Encoder, Vocabulary

ANSWER_TOKENS = 64
DRAFTS = 4


@torch.no_grad()
def answer(main: Main, draft: Assistant, question: Sequence[int], stop: int) -> dict[str, Any]:
    """Greedy tokens, and what the assistant drafts after each of them.

    `drafts[i]` are DRAFTS tokens, drafted where `tokens[i]` is the last one known. Log-
    probabilities are those of the tokens, gaps how far the second best is behind, in nats.
    """
    known = list(question)
    tokens: list[int] = []
    logprobs: list[float] = []
    gaps: list[float] = []
    while len(tokens) < ANSWER_TOKENS and (not tokens or tokens[-1] != stop):
        said = main.logits(main(torch.tensor([known])).hidden[:, -1]).log_softmax(-1)[0]
        token, gap = _best(said)
        tokens.append(token)
        logprobs.append(round(float(said[token]), 4))
        gaps.append(gap)
        known.append(token)
    seen = main(torch.tensor([known]))
    first = len(question)
    drafts = [_drafts(main, draft, known, seen, first + i) for i in range(len(tokens))]
    return {
        "question": list(question),
        "tokens": tokens,
        "logprobs": logprobs,
        "gaps": gaps,
        "drafts": [[token for token, _ in row] for row in drafts],
        "draft_gaps": [[gap for _, gap in row] for row in drafts],
    }


def _drafts(
    main: Main, draft: Assistant, known: list[int], seen: Seen, at: int
) -> list[tuple[int, float]]:
    """What is drafted where the token at position `at` is the last one known."""
    out: list[tuple[int, float]] = []
    hidden, inputs = seen.hidden[:, :at], torch.tensor([known[1 : at + 1]])
    for _ in range(DRAFTS):
        logits, hidden = draft(main.embed(inputs), hidden, seen)
        out.append(_best(logits[0, -1]))
        inputs[0, -1] = out[-1][0]
    return out


def _best(scores: torch.Tensor) -> tuple[int, float]:
    best = scores.topk(2)
    return int(best.indices[0]), round(float(best.values[0] - best.values[1]), 4)


def reference(
    main: Main, draft: Assistant, vocabulary: Vocabulary, prompts: Sequence[str]
) -> list[dict[str, Any]]:
    encoder = Encoder(vocabulary)
    return [
        {"prompt": prompt} | answer(main, draft, encoder.question(prompt), vocabulary.end_of_turn)
        for prompt in prompts
    ]
