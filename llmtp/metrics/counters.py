"""Counters of a server since its start, from `/metrics` and from the log. Pure.

Names as llama.cpp's tools/server/server-task.cpp prints them. Builds before August 2026 have no
`spec_decode_*` series; for those the log's cumulative `statistics draft-mtp` line stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import zip_longest

from llmtp.metrics.prometheus import Page, parse_page

_STATISTICS = re.compile(
    r"statistics\s+draft-mtp:.*#gen drafts =\s*(\d+).*#gen tokens =\s*(\d+), "
    r"#acc tokens =\s*(\d+)(?:.*#acc rate/pos = \(([\d., ]*)\))?"
    r"(?:.*dur\(b,g,a\) = [\d.]{1,20}, ([\d.]{1,20}),)?"
)
_ACCEPTED = re.compile(r"draft acceptance(?: rate)? = .{1,12}\( *(\d{1,12}) accepted")
_AT_POSITION = re.compile(r"print_timing: .*\bacc per pos = \(([\d., ]*)\)")
_RATE = re.compile(r"\d+\.\d+")
_STARTED = re.compile(r"srv +load_model: loading model '")
_FINISHED = re.compile(r"print_timing: id.*\btotal time =")
_BEGUN = re.compile(r"launch_slot_: id +(\d+) .*processing task")
_ENDED = re.compile(r" release: id +(\d+) .*stop processing")


@dataclass(frozen=True, slots=True)
class Drafting:
    """Drafts made, tokens drafted and accepted; `accepted_at[i]` counts hits at position i.

    A log tells those of all requests as a share of three digits, which are worth nothing for the
    few of the last minute; `counted_at` has them request by request, as far as the log goes back.
    `draft_s` is the time that the drafter took, where the log tells.
    """

    drafts: int
    drafted: int
    accepted: int
    accepted_at: tuple[float, ...]
    counted_at: tuple[float, ...] = ()
    draft_s: float | None = None

    def since(self, earlier: Drafting | None) -> Drafting:
        """What came after an earlier reading of the same server."""
        if earlier is None:
            return self
        at, before = self.accepted_at, earlier.accepted_at
        if self.counted_at:
            at, before = self.counted_at, earlier.counted_at
        return Drafting(
            self.drafts - earlier.drafts,
            self.drafted - earlier.drafted,
            self.accepted - earlier.accepted,
            _added(at, tuple(-one for one in before[: len(at)])),
            draft_s=_difference(self.draft_s, earlier.draft_s),
        )

    def plus(self, other: Drafting) -> Drafting:
        """Both readings together, of whichever servers."""
        return Drafting(
            self.drafts + other.drafts,
            self.drafted + other.drafted,
            self.accepted + other.accepted,
            _added(self.accepted_at, other.accepted_at),
            draft_s=_sum(self.draft_s, other.draft_s),
        )

    @property
    def acceptance(self) -> float | None:
        return self.accepted / self.drafted if self.drafted else None

    @property
    def mean_accepted_length(self) -> float | None:
        """Tokens a verify step, the model's own one included."""
        return 1 + self.accepted / self.drafts if self.drafts else None

    @property
    def acceptance_per_position(self) -> tuple[float, ...]:
        if not self.drafts:
            return ()
        return tuple(min(max(a / self.drafts, 0.0), 1.0) for a in self.accepted_at)


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals of finished requests. `drafting` is None where the build does not count it here."""

    prompt_tokens: int
    prompt_s: float
    predicted_tokens: int
    predicted_s: float
    drafting: Drafting | None


def parse_metrics(text: str) -> Counters:
    """Totals from the text of `/metrics`; missing series count as 0."""
    page = parse_page(text)
    values = page.values
    return Counters(
        prompt_tokens=int(values.get("llamacpp:prompt_tokens_total", 0)),
        prompt_s=values.get("llamacpp:prompt_seconds_total", 0.0),
        predicted_tokens=int(values.get("llamacpp:tokens_predicted_total", 0)),
        predicted_s=values.get("llamacpp:tokens_predicted_seconds_total", 0.0),
        drafting=parse_drafting(page, "llamacpp"),
    )


def parse_drafting(page: Page, engine: str) -> Drafting | None:
    """The `spec_decode_*` series, which llama-server has from vLLM; None where there are none."""
    prefix, values = f"{engine}:spec_decode_num", page.values
    if f"{prefix}_drafts_total" not in values:
        return None
    return Drafting(
        drafts=int(values[f"{prefix}_drafts_total"]),
        drafted=int(values.get(f"{prefix}_draft_tokens_total", 0)),
        accepted=int(values.get(f"{prefix}_accepted_tokens_total", 0)),
        accepted_at=page.positions(f"{prefix}_accepted_tokens_per_pos_total"),
    )


@dataclass(frozen=True, slots=True)
class LogTally:
    """What the lines of a log add up to, of the last start in it; `working` are slots with a
    request. `is_whole` once the start was there: lines before it may have been lost. `accepted`
    is of the last request, `counted_at` of all by position."""

    requests: int = 0
    drafting: Drafting | None = None
    accepted: int = 0
    counted_at: tuple[float, ...] = ()
    working: frozenset[int] = frozenset()
    is_whole: bool = False

    def add(self, line: str) -> LogTally:
        """The tally with one more line."""
        if _STARTED.search(line):
            return LogTally(is_whole=True)
        if _FINISHED.search(line):
            return replace(self, requests=self.requests + 1)
        if (begun := _BEGUN.search(line)) is not None:
            return replace(self, working=self.working | {int(begun[1])})
        if (ended := _ENDED.search(line)) is not None:
            return replace(self, working=self.working - {int(ended[1])})
        if (accepted := _ACCEPTED.search(line)) is not None:
            return replace(self, accepted=int(accepted[1]))
        if (at := _AT_POSITION.search(line)) is not None:
            return replace(
                self, accepted=0, counted_at=_added(self.counted_at, self._shared(at[1]))
            )
        match = _STATISTICS.search(line)
        if match is None:
            return self
        drafts = int(match[1])
        rates = [float(rate) for rate in _RATE.findall(match[4] or "")]
        return replace(
            self,
            drafting=Drafting(
                drafts,
                int(match[2]),
                int(match[3]),
                tuple(rate * drafts for rate in rates),
                self.counted_at,
                float(match[5]) / 1000 if match[5] else None,
            ),
        )

    def _shared(self, rates: str) -> tuple[float, ...]:
        """The accepted tokens of the last request by position."""
        shares = [float(rate) for rate in _RATE.findall(rates)]
        total = sum(shares)
        return tuple(self.accepted * share / total if total else 0.0 for share in shares)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one - other, 0.0)


def _added(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0.0))
