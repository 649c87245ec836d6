"""Counters of a server since its start, from `/metrics` and from the log. Pure.

Names as llama.cpp's tools/server/server-task.cpp prints them. Builds before August 2026 have no
`spec_decode_*` series; for those the log's cumulative `statistics draft-mtp` line stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_SERIES = re.compile(r"^llamacpp:(\w+)(?:\{position=\"(\d+)\"\})? (\S+)$")
_STATISTICS = re.compile(
    r"statistics\s+draft-mtp:.*#gen drafts =\s*(\d+).*#gen tokens =\s*(\d+), "
    r"#acc tokens =\s*(\d+)(?:.*#acc rate/pos = \(([\d., ]*)\))?"
)
_RATE = re.compile(r"\d+\.\d+")
_FINISHED = re.compile(r"print_timing: id.*\btotal time =")
_BEGUN = re.compile(r"launch_slot_: id +(\d+) .*processing task")
_ENDED = re.compile(r" release: id +(\d+) .*stop processing")
_MAX_POSITIONS = 64


@dataclass(frozen=True, slots=True)
class Drafting:
    """Drafts made, tokens drafted and accepted; `accepted_at[i]` counts hits at position i."""

    drafts: int
    drafted: int
    accepted: int
    accepted_at: tuple[float, ...]

    def since(self, earlier: Drafting | None) -> Drafting:
        """What came after an earlier reading of the same server."""
        if earlier is None:
            return self
        before = (*earlier.accepted_at, *[0.0] * len(self.accepted_at))
        return Drafting(
            self.drafts - earlier.drafts,
            self.drafted - earlier.drafted,
            self.accepted - earlier.accepted,
            tuple(a - b for a, b in zip(self.accepted_at, before, strict=False)),
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
    values: dict[str, float] = {}
    positions: dict[int, float] = {}
    for line in text.splitlines():
        match = _SERIES.match(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        if match[2] is None:
            values[match[1]] = value
        elif int(match[2]) < _MAX_POSITIONS:
            positions[int(match[2])] = value
    drafting = None
    if "spec_decode_num_drafts_total" in values:
        drafting = Drafting(
            drafts=int(values["spec_decode_num_drafts_total"]),
            drafted=int(values.get("spec_decode_num_draft_tokens_total", 0)),
            accepted=int(values.get("spec_decode_num_accepted_tokens_total", 0)),
            accepted_at=tuple(positions.get(i, 0.0) for i in range(max(positions, default=-1) + 1)),
        )
    return Counters(
        prompt_tokens=int(values.get("prompt_tokens_total", 0)),
        prompt_s=values.get("prompt_seconds_total", 0.0),
        predicted_tokens=int(values.get("tokens_predicted_total", 0)),
        predicted_s=values.get("tokens_predicted_seconds_total", 0.0),
        drafting=drafting,
    )


@dataclass(frozen=True, slots=True)
class LogTally:
    """What the lines of a log add up to; `working` are slots with a request."""

    requests: int = 0
    drafting: Drafting | None = None
    working: frozenset[int] = frozenset()

    def add(self, line: str) -> LogTally:
        """The tally with one more line."""
        if _FINISHED.search(line):
            return replace(self, requests=self.requests + 1)
        if (begun := _BEGUN.search(line)) is not None:
            return replace(self, working=self.working | {int(begun[1])})
        if (ended := _ENDED.search(line)) is not None:
            return replace(self, working=self.working - {int(ended[1])})
        match = _STATISTICS.search(line)
        if match is None:
            return self
        drafts = int(match[1])
        rates = [float(rate) for rate in _RATE.findall(match[4] or "")]
        return replace(
            self,
            drafting=Drafting(
                drafts, int(match[2]), int(match[3]), tuple(rate * drafts for rate in rates)
            ),
        )
