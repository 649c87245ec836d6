"""One look at a server, of whichever engine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llmtp.metrics.totals import Totals


@dataclass(frozen=True, slots=True)
class Look:
    """What it said now; what it did not say is None.

    `context_used` is of all slots, `fullest_used` of the one that has most, in tokens; a server
    that shares its cache between requests tells `kv_share` of it, 0 to 1. `drafts` says whether it
    has a drafter, `n_max` how many tokens it drafts, `tokens_per_s` what all requests got since the
    look before. `refused` says why a path has no answer; of one that did not answer, `alone` says
    that there was no connection.
    """

    answered: bool
    alone: bool = False
    slots: int | None = None
    busy: int | None = None
    waiting: int | None = None
    context_used: int | None = None
    fullest_used: int | None = None
    ctx_per_slot: int | None = None
    kv_share: float | None = None
    drafts: bool | None = None
    n_max: int | None = None
    tokens_per_s: float | None = None
    totals: Totals = field(default_factory=Totals)
    refused: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Looks at a server, whoever started it."""

    def look(self) -> Look:
        """Ask once; a server that does not answer is a look, too."""


class Pace:
    """Tokens per second between one look and the next, from a count that only grows."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def rate(self, at: float, tokens: float) -> float | None:
        """`at` in seconds; None at the first look.

        A count that falls was another's, or of two that were not read at the same moment.
        """
        last, self._last = self._last, (at, tokens)
        if last is None or at <= last[0]:
            return None
        return max(tokens - last[1], 0.0) / (at - last[0])
