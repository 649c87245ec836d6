"""Training: the main model on text, then the assistant on what the main model sees and says.

In the second part the main model learns on, slowly, so that what it leaves behind for the
assistant says more about the tokens to come. It is still trained on its own next token.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from demo_pair.data import Corpus
from demo_pair.model import Assistant, Main, Model


@dataclass(frozen=True)
class Plan:
    """How long and how fast: `rows` of `length` tokens a step, and the highest learning rates."""

    steps: int
    rows: int
    length: int
    rate: float
    assistant_rate: float = 0.0
    warm_up: int = 200


ALONE = Plan(steps=5850, rows=64, length=1024, rate=3e-3)
TOGETHER = Plan(steps=3250, rows=32, length=1024, rate=1e-3, assistant_rate=3e-3)
#: The assistant learns to draft this many tokens ahead; the further ahead, the less it counts.
AHEAD, FADING = 6, 0.8
#: What the assistant's loss counts beside the main model's own.
ASSISTANT_SHARE = 0.2
#: Documents first, then mostly chats: their share of the rows before and after the turn.
DOCUMENTS_BEFORE, DOCUMENTS_AFTER, TURN_AT = 0.6, 0.15, 0.5


def train_main(model: Main, corpus: Corpus, plan: Plan) -> None:
    """Next-token prediction: of all of a document, of the answers of a chat."""
    _compile(model)
    own_loss = torch.compile(_own_loss)

    def loss(done: float) -> Tensor:
        share = DOCUMENTS_BEFORE if done < TURN_AT else DOCUMENTS_AFTER
        batch = corpus.batch(plan.rows, plan.length, share)
        hidden = model(batch.tokens).hidden
        total: Tensor = own_loss(model.logits(hidden), batch.tokens, batch.wanted)
        return total

    _descend([(model, plan.rate)], plan, loss, corpus.device)


def train_both(main: Main, assistant: Assistant, corpus: Corpus, plan: Plan) -> None:
    """The assistant by distillation, several tokens ahead: at each the main model's own
    probabilities."""
    _compile(main)
    _compile(assistant)
    own_loss, surprise = torch.compile(_own_loss), torch.compile(_surprise)

    def loss(_: float) -> Tensor:
        batch = corpus.batch(plan.rows, plan.length, DOCUMENTS_AFTER)
        seen, embedded = main(batch.tokens), main.embed(batch.tokens)
        logits = main.logits(seen.hidden)
        own: Tensor = own_loss(logits, batch.tokens, batch.wanted)
        said = logits.detach().softmax(-1).to(torch.bfloat16)
        hidden, drafts = seen.hidden[:, :-1], torch.zeros((), device=corpus.device)
        for ahead in range(1, AHEAD + 1):
            # Row p - 1 has p + ahead - 1 as its last token, and foretells the one behind it.
            inputs = torch.roll(embedded, -ahead, 1)[:, :-1]
            drafted, hidden = assistant(inputs, hidden, seen)
            told = torch.roll(said, -ahead, 1)[:, :-1]
            wanted = torch.roll(batch.wanted, -ahead - 1, 1)[:, :-1].float()
            wanted[:, plan.length - ahead - 1 :] = 0.0
            drafts = drafts + FADING ** (ahead - 1) * surprise(drafted, told, wanted)
        return own + ASSISTANT_SHARE * drafts

    _descend([(main, plan.rate), (assistant, plan.assistant_rate)], plan, loss, corpus.device)


def _own_loss(logits: Tensor, tokens: Tensor, wanted: Tensor) -> Tensor:
    each = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    counts = wanted[:, 1:].flatten().float()
    return (each * counts).sum() / counts.sum()


def _surprise(drafted: Tensor, said: Tensor, wanted: Tensor) -> Tensor:
    each = -(said * drafted.log_softmax(-1)).sum(-1)
    return (each * wanted).sum() / wanted.sum()


def _compile(model: Model) -> None:
    """Layer by layer: what is compiled for one serves all of its kind."""
    for layer in model.layers:
        layer.compile()


def _descend(
    models: list[tuple[Model, float]],
    plan: Plan,
    loss_at: Callable[[float], Tensor],
    device: str,
) -> None:
    """AdamW with a short warm-up and rates that fall to nothing; says how it goes."""
    groups = []
    for model, rate in models:
        matrices = [weight for weight in model.parameters() if weight.ndim > 1]
        vectors = [weight for weight in model.parameters() if weight.ndim == 1]
        groups += [
            {"params": matrices, "highest": rate, "weight_decay": 0.1},
            {"params": vectors, "highest": rate, "weight_decay": 0.0},
        ]
    gpu = device == "cuda"
    optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.95), fused=gpu)
    began = time.monotonic()
    for step in range(plan.steps):
        done = step / plan.steps
        for group in optimizer.param_groups:
            group["lr"] = group["highest"] * min(1.0, (step + 1) / plan.warm_up) * (1.0 - done)
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            loss = loss_at(done)
        loss.backward()
        for model, _ in models:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step == 0:  # it was compiled in this one
            began = time.monotonic()
        elif step % 100 == 0:
            rate = plan.rows * plan.length * step / (time.monotonic() - began)
            print(f"step {step}: loss {loss.item():.3f}, {rate:,.0f} tokens/s", flush=True)
