"""Counters from `/metrics` and from log lines: what the engine prints, added up."""

from __future__ import annotations

import pytest

from llmtp.metrics.counters import Counters, Drafting, LogTally, parse_metrics
from llmtp.metrics.prometheus import parse_page
from llmtp.metrics.sampler import Meters, Sampler
from llmtp.metrics.slots import Slot, parse_slots
from llmtp.metrics.totals import Totals, Window

PAGE = """# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
llamacpp:prompt_tokens_total 21
llamacpp:prompt_seconds_total 0.5
llamacpp:tokens_predicted_total 74
llamacpp:tokens_predicted_seconds_total 2.0
llamacpp:n_decode_total nonsense
llamacpp:spec_decode_num_draft_tokens_total 81
llamacpp:spec_decode_num_accepted_tokens_total 46
llamacpp:spec_decode_num_drafts_total 27
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 21
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="2"} 10
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="1"} 15
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="999999999"} 1
"""
STATISTICS = (
    "0.00.190.121 I spec common_specu: statistics        draft-mtp: #calls(b,g,a) =    2     28"
    "     28, #gen drafts =     28, #acc drafts =    21, #gen tokens =     82, "
    "#acc tokens =    46, #mean acc len = 2.64, #acc rate/pos = (0.750, 0.536, 0.357), "
    "dur(b,g,a) = 0.057, 15.875, 0.009 ms"
)
OLD_STATISTICS = (
    "statistics draft-mtp: #calls(b,g,a) = 1 19 19, #gen drafts = 19, #acc drafts = 14, "
    "#gen tokens = 57, #acc tokens = 32, dur(b,g,a) = 0.001, 9.1, 0.002 ms"
)
FINISHED = "0.00 I slot print_timing: id  0 | task 33 |       total time =       3.30 ms /     8"


def test_metrics_with_speculative_counters() -> None:
    counters = parse_metrics(PAGE)
    assert counters == Counters(21, 0.5, 74, 2.0, Drafting(27, 81, 46, (21, 15, 10)))
    assert counters.drafting is not None
    assert counters.drafting.acceptance == pytest.approx(46 / 81)
    assert counters.drafting.mean_accepted_length == pytest.approx(1 + 46 / 27)
    assert counters.drafting.acceptance_per_position == pytest.approx((21 / 27, 15 / 27, 10 / 27))


def test_metrics_of_older_builds_do_not_invent_them() -> None:
    page = "\n".join(line for line in PAGE.splitlines() if "spec_decode" not in line)
    assert parse_metrics(page).drafting is None
    assert parse_metrics("") == Counters(0, 0.0, 0, 0.0, None)


def test_the_log_stands_in() -> None:
    tally = LogTally()
    for line in ("anything", FINISHED, STATISTICS, FINISHED):
        tally = tally.add(line)
    assert tally.requests == 2
    assert tally.drafting == Drafting(28, 82, 46, (0.75 * 28, 0.536 * 28, 0.357 * 28), (), 0.015875)
    old = LogTally().add(OLD_STATISTICS).drafting
    assert old == Drafting(19, 57, 32, (), (), 0.0091)
    assert old.acceptance_per_position == ()


def test_what_came_before_does_not_count() -> None:
    later = Drafting(27, 81, 46, (21.0, 15.0, 10.0))
    assert later.since(Drafting(7, 21, 6, (6.0,))) == Drafting(20, 60, 40, (15.0, 15.0, 10.0))
    assert later.since(None) == later
    none = later.since(later)
    assert (none.acceptance, none.mean_accepted_length, none.acceptance_per_position) == (
        None,
        None,
        (),
    )


def test_slots_of_any_build() -> None:
    new = {"id": 1, "id_task": 7, "is_processing": True, "n_prompt_tokens": 96,
           "next_token": [{"n_decoded": 74}]}  # fmt: skip
    old = {"id": 0, "is_processing": False, "next_token": {"n_decoded": 3}}
    assert parse_slots([new, old, "?"]) == [
        Slot(1, 7, True, 96, 74),
        Slot(0, None, False, None, 3),
    ]
    assert parse_slots({"error": "x"}) == []


class Scripted:
    """A server that answers what it is told to; it counts how often it is asked."""

    def __init__(self) -> None:
        self.slot = {"id": 0, "id_task": 1, "is_processing": False, "next_token": []}
        self.page = PAGE
        self.scrapes = 0

    def slots(self) -> object:
        return [dict(self.slot)]

    def metrics(self) -> str:
        self.scrapes += 1
        return self.page


