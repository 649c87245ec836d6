"""A vLLM, looked at once a second by anybody, and kept up by us: its `/metrics` move while it
works, and cost it little."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from llmtp.errors import EngineUnreachableError
from llmtp.metrics.counters import Drafting, parse_drafting
from llmtp.metrics.look import Look, Pace
from llmtp.metrics.prometheus import Page, parse_page
from llmtp.metrics.sampler import Meters, Sample
from llmtp.metrics.totals import Totals
from llmtp.text import clean

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient

_SHOWN = 120


class Scraped(Protocol):
    """The part of a server that is asked."""

    def metrics(self) -> str: ...


class Vllm:
    """One `/metrics` a look. Counters of all its engines are added up; drafts are counted by
    position from the start, used or not."""

    def __init__(self, server: Scraped, ctx_size: int | None) -> None:
        self._server = server
        self._ctx_size = ctx_size
        self._pace = Pace()
        self._totals = Totals()

    def look(self) -> Look:
        """Ask once; a server that does not answer is a look, too."""
        try:
            page = parse_page(self._server.metrics())
        except EngineUnreachableError as error:
            told = error.status is not None
            refused = {"/metrics": clean(error.detail, _SHOWN)} if told else {}
            return Look(told, error.is_alone, totals=self._totals, refused=refused)
        self._totals = vllm_totals(page)
        share = page.values.get("vllm:kv_cache_usage_perc", _old_share(page))
        tokens = page.values.get("vllm:generation_tokens_total")
        return Look(
            answered=True,
            busy=_count(page, "num_requests_running"),
            waiting=_count(page, "num_requests_waiting"),
            ctx_per_slot=self._ctx_size,
            kv_share=None if share is None else min(share, 1.0),
            tokens_per_s=None if tokens is None else self._pace.rate(time.monotonic(), tokens),
            n_max=len(drafting.accepted_at) if (drafting := self._totals.drafting) else 0,
            totals=self._totals,
        )


class VllmSamples:
    """See Samples: what happened since it was made."""

    def __init__(self, server: Scraped, meters: Meters) -> None:
        self._source, self._meters = Vllm(server, None), meters
        self._first = self._source.look().totals
        self.answered = True

    def sample(self) -> Sample:
        look = self._source.look()
        self.answered = look.answered
        done = look.totals.since(self._first)
        drafting = done.drafting
        return Sample(
            slots=None,
            busy_slots=look.busy,
            context_used=None,
            tokens_per_s=look.tokens_per_s if look.busy else None,
            mean_tokens_per_s=done.tokens_per_s,
            prompt_tokens_per_s=done.prompt_tokens_per_s,
            requests=done.requests or 0,
            drafted=drafting.drafted if drafting else None,
            accepted=drafting.accepted if drafting else None,
            acceptance=drafting.acceptance if drafting else None,
            acceptance_per_position=drafting.acceptance_per_position if drafting else (),
            mean_accepted_length=drafting.mean_accepted_length if drafting else None,
            rss_bytes=self._meters.rss_bytes(),
            device_used_bytes=self._meters.device_used_bytes(),
        )


class VllmKept:
    """See Kept. Its log tells nothing that it does not answer."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    def samples(self, meters: Meters) -> VllmSamples:
        return VllmSamples(self._client, meters)

    def drafting(self) -> Drafting | None:
        return parse_drafting(parse_page(self._client.metrics()), "vllm")

    def busy(self, timeout_s: float, meanwhile: Callable[[], object]) -> int:
        try:
            page = parse_page(self._client.metrics(timeout_s, meanwhile))
        except EngineUnreachableError:
            return 0
        return _count(page, "num_requests_running") or 0


def vllm_totals(page: Page) -> Totals:
    """Tokens and seconds of finished requests, and all drafts."""
    return Totals(
        _count(page, "request_success_total"),
        _count(page, "request_prompt_tokens_sum"),
        page.values.get("vllm:request_prefill_time_seconds_sum"),
        _count(page, "request_generation_tokens_sum"),
        page.values.get("vllm:request_decode_time_seconds_sum"),
        parse_drafting(page, "vllm"),
    )


def _old_share(page: Page) -> float | None:
    """Its name until 2025."""
    return page.values.get("vllm:gpu_cache_usage_perc")


def _count(page: Page, name: str) -> int | None:
    value = page.values.get(f"vllm:{name}")
    return None if value is None else int(value)
