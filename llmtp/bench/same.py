"""Does drafting change what is answered? It must not, but for ties that rounding decides. Pure.

A batch of another shape adds up in another order, so two tokens that are about as likely may change
places: after that the texts differ, and both are right. A token that was clearly less likely is
another distribution, and an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from llmtp.bench.answers import Answered, Likely
from llmtp.bench.scheme import Question

#: Natural log-probabilities so near each other are a tie: rounding of 8-bit activations and f16
#: sums moves them by some hundredths, seldom by a tenth.
NEAR_TIE = 0.25
#: So many are looked at; who has more has seen enough.
MOST_SUSPECTS = 24


@dataclass(frozen=True, slots=True)
class Suspect:
    """Where the answer of an arm leaves that of the first arm, MTP off. `before` are the tokens
    that both have; the next is `off` or `arm`, None where that one has no more. The end that a
    model sets is a token too."""

    question: Question
    n_max: int
    round_number: int
    before: tuple[int, ...]
    off: int | None
    arm: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A suspect with what the engine says, without drafting, of that place. `gap` is how much less
    likely the arm's token is than the likeliest, in natural logarithms; None, as the texts,
    where it is not even among the likeliest."""

    suspect: Suspect
    off_text: str | None
    arm_text: str | None
    gap: float | None
    is_told: bool = True

    @property
    def is_near_tie(self) -> bool | None:
        """None where the engine did not tell."""
        return None if not self.is_told else self.gap is not None and self.gap < NEAR_TIE

    def to_dict(self) -> dict[str, Any]:
        suspect = self.suspect
        return {
            "cell": suspect.question.cell.name,
            "prompt": suspect.question.id,
            "round": suspect.round_number,
            "n_max": suspect.n_max,
            "position": len(suspect.before),
            "off_token": self.off_text,
            "arm_token": self.arm_text,
            "gap": self.gap,
            "near_tie": self.is_near_tie,
        }


def comparable(answers: Sequence[Answered]) -> Iterator[tuple[Answered, Answered]]:
    """Answers of arms beside that of MTP off to the same question in the same round, at
    temperature 0."""
    off = {(one.question, one.round_number): one for one in answers if one.n_max == 0}
    for answer in answers:
        beside = off.get((answer.question, answer.round_number))
        if answer.n_max and beside is not None and answer.question.cell.temp == 0:
            yield beside, answer


def suspects(answers: Sequence[Answered]) -> list[Suspect]:
    """The first difference of each answer that is not the same, one of each kind, those of all
    arms by turns."""
    found: dict[tuple[Any, ...], Suspect] = {}
    for off, arm in comparable(answers):
        if off.tokens == arm.tokens:
            continue
        same = next(
            (
                place
                for place, (one, other) in enumerate(zip(off.tokens, arm.tokens, strict=False))
                if one != other
            ),
            min(len(off.tokens), len(arm.tokens)),
        )
        suspect = Suspect(
            arm.question,
            arm.n_max,
            arm.round_number,
            off.tokens[:same],
            _at(off.tokens, same),
            _at(arm.tokens, same),
        )
        found.setdefault((arm.question, arm.n_max, same, suspect.arm), suspect)
    by_arm: dict[int, list[Suspect]] = {}
    for suspect in found.values():
        by_arm.setdefault(suspect.n_max, []).append(suspect)
    turns = zip_longest(*by_arm.values())
    return [suspect for turn in turns for suspect in turn if suspect is not None]


def judge(suspect: Suspect, likely: Likely) -> Difference:
    """By what the engine holds likely at that place."""
    texts: dict[int | None, str] = {token: text for token, text, _ in likely.tokens}
    logprobs: dict[int | None, float] = {token: logprob for token, _, logprob in likely.tokens}
    gap = None
    if suspect.arm in logprobs:
        gap = max(logprobs.values()) - logprobs[suspect.arm]
    off_text, arm_text = texts.get(suspect.off), texts.get(suspect.arm)
    return Difference(suspect, off_text, arm_text, gap, is_told=bool(logprobs))


def _at(tokens: Sequence[int], place: int) -> int | None:
    return tokens[place] if place < len(tokens) else None
