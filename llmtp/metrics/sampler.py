"""Turns the few things that may be asked of a busy engine into samples.

`/metrics` moves only when a request ends, and each scrape resets gauges that somebody's
Prometheus may read: so `/slots` is asked at every sample, `/metrics` once after each request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from llmtp.errors import EngineUnreachableError
from llmtp.metrics.counters import Counters, Drafting, LogTally, parse_metrics
from llmtp.metrics.slots import Slot, parse_slots
from llmtp.metrics.totals import Totals


class Asked(Protocol):
    """The part of a server that a sampler asks."""

    def slots(self) -> Any: ...

    def metrics(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a server. Rates are tokens per second; unknown is None.

    `requests`, `drafted` and what follows from them count from the end of the proof.
    """

    slots: int | None
    busy_slots: int | None
    context_used: int | None
    tokens_per_s: float | None
    mean_tokens_per_s: float | None
    prompt_tokens_per_s: float | None
    requests: int
    drafted: int | None
    accepted: int | None
    acceptance: float | None
    acceptance_per_position: tuple[float, ...]
    mean_accepted_length: float | None
    rss_bytes: int | None
    device_used_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"acceptance_per_position": list(self.acceptance_per_position)}


@dataclass(frozen=True, slots=True)
class Meters:
    """Memory of the server's process and of its device, in bytes."""

    rss_bytes: Callable[[], int | None]
    device_used_bytes: Callable[[], int | None]


class Sampler:
    """Remembers the last look, so that the next can tell rates.

    `answered` says whether the server answered the last one, with an error, too, and `alone` that
    there was no connection. `refused` has why there is no `/slots` or `/metrics`. `slots` are
    those of the last look.
    """

    def __init__(self, server: Asked, tally: Callable[[], LogTally], meters: Meters) -> None:
        self._server = server
        self._tally = tally
        self._meters = meters
        self.answered = self.alone = False
        self.refused: dict[str, EngineUnreachableError] = {}
        self.slots: list[Slot] | None = None
        self._counters = self._first = self._scrape()
        self._first_log = tally()
        self._scraped_at = self._first_log.requests
        self._slots: dict[int, Slot] = {}
        self._looked_at = time.monotonic()

    def sample(self) -> Sample:
        """Look once: at most one `/slots` and one `/metrics`."""
        slots = self.slots = self._look()
        now = time.monotonic()
        rate = self._rate(slots or [], now - self._looked_at)
        tally = self._tally()
        finished = any(
            (was.processing and not is_now.processing)
            or (was.task != is_now.task and was.processing == is_now.processing)
            for is_now in slots or []
            if (was := self._slots.get(is_now.id)) is not None
        )
        # Builds whose log does not tell that a request ended are watched by their slots.
        told = tally.requests != self._scraped_at or "/slots" in self.refused
        if told or (finished and tally.requests == self._first_log.requests == 0):
            self._counters = self._scrape() or self._counters
            self._scraped_at = tally.requests
        if slots is not None:
            self._slots = {slot.id: slot for slot in slots}
            self._looked_at = now
        return self._sample(slots, rate, tally)

    def totals(self) -> Totals:
        """Since the start of the server, as far as it or its log tells."""
        counters, tally = self._counters, self._tally()
        drafting = counters.drafting if counters and counters.drafting else tally.drafting
        requests = tally.requests if tally.is_whole else None
        if counters is None:
            return Totals(requests, drafting=drafting)
        return Totals(
            requests,
            counters.prompt_tokens,
            counters.prompt_s,
            counters.predicted_tokens,
            counters.predicted_s,
            drafting,
        )

    def _look(self) -> list[Slot] | None:
        try:
            answer = self._server.slots()
        except EngineUnreachableError as error:
            self.answered, self.alone = error.status is not None, error.is_alone
            self._note("/slots", error)
            return None
        self.answered, self.alone = True, False
        self.refused.pop("/slots", None)
        return parse_slots(answer)

    def _scrape(self) -> Counters | None:
        try:
            page = self._server.metrics()
        except EngineUnreachableError as error:
            self._note("/metrics", error)
            return None
        self.refused.pop("/metrics", None)
        return parse_metrics(page)

    def _note(self, path: str, error: EngineUnreachableError) -> None:
        if error.status is not None:
            self.refused[path] = error

    def _rate(self, slots: list[Slot], elapsed_s: float) -> float | None:
        busy = [slot for slot in slots if slot.processing]
        if not busy or elapsed_s <= 0:
            return None
        tokens = 0
        for slot in busy:
            was = self._slots.get(slot.id)
            same = was is not None and was.task == slot.task
            tokens += slot.decoded - (was.decoded if was is not None and same else 0)
        return max(tokens, 0) / elapsed_s

    def _drafting(self, tally: LogTally) -> Drafting | None:
        if self._counters is not None and self._counters.drafting is not None:
            return self._counters.drafting.since(self._first.drafting if self._first else None)
        if tally.drafting is not None:
            return tally.drafting.since(self._first_log.drafting)
        return None

    def _sample(self, slots: list[Slot] | None, rate: float | None, tally: LogTally) -> Sample:
        counters, drafting = self._counters, self._drafting(tally)
        used = [slot.context_used for slot in slots or [] if slot.context_used is not None]
        return Sample(
            slots=None if slots is None else len(slots),
            # With all of its connections in use a server does not answer, but its log tells.
            busy_slots=len(tally.working) or None
            if slots is None
            else sum(slot.processing for slot in slots),
            context_used=sum(used) if used else None,
            tokens_per_s=rate,
            mean_tokens_per_s=_ratio(counters, self._first, "predicted"),
            prompt_tokens_per_s=_ratio(counters, self._first, "prompt"),
            requests=tally.requests - self._first_log.requests,
            drafted=drafting.drafted if drafting else None,
            accepted=drafting.accepted if drafting else None,
            acceptance=drafting.acceptance if drafting else None,
            acceptance_per_position=drafting.acceptance_per_position if drafting else (),
            mean_accepted_length=drafting.mean_accepted_length if drafting else None,
            rss_bytes=self._meters.rss_bytes(),
            device_used_bytes=self._meters.device_used_bytes(),
        )


def _ratio(now: Counters | None, first: Counters | None, kind: str) -> float | None:
    if now is None or first is None:
        return None
    tokens = getattr(now, f"{kind}_tokens") - getattr(first, f"{kind}_tokens")
    seconds = getattr(now, f"{kind}_s") - getattr(first, f"{kind}_s")
    return tokens / seconds if seconds > 0 else None
