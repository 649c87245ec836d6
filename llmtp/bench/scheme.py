"""Who is asked what, in which order and how much: decided before anything is measured. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmtp.bench.workloads import Workload
from llmtp.units import format_count

BUDGET_S = 240.0
#: Of a model that answers in a blink.
SMALL_BUDGET_S = 60.0
#: Steps, so that two runs on a machine of about the same speed ask for the same.
_LENGTHS = (48, 64, 96, 128, 192, 256)
LEAST_TOKENS, MOST_TOKENS = _LENGTHS[0], _LENGTHS[-1]
#: Enough for the longest of the answers that are judged by their form.
WHOLE_TOKENS = 640
#: For the template, and for a question of ours.
RESERVE = 128
#: What such answers have on average.
_WHOLE_TYPICAL = 350
#: The share of the budget that so many rounds may decode: starts and prompts take time too.
_PLANNED_SHARE = 0.5
_PLANNED_ROUNDS = 4
#: And of that, what whole answers may take.
_WHOLE_SHARE = 2 / 3


def arm_name(n_max: object) -> str:
    """`off`, `n-max 3`."""
    return "off" if n_max == 0 else f"n-max {n_max}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of text at one depth and temperature: what speed-ups are told of."""

    workload: Workload
    depth: int
    temp: float

    @property
    def name(self) -> str:
        """`code`, `code at 4k`, `code, temp 0.7`."""
        name = self.workload.name
        if self.depth:
            whole = self.depth % 1024 == 0
            name += f" at {self.depth // 1024}k" if whole else f" at {format_count(self.depth)}"
        return f"{name}, temp {self.temp:g}" if self.temp else name


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt of a cell. `number` is its place in the workload, from 1."""

    cell: Cell
    number: int
    text: str
    is_whole: bool

    @property
    def id(self) -> str:
        """Of its text, whatever the depth and temperature."""
        return f"{self.cell.workload.name}-{self.number}"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens that an answer may have: the same for all arms."""

    tokens: int
    whole: int

    def of(self, question: Question) -> int:
        return self.whole if question.is_whole else self.tokens


@dataclass(frozen=True, slots=True)
class Scheme:
    """`arms` are values of n-max, 0 (off) first."""

    arms: tuple[int, ...]
    cells: tuple[Cell, ...]
    asked_budget_s: float | None
    tokens: int | None
    is_small: bool = False

    @property
    def budget_s(self) -> float:
        """As asked, or enough for a model that is no toy."""
        return self.asked_budget_s or (SMALL_BUDGET_S if self.is_small else BUDGET_S)

    @classmethod
    def of(
        cls,
        n_maxes: Sequence[int],
        workloads: Sequence[Workload],
        depths: Sequence[int],
        temps: Sequence[float],
        budget_s: float | None,
        tokens: int | None,
    ) -> Scheme:
        """All cells that the user asked for."""
        cells = tuple(Cell(w, d, t) for t in temps for d in depths for w in workloads)
        return cls(tuple(sorted({0, *n_maxes})), cells, budget_s, tokens)

    def order(self, round_number: int) -> tuple[int, ...]:
        """There and back, so that what drifts meets all arms; the last one need not start anew."""
        return self.arms if round_number % 2 == 0 else self.arms[::-1]

    def questions(self, round_number: int) -> Iterator[Question]:
        """Of a round, the same for all arms; other ones in the next round, as long as there are."""
        for cell in self.cells:
            prompts = cell.workload.prompts
            number = round_number % len(prompts)
            yield Question(cell, number + 1, prompts[number], is_whole=_is_whole(cell, number))

    def lengths(self, tokens_per_s: float) -> Lengths:
        """How long answers may be, so that some rounds fit into the budget at this speed."""
        if self.tokens is not None:
            return Lengths(self.tokens, self.tokens)
        left = self.budget_s * _PLANNED_SHARE * tokens_per_s
        whole = sum(_is_whole(cell, 0) for cell in self.cells) * len(self.arms)
        is_affordable = self.is_small or whole * _WHOLE_TYPICAL <= left * _WHOLE_SHARE
        if not whole or not is_affordable:
            whole = 0
        requests = _PLANNED_ROUNDS * len(self.cells) * len(self.arms) - whole
        each = (left - whole * _WHOLE_TYPICAL) / max(requests, 1)
        tokens = max((one for one in _LENGTHS if one <= each), default=LEAST_TOKENS)
        return Lengths(tokens, WHOLE_TOKENS if whole else tokens)

    def round_s(self, lengths: Lengths, tokens_per_s: float, prompt_s: float) -> float:
        """About how long a round takes to answer; `prompt_s` is for a token of a prompt."""
        answers = sum(lengths.of(question) for question in self.questions(1)) / tokens_per_s
        prompts = sum(cell.depth for cell in self.cells) * prompt_s
        return len(self.arms) * (answers + prompts)


def _is_whole(cell: Cell, number: int) -> bool:
    """Is its answer judged, so that it should end by itself?"""
    return number == 0 and cell.workload.is_checked and not cell.depth and not cell.temp
