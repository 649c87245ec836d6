"""Where drafting stops paying as more users ask at once: a roofline of one step of a batch.

Everything is in bytes on one card: computing counts as what could be read meanwhile, so that of a
card only the relation of its two rates matters. Reading and computing are added up. Were they to
overlap, the 31B on two RTX PRO 6000 would still gain 2.3 times with 100 requests at once, where
1.09 was measured (callstack.com, "Optimizing Self-Hosted Gemma for Production Inference").
"""

from __future__ import annotations

from dataclasses import dataclass

from llmtp.gguf.model import ModelFacts, is_expert
from llmtp.plan.settings import Placement
from llmtp.plan.speed import LEAST_GAIN, StepCosts, expected_tokens, token_reads

#: Of the peak of a card, what a batch of this size gets out of it with all that goes on beside the
#: matrices: the one number that was fitted, to 2.48, 1.92 and 1.09 times the speed at 1, 10 and 100
#: requests at once (the same source; with n-max 4 and 70% right it gives 2.49, 1.89 and 1.12).
COMPUTE_SHARE = 0.25
#: No more at once are looked at.
MOST_AT_ONCE = 4096
_FLOPS_PER_WEIGHT = 2
_BF16_BYTES = 2
_ON_GPU = Placement("cuda")


@dataclass(frozen=True, slots=True)
class Batch:
    """Bytes on one card in a step: `read` by every step, `experts` of all experts, of which a token
    wants the share `expert_share`; `token` for each one that is computed, `kv` for each user's
    cache. `draft`, `draft_token` and `draft_kv` are the same for one step of the drafter."""

    read: float
    token: float
    kv: float
    draft: float
    draft_token: float
    draft_kv: float
    experts: float = 0.0
    expert_share: float = 0.0

    def step(self, users: int, n_max: int) -> float:
        """Of so many users at once, who verify `n_max` drafts each."""
        tokens = users * (n_max + 1)
        touched = self.experts * distinct_experts(self.expert_share, tokens)
        main = self.read + touched + tokens * self.token + users * self.kv
        return main + n_max * (self.draft + users * (self.draft_token + self.draft_kv))

    def speed_up(self, users: int, n_max: int, acceptance: float) -> float:
        """Against none of them drafting, where so many of the drafts are right, each given the one
        before."""
        gained = expected_tokens(n_max, acceptance)
        return gained * self.step(users, 0) / self.step(users, n_max)

    def best_n_max(self, users: int, most: int, acceptance: float) -> int:
        """The n-max that gains most with so many at once; 0 where none is worth a drafter."""
        gains = {n: self.speed_up(users, n, acceptance) for n in range(1, most + 1)}
        best = max(gains, key=lambda n: gains[n])
        return best if gains[best] >= LEAST_GAIN else 0

    def break_even(self, n_max: int, acceptance: float) -> int | None:
        """From how many users at once drafting gains less than 5%, however many more there are; 1
        where it never pays, None where it pays with all that are looked at.

        Of a mixture of experts it may pay again: once all experts are read, more tokens are free.
        """
        for users in range(MOST_AT_ONCE, 0, -1):
            if self.speed_up(users, n_max, acceptance) >= LEAST_GAIN:
                return None if users == MOST_AT_ONCE else users + 1
        return 1


def distinct_experts(share: float, tokens: int) -> float:
    """What share of the experts so many tokens wake, if each wakes its own `share` by chance.

    Neighbours are alike in truth, so that it is fewer: a bound.
    """
    return 1 - (1 - share) ** tokens


def vllm_batch(
    main: ModelFacts,
    draft: ModelFacts,
    tensor_parallel: int,
    flops_per_byte: float,
    kv: float,
    draft_kv: float,
) -> Batch:
    """Of models in bf16, shared by so many cards; `kv` and `draft_kv` are bytes a user on a card,
    of all layers and of those that the drafter reads."""
    per_weight = _FLOPS_PER_WEIGHT / _BF16_BYTES / (COMPUTE_SHARE * flops_per_byte)
    active, drafted = (token_reads(one, _ON_GPU).total / tensor_parallel for one in (main, draft))
    sizes = main.tensor_bytes.by_name.items()
    experts = sum(size for name, size in sizes if is_expert(name)) / tensor_parallel
    shape = main.shape
    share = shape.n_experts_used / shape.n_experts if shape.n_experts else 0.0
    return Batch(
        read=active - share * experts,
        token=active * per_weight,
        kv=kv,
        draft=drafted,
        draft_token=drafted * per_weight,
        draft_kv=draft_kv,
        experts=experts,
        expert_share=share,
    )


def llama_batch(
    reads: float, draft: ModelFacts, costs: StepCosts, kv: float, draft_kv: float
) -> Batch:
    """Of llama-server, where another token in the batch costs what it costs one user.

    That is known of batches of up to nine tokens or so; for larger ones, which other kernels
    compute, it is a bound.
    """
    drafted = token_reads(draft, _ON_GPU).total
    most = len(costs.steps) - 1
    verify = max((costs.steps[most] - 1) / most - drafted / reads, 0.0)
    return Batch(
        read=reads * (1 - verify),
        token=reads * verify,
        kv=kv,
        draft=drafted * (1 - verify),
        draft_token=drafted * verify,
        draft_kv=draft_kv,
    )
