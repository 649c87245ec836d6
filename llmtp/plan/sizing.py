"""What so many users take by the shape of a model: cache, weights, cards. Arithmetic only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from llmtp.gguf.model import ModelFacts
from llmtp.gguf.shape import TextModel
from llmtp.gguf.weights import estimate_tensor_bytes
from llmtp.plan.kv import KV_TYPES, full_cells, is_quantised, window_cells
from llmtp.plan.settings import Settings
from llmtp.plan.vllm import SHARE
from llmtp.units import GiB, format_bytes, format_count

#: Without --ctx-per-user: the least that a plan for one user goes down to before it drops MTP.
DEFAULT_CTX = 8 * 1024
MOST_USERS = 100_000
#: Of one machine; more go through a network.
CARDS_PER_NODE = 8
#: As its plan takes it, and what it computes in: an assumption.
VLLM_SHARE, VLLM_SCRATCH = SHARE, 2 * GiB
_BF16_BITS = 16
_K_AND_V = 2


@dataclass(frozen=True, slots=True)
class Demand:
    """So many users, who may all ask at once, with a context of `ctx_size` tokens each; one that
    nobody asked for is no more than the model was trained for."""

    users: int
    ctx_size: int
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class KvTerm:
    """Layers of one kind: `width` is the size of a head's key and value together, and
    `value_bytes` that of each number in it."""

    layers: int
    sliding: bool
    heads: int
    width: int
    value_bytes: float
    tokens: int

    @property
    def size(self) -> int:
        """In bytes."""
        return int(self.layers * self.heads * self.width * self.value_bytes * self.tokens)

    def words(self) -> str:
        """The product, with the numbers filled in."""
        kind = "sliding" if self.sliding else "full"
        heads = "1 head" if self.heads == 1 else f"{self.heads} heads"
        unit = "byte" if self.value_bytes == 1 else "bytes"
        return (
            f"{self.layers} {kind} layers x {heads} x {self.width // _K_AND_V} x 2 (K, V) x "
            f"{self.value_bytes:g} {unit} x {format_count(self.tokens)} tokens"
        )


def kv_terms(
    text: TextModel, full: int, window: int, value_bytes: float, tensor_parallel: int = 1
) -> list[KvTerm]:
    """Of one user on one card, with so many tokens in a full and in a sliding layer.

    Cards share the heads; where there are fewer heads than cards, each card has one.
    """
    kinds = Counter(
        (
            text.sliding[layer],
            -(-text.kv_heads[layer] // tensor_parallel),
            text.head(layer) + text.value_head(layer),
        )
        for layer in range(text.n_layers - text.shared_kv_layers)
    )
    return [
        KvTerm(count, sliding, heads, width, value_bytes, window if sliding else full)
        for (sliding, heads, width), count in sorted(kinds.items())
    ]


def llama_terms(text: TextModel, settings: Settings) -> list[KvTerm]:
    """Of one slot of llama-server, with its padding: what `kv_bytes` adds up."""
    block, block_bytes = KV_TYPES[settings.kv_type]
    window = window_cells(text, settings)
    return kv_terms(text, full_cells(settings), window, block_bytes / block)


def vllm_terms(
    text: TextModel, ctx_size: int, kv_type: str | None, tensor_parallel: int = 1
) -> list[KvTerm]:
    """Of one user of vLLM: sliding layers keep their window. It has two bytes a value, or one
    (fp8) where a quantised type is asked for."""
    value_bytes = 1.0 if kv_type is not None and is_quantised(kv_type) else 2.0
    window = min(text.window, ctx_size)
    return kv_terms(text, ctx_size, window, value_bytes, tensor_parallel)


def drafter_share(terms: Sequence[KvTerm]) -> float:
    """Bytes of a user's cache that a step of the drafter reads: it has three sliding layers and a
    full one, each as the last of the main model (one where the main model has none)."""
    return sum(one.size / one.layers * (3 if one.sliding else 1) for one in terms)


def total(terms: Sequence[KvTerm]) -> int:
    """Bytes of all terms."""
    return sum(one.size for one in terms)


def as_safetensors(model: ModelFacts) -> ModelFacts:
    """The same model in bf16, as vLLM loads it: two bytes a parameter, without towers for images
    and sound."""
    text, names = model.shape, model.tensor_bytes.by_name
    full = [layer for layer in range(text.n_layers) if not text.sliding[layer]]
    has_values = any(f"blk.{layer}.attn_v.weight" in names for layer in full)
    tensors = estimate_tensor_bytes(
        text, model.vocabulary_size or 0, _BF16_BITS, _BF16_BITS, full_values=has_values
    )
    return replace(model, tensor_bytes=tensors)


@dataclass(frozen=True, slots=True)
class Replica:
    """One vLLM over `tensor_parallel` cards, all bytes on each of them: it has room for `most`
    users, whose cache takes `kv_bytes` each."""

    tensor_parallel: int
    weights_bytes: int
    draft_bytes: int
    kv_bytes: int
    room_bytes: int

    @property
    def most(self) -> int:
        left = self.room_bytes - self.weights_bytes - self.draft_bytes
        return max(left // self.kv_bytes, 0)

    def words(self) -> str:
        """How many users it has room for, as a formula."""
        return (
            f"({format_bytes(self.room_bytes)} - weights {format_bytes(self.weights_bytes)} - "
            f"drafter {format_bytes(self.draft_bytes)}) / {format_bytes(self.kv_bytes)} = "
            f"{format_count(self.most)}"
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many replicas for all users."""

    replica: Replica
    replicas: int

    @property
    def cards(self) -> int:
        return self.replicas * self.replica.tensor_parallel

    @property
    def nodes(self) -> int:
        """Machines of eight cards; a replica is cut over several only where one cannot hold it."""
        parallel = self.replica.tensor_parallel
        if parallel > CARDS_PER_NODE:
            return self.replicas * -(-parallel // CARDS_PER_NODE)
        return -(-self.replicas // (CARDS_PER_NODE // parallel))


def vllm_room(card_bytes: int, free_bytes: int) -> int:
    """What vLLM takes of a card for weights and cache."""
    return max(min(int(card_bytes * VLLM_SHARE), free_bytes) - VLLM_SCRATCH, 0)


def vllm_fleet(
    main: ModelFacts,
    draft: ModelFacts | None,
    demand: Demand,
    kv_type: str | None,
    room_bytes: int,
) -> Fleet | None:
    """The fewest cards, then the fewest replicas; None where no number of them does.

    A drafter, which is small, is counted whole on each card.
    """
    fleets = []
    heads = [*main.shape.n_heads, *(draft.shape.n_heads if draft else ())]
    for parallel in _parallels(heads):
        terms = vllm_terms(main.shape, demand.ctx_size, kv_type, parallel)
        replica = Replica(
            parallel,
            -(-main.tensor_bytes.total // parallel),
            draft.tensor_bytes.total if draft else 0,
            total(terms),
            room_bytes,
        )
        if replica.most:
            fleets.append(Fleet(replica, -(-demand.users // replica.most)))
    within = [one for one in fleets if one.replica.tensor_parallel <= CARDS_PER_NODE]
    return min(within or fleets, key=lambda one: (one.cards, one.replicas), default=None)


def _parallels(n_heads: Sequence[int]) -> Iterator[int]:
    """Numbers of cards that can share the heads of each layer: powers of two that divide them."""
    parallel = 1
    while all(heads % parallel == 0 for heads in n_heads):
        yield parallel
        parallel *= 2
