"""What is asked of every arm, and how much of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from llmtp.bench.workloads import WORKLOADS, Workload
from llmtp.errors import UsageError
from llmtp.machine.tuned import ALL_WORK
from llmtp.text import clean, near_names

#: What a result is for where nobody says; each kind counts the same.
KINDS = ("code", "json", "list", "prose")
#: Tokens an answer; steps, so that two runs on machines of about the same speed ask for the same.
_LENGTHS = (48, 64, 96, 128, 192, 256)
#: So long an arm may answer, and so long where even the least is slow.
_ARM_S, _SLOW_ARM_S = 16.0, 60.0
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question; `round_number` and the kind say which."""

    kind: str
    round_number: int
    text: str


@dataclass(frozen=True, slots=True)
class Amount:
    """Rounds of one question a kind, and tokens an answer."""

    rounds: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Work:
    """Kinds of text, and the sampling temperature."""

    workloads: tuple[Workload, ...]
    temp: float

    @classmethod
    def of(cls, name: str | None, temp: float) -> Work:
        """One kind, or all; raises UsageError for another one."""
        if name is not None and name not in KINDS:
            raise UsageError(
                f"--workload {clean(name, 40)!r} is none that tune knows",
                expected=", ".join(KINDS),
                fix=near_names(name, KINDS) or "leave out --workload for all of them",
            )
        if not math.isfinite(temp):
            raise UsageError(f"--temp {temp} is not a temperature", fix="use 0 to 5")
        names = KINDS if name is None else (name,)
        return cls(tuple(one for one in WORKLOADS if one.name in names), temp)

    @property
    def name(self) -> str:
        """`code`, or `all`."""
        return ALL_WORK if len(self.workloads) > 1 else self.workloads[0].name

    def prompts(self, round_number: int) -> Iterator[Prompt]:
        """Of a round, one a kind; other ones in the next."""
        for one in self.workloads:
            text = one.prompts[round_number % len(one.prompts)]
            yield Prompt(one.name, round_number, text)

    def amount(self, tokens_per_s: float) -> Amount:
        """As much as an arm can answer in some seconds at this speed."""
        kinds = len(self.workloads)
        each = _ARM_S * tokens_per_s / (ROUNDS * kinds)
        tokens = max((one for one in _LENGTHS if one <= each), default=_LENGTHS[0])
        rounds = int(_SLOW_ARM_S * tokens_per_s / (kinds * tokens))
        return Amount(min(max(rounds, 1), ROUNDS), tokens)
