"""What tune makes of what it sees: steps of a stream, the curve, and the arms that it asks for."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence

import pytest
from tune_simulation import KINDS, Simulated, monotone, sweep_s, tune

from llmtp.engine.steps import Step, answer_of, hits, step_error, step_s
from llmtp.engine.timings import Timings
from llmtp.errors import UsageError
from llmtp.tune.curve import Probed, curve_of
from llmtp.tune.measure import Known, Visit
from llmtp.tune.search import MOST_ARMS, P_MIN, TOP, Arm, Options, next_arm, winner
from llmtp.tune.work import Work

#: Tokens per second by n-max of the 12B with drafts right at 0.8 on an H100: CUDA b11434 and
#: Vulkan b10434.
CUDA = {0: 130, 1: 193, 2: 223, 3: 231, 4: 226, 6: 214, 8: 209, 12: 209}
VULKAN = {0: 103, 1: 131, 2: 150, 3: 145, 4: 151, 8: 79, 12: 70}
#: Of the same 12B's shape in 0.3 GB on two cores.
CPU = {0: 73, 1: 65, 2: 51.5, 3: 53.7, 4: 40.7, 6: 40, 8: 35, 12: 30}
NO_OPTIONS = Options(has_p_min=False, has_probabilistic=False)


def engine_of(
    speeds: Mapping[int, float], draft_s: float, acceptance: Sequence[float], alone_s: float = 0.0
) -> Simulated:
    """With step times that give these speeds where drafts are right at 0.8."""
    times = {n: sum(0.8**k for k in range(n + 1)) / speed for n, speed in speeds.items()}
    verify_s = []
    for n in range(TOP + 1):
        low, high = max(k for k in times if k <= n), min(k for k in times if k >= n)
        share = (n - low) / (high - low) if high > low else 0.0
        verify_s.append(times[low] + share * (times[high] - times[low]) - n * draft_s)
    return Simulated(verify_s, draft_s, acceptance, alone_s=alone_s)


@pytest.mark.parametrize("alone_s", [0.0, 0.003])
@pytest.mark.parametrize("share", [0.8, 0.6, 0.4])
@pytest.mark.parametrize(
    ("speeds", "draft_s"),
    [(CUDA, 0.0006), (VULKAN, 0.0008), (CPU, 0.001)],
    ids=["cuda", "vulkan", "cpu"],
)
def test_it_finds_the_best_of_curves_that_were_measured(
    speeds: Mapping[int, float], draft_s: float, share: float, alone_s: float
) -> None:
    """Within three percent of the best arm, in less than half the time of a sweep over ten."""
    engine = engine_of(speeds, draft_s, [share] * 4, alone_s)
    runs = [tune(engine, random.Random(seed)) for seed in range(6)]
    for run in runs:
        assert engine.truth(run.chosen) > 0.97 * engine.best, run
        assert Arm(0) in run.measured
    assert sum(run.wall_s for run in runs) / len(runs) < 0.5 * sweep_s(engine)


def test_off_is_the_verdict_where_a_cpu_loses() -> None:
    for seed in range(5):
        run = tune(engine_of(CPU, 0.001, [0.8] * 4), random.Random(seed))
        assert run.chosen == Arm(0)
        assert len(run.measured) == 2


def test_it_finds_the_best_of_any_curve_that_grows() -> None:
    """With a cliff somewhere, and other acceptance for each kind of text."""
    lost = []
    for seed in range(60):
        rng = random.Random(seed)
        engine = Simulated(
            monotone(rng),
            rng.uniform(0.0001, 0.002),
            [rng.uniform(0.3, 0.95) for _ in KINDS],
            alone_s=rng.uniform(0, 0.003),
        )
        run = tune(engine, rng)
        assert len(run.measured) <= MOST_ARMS
        between = [s for n, s in enumerate(run.step_s) if n and Arm(n) not in run.measured]
        assert between == sorted(between)
        lost.append(1 - engine.truth(run.chosen) / engine.best)
    assert sorted(lost)[56] < 0.03
    assert max(lost) < 0.06


def timings(predicted: int, predicted_ms: float, drafted: int, accepted: int) -> Timings:
    return Timings.of(
        {
            "timings": {
                "predicted_n": predicted,
                "predicted_ms": predicted_ms,
                "draft_n": drafted,
                "draft_n_accepted": accepted,
            }
        }
    )


#: As llama-server b10068 told them, a chunk a token, at n-max 12 and 24 tokens.
STREAM = [
    (1, 0.0, 0, 0), (2, 195.5, 12, 1), (3, 195.5, 12, 1), (4, 352.7, 24, 3), (5, 352.7, 24, 3),
    (6, 352.7, 24, 3), (7, 485.3, 31, 4), (8, 485.3, 31, 4), (9, 621.4, 33, 5), (10, 621.4, 33, 5),
    (10, 621.4, 33, 5),
]  # fmt: skip


def test_steps_of_a_stream() -> None:
    answer = answer_of(timings(*one) for one in STREAM)
    assert [(step.drafted, step.accepted) for step in answer.steps] == [
        (12, 1), (12, 2), (7, 1), (2, 1)
    ]  # fmt: skip
    assert [round(step.took_s, 4) for step in answer.steps] == [0.1955, 0.1572, 0.1326, 0.1361]
    assert answer.timings.predicted == 10


def test_a_stream_without_drafts() -> None:
    answer = answer_of(timings(n, 10.0 * (n - 1), 0, 0) for n in range(1, 5))
    assert [(step.drafted, step.accepted, round(step.took_s, 3)) for step in answer.steps] == [
        (0, 0, 0.01)
    ] * 3


def test_text_that_was_held_back_makes_no_step() -> None:
    """A chunk that comes late tells of two steps at once: their times cannot be told apart."""
    answer = answer_of(timings(*one) for one in [(1, 0, 0, 0), (6, 40.0, 4, 3), (8, 60.0, 6, 4)])
    assert [(step.drafted, step.accepted) for step in answer.steps] == [(4, 4), (2, 1)]
    late = answer_of(timings(*one) for one in [(1, 0, 0, 0), (7, 40.0, 4, 4), (8, 50.0, 4, 4)])
    assert [(step.drafted, step.accepted) for step in late.steps] == [(0, 0)]


def test_a_stream_without_timings_has_no_steps() -> None:
    answer = answer_of(Timings.of({}) for _ in range(3))
    assert answer.steps == ()
    assert answer_of([]).steps == ()


def test_hits_count_what_reached_a_position() -> None:
    steps = [Step(3, 3, 0.1), Step(3, 1, 0.1), Step(1, 1, 0.1), Step(0, 0, 0.1)]
    assert hits(steps, 4) == [(3, 3), (1, 2), (1, 2), (0, 0)]


def a_probe(**changes: object) -> Probed:
    long = {kind: tuple(Step(TOP, n % 3, 0.030) for n in range(30)) for kind in KINDS}
    short = tuple(Step(n, 0, 0.010 + 0.001 * n + (0.012 if n else 0)) for n in range(TOP + 1))
    fields = {"top": TOP, "long": long, "short": short, "draft_s": 0.001} | changes
    return Probed(**fields)  # type: ignore[arg-type]  # as in the class


def test_the_curve_takes_off_what_was_drafted_for_nothing() -> None:
    """Verifying n drafts took 10 + n ms, drafting one takes 1 ms: 10 + 2n in all."""
    probed = a_probe()
    curve = curve_of(probed, {}, probed.long)
    assert curve is not None
    shift = 0.030 - (0.010 + 0.024)  # of steps in a row against steps alone
    for n in range(1, TOP):
        assert curve.step_s[n] == pytest.approx(0.010 + 0.002 * n + shift)
    assert curve.step_s[TOP] == pytest.approx(0.030)
    assert curve.tokens[0] == 1
    assert curve.tokens[1] == pytest.approx(1 + 2 / 3)
    assert curve.tokens[2] == curve.tokens[TOP] == pytest.approx(2)


def test_what_was_measured_counts_more_and_moves_what_is_beside_it() -> None:
    probed = a_probe()
    curve = curve_of(probed, {0: 0.010, 4: 0.020}, probed.long)
    assert curve is not None
    assert (curve.step_s[0], curve.step_s[4]) == (0.010, 0.020)
    level = 0.030 - 0.034
    beyond = 0.020 - (0.018 + level)  # of n-max 4, of which 3 and 5 get two thirds, and 2 half
    assert curve.step_s[3] == pytest.approx(0.016 + level + beyond / 1.5)
    assert curve.step_s[2] == pytest.approx(0.014 + level + beyond / 2)
    only_off = curve_of(probed, {0: 0.002}, probed.long)
    assert only_off is not None
    assert only_off.step_s[1] == pytest.approx(0.012 + level)


def test_a_curve_needs_more_than_one_batch() -> None:
    probed = a_probe(short=(), long={})
    assert curve_of(probed, {}, probed.long) is None


def test_a_curve_is_drawn_straight_where_nothing_was_seen() -> None:
    few = tuple(step for step in a_probe().short if step.drafted in (0, 4, TOP))
    probed = a_probe(short=few)
    curve = curve_of(probed, {}, probed.long)
    assert curve is not None
    assert curve.step_s[2] == pytest.approx((curve.step_s[0] + curve.step_s[4]) / 2)


def test_a_step_that_was_slow_by_chance_is_pulled_down() -> None:
    """A larger batch takes no less time: 10, 30, 14 ms are taken for 10, 22, 22."""
    short = tuple(Step(n, 0, s + (0.011 if n == 1 else 0.010 if n == 2 else 0))
                  for n, s in ((0, 0.010), (1, 0.030), (2, 0.014), (TOP, 0.040)))  # fmt: skip
    probed = a_probe(short=short, long={"code": (Step(TOP, 2, 0.040),)})
    curve = curve_of(probed, {}, probed.long)
    assert curve is not None
    assert [round(took_s, 4) for took_s in curve.step_s[:3]] == [0.010, 0.022, 0.022]


def test_builds_that_tell_no_drafting_time() -> None:
    probed = a_probe(draft_s=None)
    assert curve_of(probed, {}, probed.long) is not None


@pytest.mark.parametrize(
    ("speeds", "best"),
    [
        ({Arm(0): 100.0, Arm(2): 101.0}, Arm(0)),
        ({Arm(0): 100.0, Arm(2): 103.0}, Arm(2)),
        ({Arm(0): 100.0, Arm(2): 150.0, Arm(4): 151.0}, Arm(2)),
        ({Arm(0): 100.0, Arm(2): 150.0, Arm(4): 160.0}, Arm(4)),
        ({Arm(0): 100.0, Arm(2): 150.0, Arm(4, P_MIN): 151.0}, Arm(2)),
        ({Arm(0): 100.0, Arm(2): 150.0, Arm(4, P_MIN): 160.0}, Arm(4, P_MIN)),
    ],
)
def test_the_simplest_of_those_that_are_nearly_the_fastest(
    speeds: dict[Arm, float], best: Arm
) -> None:
    assert winner(speeds) == best


def test_other_rules_for_drafts_come_last_and_once() -> None:
    probed = a_probe()
    curve = curve_of(probed, {}, probed.long)
    assert curve is not None
    speeds = {Arm(0): 10.0, **{Arm(n): curve.tokens_per_s(n) for n in (1, 2, 3)}}
    best = max(speeds, key=lambda arm: speeds[arm]).n_max
    options = Options(has_p_min=True, has_probabilistic=True)
    assert next_arm(curve, speeds, NO_OPTIONS, 0.5) is None
    assert next_arm(curve, speeds, options, 0.5) == Arm(best, draft_sampling="probabilistic")
    speeds[Arm(best, draft_sampling="probabilistic")] = 1.0
    assert next_arm(curve, speeds, options, 0.5) is None, "too many"
    only_p_min = Options(has_p_min=True, has_probabilistic=False)
    del speeds[Arm(best, draft_sampling="probabilistic")]
    assert next_arm(curve, speeds, only_p_min, 0.5) == Arm(best + 2, P_MIN)
    assert next_arm(curve, speeds, only_p_min, 0.65) is None
    off_is_best = {Arm(0): 900.0, Arm(best): 100.0}
    assert next_arm(curve, off_is_best, options, 0.5) is None


def test_arms_that_gave_up_early_are_compared_on_what_both_answered() -> None:
    def visit(n_max: int, rounds: int, speed: float) -> Visit:
        harder = {number: 1 - 0.1 * number for number in range(rounds)}
        speeds = {("code", number): speed * factor for number, factor in harder.items()}
        return Visit(Arm(n_max), speeds, {"code": ()})

    known = Known(visits=[visit(2, 3, 100.0), visit(0, 1, 90.0), visit(3, 3, 110.0)])
    two, off, three = known.speeds[Arm(2)], known.speeds[Arm(0)], known.speeds[Arm(3)]
    assert off == pytest.approx(0.9 * two)
    assert three == pytest.approx(1.1 * two)


def test_how_much_is_asked() -> None:
    work = Work.of(None, 0.0)
    assert [one.kind for one in work.prompts(0)] == list(KINDS)
    assert len({one.text for number in range(4) for one in work.prompts(number)}) == 16
    assert work.amount(150.0) == work.amount(140.0)
    fast, slow, crawling = work.amount(1000.0), work.amount(20.0), work.amount(0.5)
    assert (fast.rounds, fast.tokens) == (4, 256)
    assert (slow.rounds, slow.tokens) == (4, 48)
    assert (crawling.rounds, crawling.tokens) == (1, 48)
    assert [one.kind for one in Work.of("json", 0.0).prompts(0)] == ["json"]
    with pytest.raises(UsageError, match="prosa") as caught:
        Work.of("prosa", 0.0)
    assert "prose" in str(caught.value.findings[0].fix)


def test_the_error_of_a_median_is_that_of_many_medians(dice: random.Random) -> None:
    """Against the spread of medians of as many steps, drawn again and again."""

    def some(count: int) -> list[Step]:
        return [Step(3, 1, dice.gauss(0.010, 0.0004)) for _ in range(count)]

    for count in (40, 160):
        medians = [step_s(some(count), 3) or 0.0 for _ in range(400)]
        errors = [step_error(some(count), 3) or 0.0 for _ in range(400)]
        assert statistics.median(errors) == pytest.approx(
            statistics.stdev(medians) / 0.010, rel=0.15
        )
    assert step_error(some(15), 3) is None
    assert step_error(some(40), 4) is None
    assert step_error([Step(3, 1, 0.01)] * 40, 3) == 0.0
