"""A llama-server: looked at once a second by anybody, and kept up by us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from llmtp.errors import EngineUnreachableError
from llmtp.metrics.counters import Drafting, LogTally, parse_metrics
from llmtp.metrics.look import Look, Pace
from llmtp.metrics.sampler import Asked, Meters, Sampler
from llmtp.metrics.slots import Slot, parse_slots
from llmtp.metrics.totals import Totals
from llmtp.text import clean

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient

_SHOWN = 120


class LlamaServer:
    """At most one `/slots` and one `/metrics` a look; `tally` is of its log, where that is ours."""

    def __init__(self, server: Asked, tally: Callable[[], LogTally] = LogTally) -> None:
        self._sampler = Sampler(server, tally, Meters(lambda: None, lambda: None))
        self._by_slots, self._by_counters = Pace(), Pace()
        self._seen: dict[int, Slot] = {}
        self._decoded = 0

    def look(self) -> Look:
        """Ask once; a server that does not answer is a look, too."""
        sample = self._sampler.sample()
        slots, totals = self._sampler.slots, self._sampler.totals()
        known = slots or []
        return Look(
            answered=self._sampler.answered,
            alone=self._sampler.alone,
            slots=sample.slots,
            busy=sample.busy_slots,
            context_used=sample.context_used,
            fullest_used=_most(slot.context_used for slot in known),
            ctx_per_slot=_most(slot.ctx_size for slot in known),
            drafts=any(told) if (told := _told(known)) else None,
            tokens_per_s=None if slots is None else self._rate(slots, totals),
            totals=totals,
            refused={path: clean(e.detail, _SHOWN) for path, e in self._sampler.refused.items()},
        )

    def _rate(self, slots: Sequence[Slot], totals: Totals) -> float | None:
        """By the counters of finished requests and the slots of others; by the slots alone, which
        miss what is shorter than a second, where there are no counters."""
        for slot in slots:
            was = self._seen.get(slot.id)
            same = was is not None and was.task == slot.task
            self._decoded += max(slot.decoded - (was.decoded if was and same else 0), 0)
        self._seen = {slot.id: slot for slot in slots}
        if totals.predicted_tokens is None:
            return self._by_slots.rate(time.monotonic(), self._decoded)
        now = totals.predicted_tokens + sum(slot.decoded for slot in slots if slot.processing)
        return self._by_counters.rate(time.monotonic(), now)


class LlamaKept:
    """See Kept. `tally` is of its log, which tells what it does not answer."""

    def __init__(self, client: EngineClient, tally: Callable[[], LogTally]) -> None:
        self._client = client
        self._tally = tally

    def samples(self, meters: Meters) -> Sampler:
        return Sampler(self._client, self._tally, meters)

    def drafting(self) -> Drafting | None:
        counted = parse_metrics(self._client.metrics()).drafting
        logged = self._tally().drafting
        if counted is None or logged is None:
            return counted or logged
        return replace(counted, draft_s=logged.draft_s)

    def busy(self, timeout_s: float, meanwhile: Callable[[], object]) -> int:
        try:
            answer = self._client.slots(timeout_s, meanwhile)
        except EngineUnreachableError:
            return len(self._tally().working)
        return sum(slot.processing for slot in parse_slots(answer))


def _told(slots: Sequence[Slot]) -> list[bool]:
    return [slot.drafts for slot in slots if slot.drafts is not None]


def _most(counts: Iterable[int | None]) -> int | None:
    return max((one for one in counts if one is not None), default=None)
