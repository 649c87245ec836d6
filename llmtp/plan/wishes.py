"""What the user asked of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmtp.errors import UsageError
from llmtp.gguf.shape import TextModel
from llmtp.machine.workers import Worker
from llmtp.plan.kv import KV_TYPES, takes
from llmtp.units import format_count

MAX_SLOTS = 64


@dataclass(frozen=True, slots=True)
class Nodes:
    """Machines that serve one model together: so many, the number of this one from 0, and where
    number 0 waits for the others."""

    count: int
    rank: int
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Wishes:
    """The defaults leave everything to the plan; what is asked for by name is never given up.

    `n_max` 0 is MTP off; `margin` is in bytes; `draft_is_wanted` says that MTP was asked for
    by name, so that it may not be dropped. `strict` gives up nothing. `nodes` are the machines that
    serve together, where there are several; `workers` lend their devices.
    """

    ctx: Literal["auto", "max"] | int = "auto"
    n_max: int | None = None
    kv_type: str | None = None
    parallel: int = 1
    margin: int | None = None
    draft_is_wanted: bool = False
    strict: bool = False
    parallel_is_asked: bool = False
    nodes: Nodes | None = None
    workers: tuple[Worker, ...] = ()


def check_wishes(wishes: Wishes, text: TextModel, *, has_draft: bool) -> None:
    """Raises UsageError for what no machine can do with this model."""
    if wishes.nodes is not None:
        raise UsageError(
            "llama-server does not serve on several machines so",
            rule="nodes",
            expected="--nodes with --engine vllm",
            fix="add --engine vllm, or leave out --nodes",
        )
    if wishes.n_max and not has_draft:
        raise UsageError(
            f"--n-max {wishes.n_max} needs a drafter, but it is off",
            fix="leave out --draft off, or use --n-max off",
        )
    if not 1 <= wishes.parallel <= MAX_SLOTS:
        raise UsageError(
            f"--parallel {wishes.parallel} is not possible",
            expected=f"1 to {MAX_SLOTS} slots",
            fix="leave out --parallel for 1",
        )
    if wishes.kv_type is not None and not takes(text, wishes.kv_type):
        block, _ = KV_TYPES[wishes.kv_type]
        heads = (text.head_full, text.value_full, text.head_sliding, text.value_sliding)
        raise UsageError(
            f"--kv-type {wishes.kv_type} does not go with this model's heads of {min(heads)}",
            rule="kv-type",
            expected=f"head sizes that {block} divides",
            fix="leave out --kv-type for f16",
        )
    most = text.context_train * wishes.parallel
    if isinstance(wishes.ctx, int) and wishes.ctx > most:
        raise UsageError(
            f"--ctx {wishes.ctx} is more than the model was trained for",
            expected=f"at most {format_count(most)} with {wishes.parallel} slot(s)",
            fix="use --ctx max for the largest that fits",
        )
