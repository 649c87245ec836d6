"""One question to a server, its answer streamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmtp.errors import EngineUnreachableError, UsageError

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer without its thinking. Rates are tokens per second; unknown is None."""

    answer: str
    finish_reason: str | None
    predicted: int | None
    predicted_s: float | None
    tokens_per_s: float | None
    drafted: int
    accepted: int

    @property
    def acceptance(self) -> float | None:
        return self.accepted / self.drafted if self.drafted else None

    def to_dict(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"acceptance": self.acceptance}


def stream_answer(
    client: EngineClient,
    prompt: str,
    on_text: Callable[[str], None],
    meanwhile: Callable[[], None],
) -> Answer:
    """Ask as a chat user would, at the server's own sampling defaults.

    `meanwhile` is called while it waits, and may end that by raising.

    Raises UsageError for a prompt that the server refuses; EngineUnreachableError when it stops
    answering on the way.
    """
    text: list[str] = []
    finish_reason: str | None = None
    timings: dict[str, Any] = {}
    try:
        question = {"messages": [{"role": "user", "content": prompt}]}
        for chunk in client.stream_chat(question, meanwhile):
            timings = chunk.get("timings") or timings
            for choice in chunk.get("choices") or ():
                piece = (choice.get("delta") or {}).get("content")
                finish_reason = choice.get("finish_reason") or finish_reason
                if piece:
                    text.append(piece)
                    on_text(piece)
    except EngineUnreachableError as error:
        if error.status is not None and 400 <= error.status < 500:
            raise UsageError(
                f"the server refuses the prompt: {error.detail}",
                rule="prompt",
                fix="use a shorter prompt or a larger --ctx",
            ) from error
        raise
    milliseconds = timings.get("predicted_ms")
    return Answer(
        answer="".join(text),
        finish_reason=finish_reason,
        predicted=timings.get("predicted_n"),
        predicted_s=None if milliseconds is None else milliseconds / 1000,
        tokens_per_s=timings.get("predicted_per_second"),
        drafted=int(timings.get("draft_n", 0)),
        accepted=int(timings.get("draft_n_accepted", 0)),
    )
