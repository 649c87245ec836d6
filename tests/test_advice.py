"""Which n-max would have been faster: by hand, on curves that were measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtp.cli.render.bars import ASCII, sparkline
from llmtp.metrics.advice import LEAST_DRAFTS, Costs, advise, tokens_a_step
from llmtp.plan.speed import expected_tokens

#: Steps of the 12B on an H100, as tokens/s at 80% accepted tell them.
CUDA = Costs((1.0, 1.21, 1.42, 1.66, 1.93), "an H100")
ENOUGH = LEAST_DRAFTS


def falling(share: float, n: int) -> list[float]:
    """Each position right as often, given the one before."""
    return [share**i for i in range(1, n + 1)]


def test_tokens_of_a_step_add_up() -> None:
    assert tokens_a_step([0.8, 0.5], 2) == pytest.approx([1, 1.8, 2.3])


def test_positions_that_nobody_tried_go_on_as_the_last_one() -> None:
    assert tokens_a_step([0.8, 0.4], 4) == pytest.approx([1, 1.8, 2.2, 2.4, 2.5])
    assert tokens_a_step([0.5], 3) == pytest.approx([1, 1.5, 1.75, 1.875])
    assert tokens_a_step(falling(0.7, 2), 4)[4] == pytest.approx(expected_tokens(4, 0.7))


def test_a_smaller_one_where_little_is_right() -> None:
    advice = advise(falling(0.3, 4), ENOUGH, CUDA, 4)
    assert advice is not None
    assert (advice.n_max, advice.instead_of) == (1, 4)
    now, then = expected_tokens(4, 0.3) / 1.93, 1.3 / 1.21
    assert advice.times == pytest.approx(then / now)
    assert advice.message == (
        "n-max 1 would have been 1.46 times as fast on this traffic (cost model: an H100)"
    )
    assert advice.fix == "--n-max 1"


def test_a_larger_one_where_much_is_right() -> None:
    advice = advise([0.95], ENOUGH, CUDA, 1)
    assert advice is not None
    assert advice.n_max == 4
    assert advice.times == pytest.approx(expected_tokens(4, 0.95) / 1.93 / (1.95 / 1.21))


def test_off_where_drafting_loses() -> None:
    advice = advise([0.1, 0.0, 0.0], ENOUGH, CUDA, 3)
    assert advice is not None
    assert (advice.n_max, advice.fix) == (0, "--n-max off")
    assert advice.times == pytest.approx(1.66 / 1.1)
    assert advice.message.startswith("without MTP it would have been 1.51 times as fast")


def test_nothing_is_said_where_it_is_as_good() -> None:
    assert advise(falling(0.8, 3), 10_000, CUDA, 3) is None


def test_nothing_is_said_of_little_traffic_or_an_unknown_cost() -> None:
    assert advise([0.0], ENOUGH, CUDA, 1) is not None
    assert advise([0.0], ENOUGH - 1, CUDA, 1) is None
    assert advise(falling(0.1, 5), ENOUGH, CUDA, 5) is None
    assert advise([], ENOUGH, CUDA, 2) is None
    assert advise([0.0], ENOUGH, CUDA, 0) is None


@given(
    st.lists(st.floats(-1, 2), min_size=1, max_size=8),
    st.lists(st.floats(1, 10), min_size=1, max_size=9),
    st.integers(0, 9),
)
def test_it_never_advises_what_is_not_faster(
    shares: list[float], steps: list[float], n_max: int
) -> None:
    costs = Costs((1.0, *steps), "x")
    advice = advise(shares, ENOUGH, costs, n_max)
    if advice is not None:
        assert advice.n_max != n_max
        assert advice.times >= 1.05
        tokens = tokens_a_step(shares[:n_max], len(steps))
        assert tokens == sorted(tokens)
        gain = tokens[advice.n_max] / costs.steps[advice.n_max]
        assert gain == pytest.approx(advice.times * tokens[n_max] / costs.steps[n_max])


def test_a_sparkline_is_as_high_as_the_largest() -> None:
    assert sparkline([0, 50, 100, 25]) == "▁▅█▃"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline([0, 100], ASCII) == "_#"
