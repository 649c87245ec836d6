"""What a bench adds up to, from answers that are made up: no server, no clock."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtp.bench.answers import Answered, Likely
from llmtp.bench.checks import check
from llmtp.bench.compare import compare
from llmtp.bench.depth import deep_question, records
from llmtp.bench.estimate import Ratio, geometric_mean, mean_ratio
from llmtp.bench.measure import Measured, Visit
from llmtp.bench.result import add_up, widest_interval
from llmtp.bench.same import NEAR_TIE, judge, suspects
from llmtp.bench.scheme import LEAST_TOKENS, MOST_TOKENS, WHOLE_TOKENS, Cell, Question, Scheme
from llmtp.bench.verdict import decide
from llmtp.bench.workloads import WORKLOADS, Workload, chosen
from llmtp.engine.timings import Timings
from llmtp.errors import UsageError
from llmtp.metrics.counters import Drafting
from llmtp.start import Memory

CODE, PROSE = Workload("code", ("a", "b", "c", "d")), Workload("prose", ("e", "f", "g", "h"))
NOTHING = Memory(0, None, None)


def near(value: Any, rel: float | None = None) -> Any:
    """As pytest compares numbers of binary fractions."""
    return pytest.approx(value, rel=rel)


def answered(
    cell: Cell,
    number: int,
    n_max: int,
    *,
    round_number: int = 0,
    step_s: float = 0.01,
    steps: int = 20,
    accepted: int = 0,
    tokens: Sequence[int] = (1, 2, 3),
) -> Answered:
    """One answer: its predicted tokens are the first one, one a step, and the accepted."""
    question = Question(cell, number, cell.workload.prompts[number - 1], False)
    timings = Timings(
        prompt_tokens=10,
        prompt_s=0.05,
        predicted=1 + steps + accepted,
        predicted_s=steps * step_s,
        drafted=steps * n_max,
        accepted=accepted,
    )
    return Answered(question, n_max, round_number, timings, "text", tuple(tokens), True)


def measured(scheme: Scheme, answers: Sequence[Answered], rounds: int = 1) -> Measured:
    visits = []
    for n_max in scheme.arms:
        of_arm = [one for one in answers if one.n_max == n_max]
        drafting: dict[str, Drafting] = {}
        for cell in scheme.cells:
            mine = [one for one in of_arm if one.question.cell == cell]
            steps = sum(one.timings.steps for one in mine)
            accepted = sum(one.timings.accepted for one in mine)
            if n_max and mine:
                drafting[cell.name] = Drafting(steps, steps * n_max, accepted, (float(accepted),))
        visits.append(Visit(n_max, 0, tuple(of_arm), drafting, NOTHING, 0.0, 1.0))
    return Measured(scheme, rounds=rounds, visits=visits)


def scheme(n_maxes: Sequence[int], *workloads: Workload, budget_s: float = 100) -> Scheme:
    return Scheme.of(n_maxes, workloads or (CODE,), [0], [0.0], budget_s, None)


def test_a_mean_of_rounds_and_its_interval_by_hand() -> None:
    """Logs of 1, 2, 4: mean and deviation are log 2, t of two degrees of freedom is 4.303."""
    ratio = mean_ratio([1.0, 2.0, 4.0])
    assert ratio is not None
    assert ratio.value == near(2.0)
    margin = 4.303 * math.log(2) / math.sqrt(3)
    assert ratio.low == near(2 * math.exp(-margin))
    assert ratio.high == near(2 * math.exp(margin))
    assert ratio.half_width == near(math.exp(margin) - 1)


def test_too_few_rounds_tell_no_interval() -> None:
    assert mean_ratio([1.0, 4.0]) == Ratio(near(2.0), None, None)
    assert mean_ratio([]) is None
    assert geometric_mean([]) is None
    assert Ratio(2.0, None, None).is_above(1)
    assert not Ratio(1.2, None, None).is_above(1)
    assert Ratio(0.7, None, None).is_below(1)
    assert Ratio(1.2, 1.1, 1.3).is_above(1)
    assert not Ratio(1.2, 0.9, 1.6).is_above(1)


@given(st.lists(st.floats(0.01, 100), min_size=3, max_size=60))
def test_an_interval_holds_its_mean(values: list[float]) -> None:
    ratio = mean_ratio(values)
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.high is not None
    assert min(values) * 0.999 <= ratio.value <= max(values) * 1.001
    assert ratio.low <= ratio.value * 1.0001
    assert ratio.high >= ratio.value * 0.9999


def test_an_interval_holds_the_truth_as_often_as_it_says(dice: random.Random) -> None:
    """Starts that differ by 5 percent, answers by 3: of 400 runs of six rounds some 20 miss."""
    plan = scheme([1], CODE, PROSE)
    missed = 0
    for _ in range(400):
        answers = []
        for round_number in range(6):
            for n_max in (0, 1):
                start = dice.gauss(0, 0.05)
                answers += [
                    answered(cell, round_number % 4 + 1, n_max, round_number=round_number,
                             step_s=0.01 * math.exp(start + dice.gauss(0, 0.03)))
                    for cell in plan.cells
                ]  # fmt: skip
        speedup = add_up(measured(plan, answers)).overall[1].speedup
        assert speedup is not None
        assert speedup.low is not None
        assert speedup.high is not None
        missed += not speedup.low <= 1 <= speedup.high
    assert missed <= 45  # more than 5 in a million runs of a right one would have


def test_arms_are_walked_there_and_back() -> None:
    plan = scheme([3, 1, 3])
    assert plan.arms == (0, 1, 3)
    assert [plan.order(n) for n in range(3)] == [(0, 1, 3), (3, 1, 0), (0, 1, 3)]


def test_each_round_has_other_questions_and_begins_anew_when_there_are_no_more() -> None:
    plan = scheme([1], CODE, PROSE)
    asked = [[question.id for question in plan.questions(n)] for n in range(5)]
    assert asked[0] == ["code-1", "prose-1"]
    assert asked[1] == ["code-2", "prose-2"]
    assert asked[4] == asked[0]
    one = scheme([1], Workload("own", ("only",)))
    assert [question.id for question in one.questions(5)] == ["own-1"]


def test_the_structured_prompts_come_first_and_are_asked_whole() -> None:
    first = [q for q in scheme([1], *WORKLOADS).questions(0) if q.is_whole]
    assert [q.text for q in first] == [
        "Write a Python function that converts a Markdown table to CSV.",
        'Fix the following JSON and output only valid JSON:\n{"name":"demo","items":[{"id":1,'
        '"tags":["a","b",],},]}',
        "Output 5 Linux troubleshooting steps in a fixed format. Each item should include: "
        "problem, command, and judgment criteria.",
    ]
    assert not any(q.is_whole for q in scheme([1], *WORKLOADS).questions(1))


def test_answers_are_as_long_as_the_budget_allows() -> None:
    """Half of it for four rounds: a fast machine gives long answers, a slow one short ones."""
    plan = scheme([1], CODE, PROSE, budget_s=100)
    assert plan.lengths(10_000).tokens == MOST_TOKENS
    assert plan.lengths(10_000).whole == WHOLE_TOKENS
    slow = plan.lengths(1)
    assert (slow.tokens, slow.whole) == (LEAST_TOKENS, LEAST_TOKENS)
    # 50 s at 40 a second are 2,000 tokens: 700 for the two whole answers, 92 for 14 others each.
    assert plan.lengths(40).tokens == 64
    fixed = Scheme.of([1], [CODE], [0], [0.0], None, 33).lengths(1e9)
    assert (fixed.tokens, fixed.whole) == (33, 33)
    toy = replace(plan, is_small=True).lengths(1)
    assert (toy.tokens, toy.whole) == (LEAST_TOKENS, WHOLE_TOKENS)
    own = scheme([1], Workload("own", ("mine",))).lengths(10_000)
    assert own.whole == own.tokens == MOST_TOKENS


def test_a_round_takes_its_answers_and_its_prompts() -> None:
    plan = Scheme.of([1, 2], [PROSE], [0, 1000], [0.0], 100, 60)
    assert plan.round_s(plan.lengths(1), 30, 0.01) == near(3 * (2 * 60 / 30 + 10))


@given(
    st.lists(st.integers(1, 16), min_size=1, max_size=16),
    st.integers(1, 6),
    st.floats(0.01, 1e6),
    st.floats(1, 86400),
)
def test_lengths_stay_in_their_bounds(
    n_maxes: list[int], kinds: int, speed: float, budget_s: float
) -> None:
    lengths = scheme(n_maxes, *WORKLOADS[:kinds], budget_s=budget_s).lengths(speed)
    assert LEAST_TOKENS <= lengths.tokens <= MOST_TOKENS
    assert lengths.tokens <= lengths.whole <= WHOLE_TOKENS


def test_names_of_cells() -> None:
    names = [cell.name for cell in Scheme.of([1], [CODE], [0, 4096, 1000], [0, 0.7], 1, 1).cells]
    assert names == ["code", "code at 4k", "code at 1,000", "code, temp 0.7",
                     "code at 4k, temp 0.7", "code at 1,000, temp 0.7"]  # fmt: skip


def test_speed_cost_and_break_even_by_hand() -> None:
    """Steps of 10 ms without, of 16 ms at n-max 2 with 1.2 drafts right in each of 20 steps.

    A step costs 1.6 plain ones and yields 2.2 tokens: 1.375 times as fast. It pays where it yields
    1.6, so with 0.6 of two drafts right: 30 percent; 1.2 of two are 60.
    """
    plan = scheme([2])
    (cell,) = plan.cells
    answers = [
        answered(cell, number, n_max, round_number=number, step_s=step_s, accepted=accepted)
        for number in (1, 2, 3)
        for n_max, step_s, accepted in ((0, 0.010, 0), (2, 0.016, 24))
    ]
    result = add_up(measured(plan, answers))
    off, on = result.overall
    assert off.tokens_per_s == near(100)
    assert on.tokens_per_s == near(137.5)
    assert on.speedup == Ratio(*[near(1.375)] * 3)
    assert on.step_cost == near(1.6)
    assert (on.acceptance, on.break_even) == (near(0.6), near(0.3))
    assert on.mean_accepted_length == near(2.2)
    assert on.acceptance_per_position == (near(1.0), 0.0)
    assert on.first_token_s == near(0.05)
    assert (off.acceptance, off.break_even, off.mean_accepted_length) == (None, None, None)
    verdict = decide(result, planned=2)
    assert (verdict.n_max, verdict.is_sure) == (2, True)
    assert verdict.first == "keep n-max 2: it is 1.38 times as fast as without (1.38 to 1.38)"
    assert verdict.more == (
        "at n-max 2 MTP pays above 30% acceptance, yours is 60%: a step costs 1.60 plain ones",
    )


def test_speedup_is_the_ratio_of_the_rates_that_are_told() -> None:
    plan = scheme([1], CODE, PROSE)
    answers = [
        answered(cell, number, n_max, step_s=0.01 * number + 0.003 * n_max, accepted=n_max * number)
        for cell in plan.cells
        for number in (1, 2)
        for n_max in (0, 1)
    ]
    off, on = add_up(measured(plan, answers)).overall
    assert on.speedup is not None
    assert on.tokens_per_s is not None
    assert off.tokens_per_s is not None
    assert on.speedup.value == near(on.tokens_per_s / off.tokens_per_s)


def costs(plan: Scheme, by_cell: dict[str, dict[int, float]]) -> Measured:
    """Speeds of arms against off, by workload, with a little noise."""
    answers = []
    for cell in plan.cells:
        for n_max, speedup in ({0: 1.0} | by_cell[cell.workload.name]).items():
            for number, noise in ((1, 0.99), (2, 1.01), (3, 1.0)):
                step_s = 0.01 / speedup * (noise if n_max else 1)
                answers.append(answered(cell, number, n_max, round_number=number, step_s=step_s))
    return measured(plan, answers, rounds=2)


@pytest.mark.parametrize(
    ("speeds", "planned", "n_max", "sentence"),
    [
        ({"code": {1: 1.3, 3: 1.6}, "prose": {1: 1.2, 3: 1.3}}, 3, 3,
         "keep n-max 3: it is 1.44 times"),
        ({"code": {1: 1.3, 3: 1.6}, "prose": {1: 1.2, 3: 1.3}}, 1, 3,
         "run with --n-max 3 instead of n-max 1: it is 1.44 times"),
        ({"code": {1: 1.3, 3: 1.6}, "prose": {1: 1.2, 3: 1.3}}, 0, 3,
         "run with --n-max 3 instead of MTP off: it is 1.44 times"),
        ({"code": {1: 1.3, 3: 1.8}, "prose": {1: 1.1, 3: 0.8}}, 3, 1,
         "; n-max 3 is better for code"),
        ({"code": {1: 1.5, 3: 2.0}, "prose": {1: 0.9, 3: 0.8}}, 3, 3, "; off is better for prose"),
        ({"code": {1: 0.9, 3: 0.8}, "prose": {1: 0.8, 3: 0.5}}, 3, 0,
         "turn MTP off (run with --n-max off): even the best, n-max 1, is 0.85 times"),
        ({"code": {1: 0.9, 3: 0.8}, "prose": {1: 0.8, 3: 0.5}}, 0, 0,
         "leave MTP off: even the best"),
        ({"code": {1: 1.30, 3: 1.31}, "prose": {1: 1.30, 3: 1.31}}, 3, 1,
         "run with --n-max 1 instead of n-max 3"),
        ({"code": {1: 1.02, 3: 1.01}, "prose": {1: 1.02, 3: 1.01}}, 1, 0, "turn MTP off"),
    ],
    ids=["keep", "other", "on", "smaller", "not-for-prose", "off", "leave-off", "nearly", "tiny"],
)  # fmt: skip
def test_verdicts(
    speeds: dict[str, dict[int, float]], planned: int, n_max: int, sentence: str
) -> None:
    verdict = decide(add_up(costs(scheme([1, 3], CODE, PROSE), speeds)), planned)
    assert verdict.n_max == n_max
    assert sentence in verdict.first


def test_what_may_be_chance_is_no_exception() -> None:
    """Of two answers to prose one is faster at 1 and one at 3."""
    plan = scheme([1, 3], PROSE, CODE)
    answers = [
        answered(cell, number, n_max, round_number=number, step_s=0.01 / speedup)
        for cell in plan.cells
        for number, speedups in ((1, (1, 2.0, 1.0)), (2, (1, 1.0, 1.3)), (3, (1, 0.8, 1.5)))
        for n_max, speedup in zip(plan.arms, speedups, strict=True)
    ]
    verdict = decide(add_up(measured(plan, answers)), 1)
    assert "better" not in verdict.first
    assert not verdict.is_sure


def test_a_step_that_costs_more_than_all_its_drafts_never_pays() -> None:
    plan = scheme([1])
    (cell,) = plan.cells
    answers = [answered(cell, n, 0) for n in (1, 2)]
    answers += [answered(cell, n, 1, step_s=0.025, accepted=20) for n in (1, 2)]
    result = add_up(measured(plan, answers))
    assert result.best.break_even == near(1.5)
    assert "never pays here: a step costs 2.50 plain ones" in decide(result, 1).more[0]


def test_one_round_of_one_prompt_tells_no_interval() -> None:
    plan = scheme([1], Workload("own", ("only",)))
    (cell,) = plan.cells
    seen = measured(plan, [answered(cell, 1, 0), answered(cell, 1, 1, accepted=20)])
    assert widest_interval(seen.answers, plan) is None
    verdict = decide(add_up(seen), 1)
    assert (verdict.n_max, verdict.is_sure) == (1, True)  # twice as fast is clear enough
    assert "keep n-max 1: it is 2.00 times" in verdict.first
    assert "too few rounds for an interval" in verdict.first


def test_the_same_answers_leave_no_suspect_and_others_their_first_difference() -> None:
    cell = Cell(CODE, 0, 0.0)
    off = answered(cell, 1, 0, tokens=(5, 6, 7, 8))
    assert suspects([off, answered(cell, 1, 1, tokens=(5, 6, 7, 8))]) == []
    (suspect,) = suspects([off, answered(cell, 1, 2, tokens=(5, 6, 9, 8))])
    assert (suspect.before, suspect.off, suspect.arm, suspect.n_max) == ((5, 6), 7, 9, 2)
    (shorter,) = suspects([off, answered(cell, 1, 2, tokens=(5, 6))])
    assert (shorter.before, shorter.off, shorter.arm) == ((5, 6), 7, None)
    warm = Cell(CODE, 0, 0.7)
    sampled = [answered(warm, 1, 0), answered(warm, 1, 1, tokens=(9,))]
    assert suspects(sampled) == []


@pytest.mark.parametrize(
    ("top", "gap", "tie"),
    [
        ([(7, "a", -0.60), (9, "b", -0.70)], 0.1, True),
        ([(9, "b", -0.60), (7, "a", -0.70)], 0.0, True),
        ([(7, "a", 0.0), (9, "b", -NEAR_TIE)], NEAR_TIE, False),
        ([(7, "a", -0.01), (9, "b", -5.0)], 4.99, False),
        ([(7, "a", -0.01), (4, "c", -5.0)], None, False),
        ([], None, None),
    ],
    ids=["tie", "other-way", "bound", "clear", "unlikely", "not-told"],
)
def test_ties_are_told_from_changes(
    top: list[tuple[int, str, float]], gap: float | None, tie: bool | None
) -> None:
    cell = Cell(CODE, 0, 0.0)
    (suspect,) = suspects(
        [answered(cell, 1, 0, tokens=(5, 7)), answered(cell, 1, 1, tokens=(5, 9))]
    )
    found = judge(suspect, Likely(tuple(top)))
    assert (found.gap, found.is_near_tie) == (gap and near(gap), tie)
    assert found.to_dict()["near_tie"] is tie


FENCED = "Here it is:\n```python\ndef f(x):\n    return x\n```\nIt returns x."
FIVE = "\n".join(
    f"{n}. Problem: the disk is full\n   Command: `df -h`\n   Judgment criteria: over 90%"
    for n in range(1, 6)
)


@pytest.mark.parametrize(
    ("workload", "answer", "why"),
    [
        ("code", FENCED, None),
        ("code", "def f():\n    return 1\n", None),
        ("code", FENCED.replace("return x\n", "return (x\n"), "line 2: '(' was never closed"),
        ("code", "```python\nx = 1\n```", "it defines no function"),
        ("code", "```\n", "invalid syntax"),
        ("code", "", "the answer is empty"),
        ("code", "def f():\n    return '\\d'\n", None),
        ("code", "(" * 5000, "too many nested parentheses"),
        ("code", "def f(): pass\0", "null bytes"),
        ("code", "def f(): pass\nreturn 5", "'return' outside function"),
        ("json", '{"name": "demo"}', None),
        ("json", '```json\n{"name": "demo"}\n```', None),
        ("json", "Sure! {}", "Expecting value"),
        ("json", "[NaN]", "NaN is no JSON"),
        ("json", "42", "neither an object nor a list"),
        ("json", '{"a": [1,]}', ""),
        ("json", "[" * 100_000, "nested too deeply"),
        ("list", FIVE, None),
        ("list", FIVE.replace("Judgment criteria", "**Judgement**"), None),
        ("list", FIVE.replace("1. ", "### Step 1: "), None),
        ("list", FIVE.replace("5. ", ""), "4 numbered items, not 5"),
        ("list", FIVE.replace("Command", "Run", 1), "item 1 lacks command"),
        ("list", "", "0 numbered items"),
    ],
)
def test_forms_of_structured_answers(workload: str, answer: str, why: str | None) -> None:
    found = check(workload, answer)
    assert (found is None) == (why is None), found
    assert (why or "") in (found or "")


@given(st.text(max_size=2000))
def test_no_answer_breaks_a_check(answer: str) -> None:
    for workload in ("code", "json", "list"):
        assert check(workload, answer) is None or check(workload, answer)


def test_a_deep_question_is_as_deep_as_asked_and_never_the_same() -> None:
    text = deep_question("Why?", 1000, 20.0, seed=1)
    assert text.count("Day ") == 50
    assert text.endswith("Why?")
    assert records(50, 1) != records(50, 2)
    assert not set(records(200, 1).splitlines()) & set(records(200, 2).splitlines())


def test_workloads_are_known_by_name() -> None:
    assert [one.name for one in chosen(["prose", "code"])] == ["code", "prose"]
    for one in WORKLOADS:
        assert len(set(one.prompts)) == len(one.prompts) >= 8
    with pytest.raises(UsageError, match="cod"):
        chosen(["cod"])


def record(speeds: dict[tuple[str, int], list[float]], **more: Any) -> dict[str, Any]:
    """As much of one as a comparison reads; a list has the speeds of rounds 0, 1, ..."""
    n_maxes = sorted({n_max for _, n_max in speeds})
    return {
        "model": "m",
        "llmtp": "1",
        "machine": {"system": "s", "cpu": "c", "driver": None, "devices": []},
        "engine": {"build": "b1", "path": "/e", "file_bytes": 7},
        "files": [{"role": "main", "path": "/m", "file_bytes": 10, "fingerprint": "f"}],
        "plan": dict.fromkeys(PLANNED, 1),
        "settings": {"tokens": 64},
        "noticed": [],
        "verdict": {"n_max": max(n_maxes)},
        "arms": [
            {
                "n_max": n_max,
                "argv": ["/e", "--port", "1", "--model", "/m", "--metrics"],
                "prompts": [
                    {"cell": cell, "question": f"q{r}", "round": r, "tokens_per_s": speed}
                    for (cell, n), values in speeds.items()
                    if n == n_max
                    for r, speed in enumerate(values)
                ],
            }
            for n_max in n_maxes
        ],
    } | more


PLANNED = ("ctx_size", "parallel", "kv_type", "ubatch", "gpu_layers", "cpu_experts", "threads",
           "tensor_split")  # fmt: skip
BASE = {("code", 0): [100.0, 102.0, 98.0, 101.0], ("code", 2): [150.0, 149.0, 152.0, 151.0]}


def scaled(*factors: float) -> dict[tuple[str, int], list[float]]:
    """The base with one factor an arm."""
    return {
        place: [speed * factor * (1 + 0.001 * i) for i, speed in enumerate(values)]
        for (place, values), factor in zip(BASE.items(), factors, strict=True)
    }


@pytest.mark.parametrize(
    ("factors", "slower"),
    [((1.0, 1.0), []), ((0.96, 0.96), []), ((0.9, 1.0), [0]), ((1.0, 0.9), [2]),
     ((0.8, 0.8), [0, 2]), ((1.2, 1.2), []), ((1.3, 0.9), [2])],
)  # fmt: skip
def test_slower_by_more_than_the_noise(factors: tuple[float, float], slower: list[int]) -> None:
    compared = compare(record(BASE), record(scaled(*factors)))
    assert [arm.n_max for arm in compared.slower] == slower
    assert [arm.ratio.value for arm in compared.arms] == near(factors, rel=0.01)


def test_a_wide_spread_is_no_proof() -> None:
    spread = {place: [v * f for v, f in zip(values, (0.6, 1.1, 0.7, 1.2), strict=True)]
              for place, values in BASE.items()}  # fmt: skip
    assert compare(record(BASE), record(spread)).slower == []


def test_a_machine_that_was_not_idle_has_more_noise() -> None:
    loaded = record(scaled(0.8, 0.8), noticed=[{"rule": "other-load"}])
    assert compare(record(BASE), loaded).is_loaded
    assert compare(record(BASE), loaded).slower == []
    far = record(scaled(0.5, 1.0), noticed=[{"rule": "other-load"}])
    assert [arm.n_max for arm in compare(record(BASE), far).slower] == [0]


def test_too_few_rounds_need_a_great_difference() -> None:
    two = {place: values[:2] for place, values in BASE.items()}
    ones = {place: [v * 0.85 for v in values] for place, values in two.items()}
    assert compare(record(two), record(ones)).slower == []
    halves = {place: [v * 0.5 for v in values] for place, values in two.items()}
    assert len(compare(record(two), record(halves)).slower) == 2


def test_what_changed_is_told() -> None:
    after = record(
        BASE,
        engine={"build": "b2", "path": "/e", "file_bytes": 7},
        plan=dict.fromkeys(PLANNED, 1) | {"ctx_size": 4096, "\x1b[31mforged": 1},
        settings={"tokens": 96},
        files=[{"role": "main", "path": "/m", "file_bytes": 10, "fingerprint": "g"}],
    )
    after["machine"] = after["machine"] | {"driver": "580.95"}
    after["arms"][1]["argv"] = ["/e", "--port", "9", "--model", "/m", "--metrics", "--no-mmap"]
    changes = {one.what: (one.before, one.after) for one in compare(record(BASE), after).changes}
    assert changes == {
        "build": ("b1", "b2"),
        "driver": ("None", "580.95"),
        "main file": ("/m, 10 bytes, f", "/m, 10 bytes, g"),
        "ctx_size": ("1", "4096"),
        "tokens": ("64", "96"),
        "flags, n-max 2": ("--metrics", "--metrics --no-mmap"),
    }


def test_only_the_same_questions_count() -> None:
    other = record({("code", 0): [50.0], ("prose", 0): [1.0]})
    compared = compare(record(BASE), other)
    assert [(arm.n_max, arm.ratio.value) for arm in compared.arms] == [(0, near(0.5))]
    assert [arm.cell for arm in compared.cells] == ["code"]
    with pytest.raises(UsageError, match="no answer to the same question"):
        compare(record(BASE), record({("math", 7): [1.0]}))


def test_a_damaged_record_is_said_to_be_damaged() -> None:
    for name in ("arms", "verdict", "machine", "engine", "files", "plan", "noticed"):
        with pytest.raises(UsageError, match="damaged"):
            compare(record(BASE, **{name: None}), record(BASE))


VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.sampled_from(["arms", "verdict", "machine", "engine", "files", "plan", "noticed"]), VALUES
)
def test_no_record_breaks_a_comparison(name: str, value: Any) -> None:
    with contextlib.suppress(UsageError):
        assert compare(record(BASE, **{name: value}), record(BASE)).arms
