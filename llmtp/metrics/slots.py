"""`/slots` of a llama-server to typed states. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot. `decoded` counts tokens of the current or last request."""

    id: int
    task: int | None
    processing: bool
    context_used: int | None
    decoded: int


def parse_slots(answer: Any) -> list[Slot]:
    """Slots from the JSON of `/slots`; fields that a build lacks are unknown."""
    if not isinstance(answer, list):
        return []
    return [_slot(raw) for raw in answer if isinstance(raw, dict)]


def _slot(raw: dict[str, Any]) -> Slot:
    following = raw.get("next_token")
    if isinstance(following, list):
        following = following[0] if following else None
    decoded = following.get("n_decoded", 0) if isinstance(following, dict) else 0
    return Slot(
        id=int(raw.get("id", 0)),
        task=raw.get("id_task"),
        processing=bool(raw.get("is_processing")),
        context_used=raw.get("n_prompt_tokens"),
        decoded=int(decoded),
    )
