"""`/slots` of a llama-server to typed states. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtp.told import count

_MOST_SLOTS = 1024


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot. `decoded` counts tokens of the current or last request; `ctx_size` is what a
    request can use of the context, `drafts` whether it has a drafter."""

    id: int
    task: int | None
    processing: bool
    context_used: int | None
    decoded: int
    ctx_size: int | None = None
    drafts: bool | None = None


def parse_slots(answer: Any) -> list[Slot]:
    """Slots from the JSON of `/slots`; fields that a build lacks are unknown."""
    if not isinstance(answer, list):
        return []
    return [_slot(raw) for raw in answer[:_MOST_SLOTS] if isinstance(raw, dict)]


def _slot(raw: dict[str, Any]) -> Slot:
    following, drafts = raw.get("next_token"), raw.get("speculative")
    if isinstance(following, list):
        following = following[0] if following else None
    decoded = following.get("n_decoded") if isinstance(following, dict) else None
    return Slot(
        id=count(raw.get("id")) or 0,
        task=count(raw.get("id_task")),
        processing=raw.get("is_processing") is True,
        context_used=count(raw.get("n_prompt_tokens")),
        decoded=count(decoded) or 0,
        ctx_size=count(raw.get("n_ctx")),
        drafts=drafts if isinstance(drafts, bool) else None,
    )
