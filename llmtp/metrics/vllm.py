"""A vLLM, looked at once a second: its `/metrics` move while it works, and cost it little."""

from __future__ import annotations

import time
from typing import Protocol

from llmtp.errors import EngineUnreachableError
from llmtp.metrics.counters import parse_drafting
from llmtp.metrics.look import Look, Pace
from llmtp.metrics.prometheus import Page, parse_page
from llmtp.metrics.totals import Totals
from llmtp.text import clean

_SHOWN = 120


class Scraped(Protocol):
    """The part of a server that is asked."""

    def metrics(self) -> str: ...


class Vllm:
    """One `/metrics` a look. Counters of all its engines are added up."""

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
            totals=self._totals,
        )


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
