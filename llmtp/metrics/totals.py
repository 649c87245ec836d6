"""What a server has done since its start, and so what it did in between. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, TypeVar

from llmtp.metrics.counters import Drafting

N = TypeVar("N", int, float)
#: How far back "now" goes.
WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts that only grow while a server lives. Tokens and seconds are of finished requests;
    what nobody tells is None."""

    requests: int | None = None
    prompt_tokens: int | None = None
    prompt_s: float | None = None
    predicted_tokens: int | None = None
    predicted_s: float | None = None
    drafting: Drafting | None = None

    def since(self, earlier: Totals) -> Totals:
        """What came after an earlier reading; all of it, where the server was started anew."""
        if self.is_behind(earlier):
            return self
        return Totals(
            _less(self.requests, earlier.requests),
            _less(self.prompt_tokens, earlier.prompt_tokens),
            _less(self.prompt_s, earlier.prompt_s),
            _less(self.predicted_tokens, earlier.predicted_tokens),
            _less(self.predicted_s, earlier.predicted_s),
            self.drafting.since(earlier.drafting) if self.drafting else None,
        )

    def is_behind(self, earlier: Totals) -> bool:
        """Has one of the counts fallen? Then another start counts."""
        pairs = [
            (self.requests, earlier.requests),
            (self.prompt_tokens, earlier.prompt_tokens),
            (self.predicted_tokens, earlier.predicted_tokens),
        ]
        if self.drafting is not None and earlier.drafting is not None:
            pairs.append((self.drafting.drafts, earlier.drafting.drafts))
        return any(now is not None and before is not None and now < before for now, before in pairs)

    @property
    def tokens_per_s(self) -> float | None:
        """Of a request, while it was answered."""
        return _rate(self.predicted_tokens, self.predicted_s)

    @property
    def prompt_tokens_per_s(self) -> float | None:
        return _rate(self.prompt_tokens, self.prompt_s)

    def to_dict(self) -> dict[str, Any]:
        """The fields of `window` and `total`."""
        drafting = self.drafting
        shares = drafting.acceptance_per_position if drafting else ()
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "predicted_tokens": self.predicted_tokens,
            "mean_tokens_per_s": self.tokens_per_s,
            "prompt_tokens_per_s": self.prompt_tokens_per_s,
            "drafts": drafting.drafts if drafting else None,
            "drafted": drafting.drafted if drafting else None,
            "accepted": drafting.accepted if drafting else None,
            "acceptance": drafting.acceptance if drafting else None,
            "acceptance_per_position": list(shares) if shares else None,
            "mean_accepted_length": drafting.mean_accepted_length if drafting else None,
        }


_NOTHING = Totals(0, 0, 0.0, 0, 0.0)


class Window:
    """The last minute, or all since the first look where that is less."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Totals]] = deque()

    def add(self, at: float, totals: Totals) -> None:
        """One reading; what another start counted is forgotten."""
        if self._seen and self._seen[-1][1].predicted_tokens is None:
            self._seen.clear()  # it did not tell its counters yet
        if self._seen and totals.is_behind(self._seen[-1][1]):
            self._seen.clear()
            self._seen.append((at, _NOTHING))
        self._seen.append((at, totals))
        while len(self._seen) > 2 and at - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()

    @property
    def seconds(self) -> float:
        return self._seen[-1][0] - self._seen[0][0] if self._seen else 0.0

    @property
    def totals(self) -> Totals:
        """Of what happened in it."""
        if not self._seen:
            return Totals()
        return self._seen[-1][1].since(self._seen[0][1])


def _less(now: N | None, before: N | None) -> N | None:
    return None if now is None or before is None else now - before


def _rate(tokens: int | None, seconds: float | None) -> float | None:
    return tokens / seconds if tokens is not None and seconds else None
