"""A sizing as formulas with its numbers filled in, and what was assumed: in words, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llmtp.gguf.model import ModelFacts
from llmtp.machine.peaks import Peak
from llmtp.plan.at_once import AtOnce
from llmtp.plan.batch import COMPUTE_SHARE, Batch
from llmtp.plan.sizing import CARDS_PER_NODE, VLLM_SCRATCH, VLLM_SHARE, Demand, Fleet, KvTerm, total
from llmtp.plan.speed import LEAST_GAIN, PROSE, TYPICAL, expected_tokens
from llmtp.plan.ways import LLAMA, Way
from llmtp.units import GiB, format_bytes, format_count, format_percent

_BF16_BYTES = 2


def memory_formulas(
    demand: Demand, way: Way, fleet: Fleet | None, terms: Sequence[KvTerm], main: ModelFacts
) -> Iterator[str]:
    """Of the chosen way; `main` is the model in bf16."""
    products = " + ".join(one.words() for one in terms)
    yield f"KV of a user = {products} = {format_bytes(total(terms))}"
    if way.engine == LLAMA:
        yield f"weights = the tensors of the file in {way.quant or 'its types'}"
    else:
        billions = main.tensor_bytes.total / _BF16_BYTES / 1e9
        weights = format_bytes(main.tensor_bytes.total)
        yield f"weights = {billions:.1f} billion parameters x 2 bytes (bf16) = {weights} a replica"
    if fleet is not None and way.engine != LLAMA:
        parallel = fleet.replica.tensor_parallel
        each = "a card" if parallel == 1 else f"each of {parallel} cards that share a replica"
        if way.kv_per_user_bytes > total(terms):
            copies = format_bytes(way.kv_per_user_bytes)
            yield f"on {parallel} cards = {copies}: of fewer heads than cards each card has a copy"
        yield f"users of a replica, on {each} = {fleet.replica.words()}"
        yield (
            f"cards = {format_count(demand.users)} users / {format_count(fleet.replica.most)}, "
            f"rounded up, x {parallel} = {format_count(fleet.cards)}"
        )
    kv = f"{format_count(demand.users)} users x {format_bytes(way.kv_per_user_bytes)}"
    parts = [format_bytes(way.weights_bytes), format_bytes(way.draft_bytes)]
    if way.other_bytes is not None:
        parts.append(format_bytes(way.other_bytes))
    names = "weights + drafter + scratch and spare" if len(parts) > 2 else "weights + drafter"
    sums = " + ".join(parts)
    yield f"total = {names} + KV = {sums} + {kv} = {format_bytes(way.total_bytes)}"


def speed_formulas(batch: Batch, found: AtOnce, *, shared: bool) -> Iterator[str]:
    """Of a step, what it yields, and one row of the table. `shared` counts it by card."""
    n_max, users = found.alone, found.users
    reads = f"{_gib(batch.read)}"
    if batch.experts:
        kept = f"{1 - batch.expert_share:g}"
        reads += f" + {_gib(batch.experts)} of experts x (1 - {kept}^(B x (n + 1)))"
    yield (
        f"step(B, n) = {reads} + B x {_gib(batch.kv)} + B x (n + 1) x {_gib(batch.token)} + "
        f"n x ({_gib(batch.draft)} + B x {_gib(batch.draft_token + batch.draft_kv)}), for B at "
        f"once{' and on each card' if shared else ''}; computing counts as what could be read "
        "meanwhile"
    )
    tokens = expected_tokens(n_max, TYPICAL)
    yield f"tokens(n) = 1 + a + ... + a^n = {tokens:.2f} for n = {n_max}, a = {TYPICAL:g}"
    plain, drafted = batch.step(users, 0), batch.step(users, n_max)
    yield (
        f"times as fast = tokens(n) x step(B, 0) / step(B, n) = {tokens:.2f} x {_gib(plain)} / "
        f"{_gib(drafted)} = {tokens * plain / drafted:.2f} for B = {users}, n = {n_max}"
    )


def assumptions(way: Way, peak: Peak, *, drafts: bool) -> Iterator[str]:
    """What the numbers rest on beside the shape."""
    yield "all users ask at the same moment, each with a full context: memory is safe for that"
    if way.engine != LLAMA:
        yield (
            f"vLLM takes {format_percent(VLLM_SHARE)} of a card, {format_bytes(VLLM_SCRATCH)} of "
            "that to compute in, and loads bf16 (quantised models take less); it says at its start "
            f"for how many users it really has room. Up to {CARDS_PER_NODE} cards are in one "
            "machine"
        )
    if not drafts:
        return
    yield (
        f"{format_percent(TYPICAL)} of drafts are right, {format_percent(PROSE)} for prose; "
        f"contexts are half full on average; a gain under {LEAST_GAIN - 1:.0%} is none"
    )
    if way.engine == LLAMA:
        yield (
            "another token costs a batch what it costs one user (cost model); of batches over nine "
            "tokens nobody has measured it, and it may be less"
        )
    elif peak.flops_per_s is not None and peak.bytes_per_s is not None:
        yield (
            f"a card computes {peak.flops_per_byte:.0f} operations while it reads a byte "
            f"({peak.name}: {peak.flops_per_s / 1e12:,.0f} TFLOPS of dense bf16, "
            f"{peak.bytes_per_s / 1e12:.2f} TB/s by its data sheet); batches get a share of "
            f"{COMPUTE_SHARE:g} of that, fitted to one published measurement"
        )
    else:
        yield (
            f"a card computes {peak.flops_per_byte:.0f} operations while it reads a byte, because "
            "nobody said which card it is (an RTX 3090 has 76, an H100 295: --vram H100); batches "
            f"get a share of {COMPUTE_SHARE:g} of that, fitted to one published measurement"
        )


def _gib(count: float) -> str:
    """`30.70 GiB`, `0.0034 GiB`: of one unit, so that the sum can be done by hand."""
    size = count / GiB
    return f"{size:,.0f} GiB" if size >= 100 else f"{size:.3g} GiB"