def test_metrics_are_scraped_once_after_each_request_only() -> None:
    server, tally = Scripted(), LogTally()
    sampler = Sampler(server, lambda: tally, Meters(lambda: None, lambda: None))
    assert server.scrapes == 1
    for _ in range(5):
        assert sampler.sample().requests == 0
    assert server.scrapes == 1
    server.slot |= {"is_processing": True, "next_token": [{"n_decoded": 10}]}
    assert (sampler.sample().tokens_per_s or 0) > 0
    assert server.scrapes == 1
    server.slot["is_processing"] = False
    tally = tally.add(FINISHED)
    server.page = PAGE.replace("predicted_total 74", "predicted_total 174").replace(
        "predicted_seconds_total 2.0", "predicted_seconds_total 4.0"
    )
    sample = sampler.sample()
    assert (server.scrapes, sample.requests, sample.mean_tokens_per_s) == (2, 1, 50.0)
    assert sampler.sample().tokens_per_s is None
    assert server.scrapes == 2


def statistics(drafts: int, drafted: int, accepted: int, shares: str) -> str:
    """The cumulative line of a log, which comes once a request has ended."""
    return (
        f"statistics draft-mtp: #calls(b,g,a) = 1 1 1, #gen drafts = {drafts}, #acc drafts = 1, "
        f"#gen tokens = {drafted}, #acc tokens = {accepted}, #mean acc len = 2.00, "
        f"#acc rate/pos = ({shares}), dur(b,g,a) = 0.1, 0.1, 0.1 ms"
    )


def request(accepted: int, shares: str) -> list[str]:
    """What a log says of one request by position."""
    return [
        f"slot print_timing: id  0 | task 9 | draft acceptance = 0.5 ( {accepted} accepted /  81 ",
        f"slot print_timing: id  0 | task 9 |      acc per pos = ({shares})",
    ]


def test_the_last_requests_of_many_are_counted_by_position() -> None:
    """Three digits of the share of a million drafts are worth nothing for the last 27 of them."""
    before = LogTally().add(statistics(1_000_000, 3_000_000, 900_000, "0.500, 0.300, 0.100"))
    now = before
    for line in (*request(46, "0.778, 0.556, 0.370"),
                 statistics(1_000_027, 3_000_081, 900_046, "0.500, 0.300, 0.100")):  # fmt: skip
        now = now.add(line)
    assert now.drafting is not None
    recent = now.drafting.since(before.drafting)
    assert (recent.drafts, recent.drafted, recent.accepted) == (27, 81, 46)
    assert recent.acceptance_per_position == pytest.approx((21 / 27, 15 / 27, 10 / 27), abs=0.001)
    assert now.drafting.acceptance_per_position == pytest.approx((0.5, 0.3, 0.1))


def test_a_new_start_in_the_log_counts_from_nothing() -> None:
    tally = LogTally().add(FINISHED).add(STATISTICS)
    assert (tally.requests, tally.is_whole) == (1, False)
    tally = tally.add("0.00.016.478 I srv    load_model: loading model '/m.gguf'")
    assert tally == LogTally(is_whole=True)
    assert tally.add(FINISHED).requests == 1


def test_the_window_is_the_last_minute() -> None:
    window = Window()
    assert (window.seconds, window.totals) == (0.0, Totals())
    for second in range(0, 200, 10):
        window.add(second, Totals(requests=second, predicted_tokens=7 * second, predicted_s=second))
    assert (window.seconds, window.totals.requests) == (60, 60)
    assert window.totals.tokens_per_s == 7
    assert window.totals.prompt_tokens is None
    # Another start counts from nothing, and what was before is no part of it.
    window.add(200, Totals(requests=2, predicted_tokens=14, predicted_s=1.0))
    assert (window.seconds, window.totals.requests, window.totals.predicted_tokens) == (0, 2, 14)
    window.add(201, Totals(requests=5, predicted_tokens=20, predicted_s=1.0))
    assert (window.seconds, window.totals.requests, window.totals.predicted_tokens) == (1, 5, 20)


def test_a_page_of_several_engines_is_added_up_and_nonsense_is_left_out() -> None:
    page = parse_page(
        'a_total{engine="0"} 1\na_total{engine="1"} 2.5\n# a_total 7\nb -1\nc NaN\nd 1e400\n'
        'e{position="1",x="}"} 4\ne{position="1",x=","} 4\nf 3 1700000000000\ng\n\x1b 1\n'
    )
    assert page.values == {"a_total": 3.5, "f": 3.0}
    assert page.positions("e") == (0.0, 8.0)
    assert page.positions("none") == ()
