"""Which arm is to be measured next, and when enough is known. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmtp.machine.tuned import SAMPLINGS
from llmtp.tune.curve import Curve

#: The largest n-max that is tried: nobody was seen to gain by more.
TOP = 12
#: Of servers that are started besides the first, at most: with more it would take longer than half
#: of a sweep over ten.
MOST_ARMS = 5
#: An arm is worth a start that is expected to have this share of the best speed, beside the best
#: one and, as expectations are wrong by some percent, anywhere.
WORTH, ALIKE = 0.93, 0.97
#: A smaller n-max, and MTP off, are taken for so little less: they lose less with other texts.
_NEARLY, _HARDLY = 0.985, 1.025
#: One whose drafts are right so often hardly gains by a p-min.
_SURE = 0.6
#: Drafts that the drafter gives less are as often wrong as right.
P_MIN = 0.5


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to draft; n-max 0 is off."""

    n_max: int
    p_min: float = 0.0
    draft_sampling: str = SAMPLINGS[0]

    @property
    def is_plain(self) -> bool:
        """Nothing but an n-max."""
        return self == Arm(self.n_max)

    @property
    def sampling_flag(self) -> str | None:
        """What the engine is to be told; nothing of its default."""
        return None if self.draft_sampling == SAMPLINGS[0] else self.draft_sampling

    @property
    def name(self) -> str:
        """`off`, `n-max 3`, `n-max 5, p-min 0.5`."""
        if not self.n_max:
            return "off"
        more = f", p-min {self.p_min:g}" if self.p_min else ""
        sampling = "" if self.draft_sampling == SAMPLINGS[0] else f", {self.draft_sampling}"
        return f"n-max {self.n_max}{more}{sampling}"


@dataclass(frozen=True, slots=True)
class Options:
    """What the build and the work allow besides n-max."""

    has_p_min: bool
    has_probabilistic: bool


def next_arm(
    curve: Curve, speeds: Mapping[Arm, float], options: Options, acceptance: float | None
) -> Arm | None:
    """The next one, None when enough is known. `speeds` are tokens per second of arms so far, and
    `acceptance` that of the best one."""
    if len(speeds) >= MOST_ARMS:
        return None
    plain = {arm.n_max: speed for arm, speed in speeds.items() if arm.is_plain}
    if not plain:
        return Arm(curve.best)
    if 0 not in plain:
        return Arm(0)
    if not any(plain):
        return Arm(max(range(1, len(curve.step_s)), key=curve.tokens_per_s))
    best = max(plain, key=lambda n: plain[n])
    promising = [
        n
        for n in range(1, len(curve.step_s))
        if n not in plain and curve.tokens_per_s(n) > WORTH * plain[best]
    ]
    # Those beside the best one are measured anyway; against off, all that may be as fast.
    beside = [n for n in promising if not best or abs(n - best) == 1]
    alike = [n for n in promising if curve.tokens_per_s(n) > ALIKE * plain[best]]
    for some in (alike, beside):
        if some:
            return Arm(max(some, key=curve.tokens_per_s))
    return _variant(best, speeds, options, acceptance, len(curve.step_s) - 1)


def _variant(
    best: int,
    speeds: Mapping[Arm, float],
    options: Options,
    acceptance: float | None,
    most: int,
) -> Arm | None:
    """The best n-max once more, with another rule for what is drafted."""
    if not best:
        return None
    tried = [arm for arm in speeds if not arm.is_plain]
    wanted = []
    if options.has_probabilistic:
        wanted.append(Arm(best, draft_sampling=SAMPLINGS[1]))
    if options.has_p_min and acceptance is not None and acceptance < _SURE:
        wanted.append(Arm(min(best + 2, most), P_MIN))
    return next((arm for arm in wanted if arm not in tried), None)


def winner(speeds: Mapping[Arm, float]) -> Arm:
    """The arm to run with: the simplest of those that are nearly the fastest, and off where MTP
    hardly gains."""
    best, off = max(speeds.values()), speeds.get(Arm(0))
    if off is not None and best < _HARDLY * off:
        return Arm(0)
    enough = [arm for arm, speed in speeds.items() if speed >= _NEARLY * best and arm.n_max]
    return min(enough, key=_effort)


def _effort(arm: Arm) -> tuple[bool, int]:
    return (not arm.is_plain, arm.n_max)
