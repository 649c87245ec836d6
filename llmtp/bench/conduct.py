"""One whole run: measure, add up, decide, and what is to be said of how it went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmtp.bench import surroundings
from llmtp.bench.bound import Bound, memory_bound
from llmtp.bench.estimate import LEAST_ROUNDS
from llmtp.bench.measure import Bench, Measured, Told
from llmtp.bench.record import Context, make_record
from llmtp.bench.result import Result, add_up
from llmtp.bench.same import NEAR_TIE, Difference
from llmtp.bench.scheme import RESERVE, WHOLE_TOKENS, Scheme
from llmtp.bench.verdict import Verdict, decide
from llmtp.chain import Prepared, n_max_of_its_own
from llmtp.errors import Finding, LlmtpError, UsageError
from llmtp.machine.detect import nvidia_driver
from llmtp.server.log import RunLog
from llmtp.signals import Interrupted
from llmtp.story import View
from llmtp.text import clean
from llmtp.units import format_count


@dataclass(frozen=True, slots=True)
class Done:
    """A run that is over. `record` is what is kept of it."""

    measured: Measured
    result: Result
    verdict: Verdict
    bound: Bound | None
    is_small: bool
    findings: tuple[Finding, ...]
    record: dict[str, Any]

    def bound_words(self, measured_per_s: float) -> str:
        """How far a speed without MTP is from what memory allows, or why that is not told."""
        if self.bound is not None:
            return self.bound.words(measured_per_s)
        return "how near plain decoding is to the memory's bandwidth is not told: " + (
            "so small a model is in a cache"
            if self.is_small
            else "nobody says how fast this memory is"
        )


def check_scheme(prepared: Prepared, scheme: Scheme) -> None:
    """Raises UsageError for what does not fit into the context of the plan."""
    context = prepared.plan.ctx_size // prepared.plan.parallel
    longest = scheme.tokens or WHOLE_TOKENS
    deepest = max(cell.depth for cell in scheme.cells)
    if deepest + longest + RESERVE > context:
        what = f"--depth {deepest}" if deepest else f"--tokens {longest}"
        raise UsageError(
            f"{what} does not fit into a context of {format_count(context)} tokens",
            rule="depth",
            expected=f"room for {format_count(deepest + longest + RESERVE)}: the depth, "
            f"an answer of {format_count(longest)} and the question",
            fix="use a larger --ctx, or a smaller --depth or --tokens",
        )


def conduct(
    prepared: Prepared,
    scheme: Scheme,
    log: RunLog,
    view: View,
    marks: Mapping[str, str | None],
    told: Told,
    require_speedup: float | None,
) -> Done:
    """`prepared` is planned for the largest n-max. Raises what ends a server before its time."""
    before = [*surroundings.other_servers(), *surroundings.busy_cards(prepared.plan)]
    planned, bound = n_max_of_its_own(prepared), memory_bound(prepared.plan)
    measured = Bench(prepared, scheme, log, view, marks, told).run()
    result = add_up(measured)
    verdict = decide(result, planned)
    findings = (
        *before,
        *surroundings.load(max((one.others_cores for one in measured.visits), default=0.0)),
        *_rounds(measured),
        *_differences(measured.differences),
        *_unjudged(measured),
        *_missed(result, require_speedup),
        *_ended(measured),
        *surroundings.log_lost(log),
    )
    context = Context(prepared, planned, nvidia_driver(), bound)
    record = make_record(context, measured, result, verdict, findings)
    return Done(measured, result, verdict, bound, scheme.is_small, findings, record)


def _ended(measured: Measured) -> Iterator[Finding]:
    """What ended it early, after which only whole rounds count."""
    rounds = f"{measured.rounds} whole round{'s' if measured.rounds > 1 else ''}"
    match measured.ended_by:
        case Interrupted():
            yield Finding("stopped", "error", f"stopped early: these are {rounds}")
        case LlmtpError() as error:
            yield from error.findings
            yield Finding("ended-early", "warning", f"it ended early: these are {rounds}")


def _rounds(measured: Measured) -> Iterator[Finding]:
    if measured.rounds < LEAST_ROUNDS and measured.ended_by is None:
        seconds = 5 * measured.wall_s / measured.rounds
        yield Finding(
            "few-rounds",
            "info",
            f"there was time for {measured.rounds} of the {LEAST_ROUNDS} rounds that an interval "
            "needs",
            fix=f"measure longer: --budget {math.ceil(seconds / 10) * 10}",
        )


def _differences(differences: list[Difference]) -> Iterator[Finding]:
    wrong = [one for one in differences if one.is_near_tie is False]
    if wrong:
        worst = max(wrong, key=lambda one: one.gap if one.gap is not None else float("inf"))
        suspect = worst.suspect
        chose = _shown(worst.arm_text)
        gap = "not among the 20 likeliest" if worst.gap is None else f"{worst.gap:.2f} less likely"
        yield Finding(
            "answers-differ",
            "error",
            f"MTP changes the answers: n-max {suspect.n_max} says {chose} at token "
            f"{len(suspect.before) + 1} of {suspect.question.id}, which is no tie",
            expected=f"{_shown(worst.off_text)}, or a token less than {NEAR_TIE} behind in "
            "log-probability",
            observed=gap,
            fix="do not use MTP with this build (--draft off), and report it: llmtp bug-report",
        )


def _unjudged(measured: Measured) -> Iterator[Finding]:
    untold = sum(one.is_near_tie is None for one in measured.differences)
    if untold or measured.unjudged:
        yield Finding(
            "differences-unjudged",
            "warning",
            f"{untold + measured.unjudged} kinds of difference between answers could not be "
            "judged: near ties, or more",
            expected="log-probabilities of the engine, and a whole run",
            fix="ask fewer questions (--workload, --n-max), or use another build of llama.cpp",
        )


def _missed(result: Result, required: float | None) -> Iterator[Finding]:
    best = result.best
    if required is None:
        return
    value = best.speedup.value if best.speedup else 0.0
    if value < required:
        yield Finding(
            "speedup-missed",
            "error",
            "MTP does not help as much as is required",
            expected=f"{required:g} times the speed or more",
            observed=f"{value:.2f}, at n-max {best.n_max}",
            fix="see which workload is slow, or require less",
        )


def _shown(text: str | None) -> str:
    return "another token" if text is None else repr(clean(text, 40))
