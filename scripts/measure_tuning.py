#!/usr/bin/env python3
"""How good `llmtp tune` is: its choice and its time, against a sweep over every n-max.

    scripts/measure_tuning.py MAIN DRAFT [--runs N] [--out FILE] [-- OPTIONS OF TUNE]

Runs tune N times as a user does, each time with a state of its own: nothing is resumed, nothing is
remembered. Then every arm, and all that tune chose besides, is served once and asked the same, as
much as tune asks of an arm at most: same prompts, tokens and rounds, same settings but for the arm.
Regret is how much slower tune's choice is than the best arm, by the sweep's own figures; the share
is tune's wall time over the sweep's. Files and what a GPU's driver compiles are made ready before.
Exits 1 where a run has too much of either, and as tune does where that fails. The files have to be
on this disk. Where others compute meanwhile, neither figure means much: that is told.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from llmtp import signals
from llmtp.bench import surroundings
from llmtp.bench.answers import Asker
from llmtp.bench.estimate import geometric_mean
from llmtp.bench.starts import Starts
from llmtp.chain import Prepared, Watch, with_n_max
from llmtp.cli import app, tuning
from llmtp.cli.output import Out
from llmtp.cli.views import MeasuringView
from llmtp.errors import LlmtpError
from llmtp.machine.load import LoadMeter, computed_s
from llmtp.server.log import RunLog, log_path
from llmtp.start import Running
from llmtp.tune.measure import LEAST_TOKENS, WARM_UP_TOKENS
from llmtp.tune.search import TOP, Arm
from llmtp.tune.work import Amount, Work

SWEPT = tuple(Arm(n_max) for n_max in (*range(9), 12))
MOST_REGRET, MOST_SHARE = 0.03, 0.5
_CHUNK_BYTES = 16 << 20


@dataclass(frozen=True)
class Answers:
    """Of one arm: tokens per second by kind of text and round, and how many cores other programs
    kept busy meanwhile."""

    speeds: Mapping[tuple[str, int], float]
    others_cores: float

    @property
    def tokens_per_s(self) -> float:
        """The geometric mean of the kinds of text, each the median of its rounds."""
        kinds: dict[str, list[float]] = {}
        for (kind, _), speed in self.speeds.items():
            kinds.setdefault(kind, []).append(speed)
        return geometric_mean([statistics.median(some) for some in kinds.values()]) or 0.0


@dataclass(frozen=True)
class Choice:
    """What one run of tune chose and took, and what it measured and expected by arm."""

    arm: Arm
    wall_s: float
    starts: int
    amount: Amount
    measured: Mapping[Arm, float]
    expected: Mapping[Arm, float]
    others_cores: float

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Choice:
        """From the `data` of `tune --json`."""
        rows = {Arm(r["n_max"], r["p_min"], r["draft_sampling"]): r for r in data["arms"]}
        rounds = max(row["rounds"] for row in rows.values())

        def told(name: str) -> dict[Arm, float]:
            return {arm: row[name] for arm, row in rows.items() if row[name] is not None}

        return cls(
            Arm(data["best_n_max"], data["best_p_min"], data["best_draft_sampling"]),
            data["wall_s"],
            data["starts"],
            Amount(rounds, data["tokens"]),
            told("tokens_per_s"),
            told("predicted_tokens_per_s"),
            data["others_cores"],
        )


@dataclass(frozen=True)
class Sweep:
    """What every arm answered, and the time from the first start to the last stop."""

    amount: Amount
    answers: Mapping[Arm, Answers]
    wall_s: float

    @property
    def best(self) -> Arm:
        return max(self.answers, key=lambda arm: self.answers[arm].tokens_per_s)

    def regret(self, choice: Choice) -> float:
        """What the choice loses, as a share of the best one's speed."""
        chosen, best = self.answers[choice.arm], self.answers[self.best]
        return 1 - chosen.tokens_per_s / best.tokens_per_s

    def share(self, choice: Choice) -> float:
        return choice.wall_s / self.wall_s

    def holds(self, choice: Choice) -> bool:
        return self.regret(choice) <= MOST_REGRET and self.share(choice) <= MOST_SHARE


@contextlib.contextmanager
def fresh_state() -> Iterator[None]:
    """Nothing is known from before, and nothing is known after it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, XDG_STATE_HOME=folder),
    ):
        yield


def tune(words: Sequence[str]) -> Choice:
    """One run of the command; ends us where it fails."""
    installed = Path(sys.executable).with_name("llmtp")
    program = [str(installed)] if installed.exists() else [sys.executable, "-m", "llmtp"]
    argv = [*program, "tune", "--json", *words]
    with fresh_state(), subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            printed, _ = process.communicate()
        except BaseException:
            process.terminate()  # and wait: it has a server to stop
            raise
    if process.returncode:
        print(printed, file=sys.stderr)
        raise SystemExit(process.returncode)
    return Choice.of(json.loads(printed)["data"])


def as_tune_prepares(words: Sequence[str]) -> tuple[Prepared, Work]:
    """Its plan and its questions, by the command's own reading of the words."""
    found: list[tuple[Prepared, Work]] = []

    def stop_here(
        _out: Out,
        prepare: Callable[[Watch], Prepared],
        _model: str,
        work: Work,
        *_: object,
        **__: Any,
    ) -> None:
        found.append((prepare(Watch()), work))

    with mock.patch.object(tuning, "tune", stop_here):
        code = app.run(["tune", *words])
    if not found:
        raise SystemExit(code)
    return found[0]


def read_files(prepared: Prepared) -> None:
    """The first start shall not be the only one that waits for the disk."""
    for facts in prepared.reference.models:
        with facts.path.open("rb") as file:
            while file.read(_CHUNK_BYTES):
                pass


def warm_driver(prepared: Prepared, work: Work) -> None:
    """A driver compiles for each size of a batch when it first comes, half a minute in all, and
    keeps that on disk: whoever came first would pay for everybody."""

    def every_size(running: Running) -> None:
        asker = Asker(running.session.client, running.session.check_answers)
        prompt = next(work.prompts(0))
        for tokens in (WARM_UP_TOKENS, *range(2, TOP + 3)):
            running.asking(partial(asker.steps, prompt.text, tokens, work.temp, 0, cached=False))

    print("warming up ...", file=sys.stderr)
    starts = Starts(RunLog(log_path("sweep", prepared.request.serving.port)), _view(), {})
    for n_max in (0, TOP):
        starts.serve(with_n_max(prepared, n_max), every_size)
    starts.end(None)


def _view() -> MeasuringView:
    return MeasuringView(Out("sweep"))


def sweep(prepared: Prepared, work: Work, amount: Amount, arms: Sequence[Arm]) -> Sweep:
    """Serve each arm once and ask it all rounds; raises what ends a server before its time."""
    log = RunLog(log_path("sweep", prepared.request.serving.port))
    starts = Starts(log, _view(), {})
    answers, began = {}, time.monotonic()
    for arm in arms:
        signals.check()
        print(f"{arm.name} ...", file=sys.stderr)
        one = with_n_max(prepared, arm.n_max, arm.p_min, arm.sampling_flag)
        answers[arm] = starts.serve(one, partial(ask, work=work, amount=amount))
    wall_s = time.monotonic() - began
    starts.end(None)
    return Sweep(amount, answers, wall_s)


def ask(running: Running, work: Work, amount: Amount) -> Answers:
    """All rounds of all questions, after a request that counts for nothing."""
    asker = Asker(running.session.client, running.session.check_answers)
    running.asking(lambda: asker.warm_up(WARM_UP_TOKENS))
    pid, meter, speeds = running.session.process.pid, LoadMeter(), {}
    before_s = computed_s(pid)
    for number in range(amount.rounds):
        for prompt in work.prompts(number):
            seed = 1000 * number
            asked = partial(asker.steps, prompt.text, amount.tokens, work.temp, seed, cached=False)
            timings = running.asking(asked).timings
            if timings.tokens_per_s is not None and timings.predicted >= LEAST_TOKENS:
                speeds[prompt.kind, number] = timings.tokens_per_s
    return Answers(speeds, meter.others_cores(computed_s(pid) - before_s))


def measure(words: Sequence[str], runs: int) -> tuple[list[Choice], Sweep]:
    """Tune so often, then the sweep, which asks for as much as tune did."""
    with fresh_state():
        prepared, work = as_tune_prepares(words)
        read_files(prepared)
        warm_driver(prepared, work)
    choices = []
    for number in range(1, runs + 1):
        print(f"tune, run {number} of {runs} ...", file=sys.stderr)
        choices.append(tune(words))
    amount = Amount(
        max(one.amount.rounds for one in choices),
        statistics.median_high(one.amount.tokens for one in choices),
    )
    arms = list(dict.fromkeys([*SWEPT, *(one.arm for one in choices)]))
    with fresh_state():
        return choices, sweep(*as_tune_prepares(words), amount, arms)


def show(choices: Sequence[Choice], swept: Sweep) -> None:
    """A row an arm: the sweep, cores that others kept busy meanwhile, and what each run of tune
    measured, or expected, in brackets."""
    amount = swept.amount
    print(f"{amount.rounds} rounds of up to {amount.tokens} tokens an answer; tokens/s:")
    heads = "".join(f"{f'run {number}':>13}" for number in range(1, len(choices) + 1))
    print(f"{'':24}{'sweep':>9}{'others':>8}{heads}")
    for arm, answers in swept.answers.items():
        cells = "".join(f"{_cell(choice, arm):>13}" for choice in choices)
        best = "  best" if arm == swept.best else ""
        own = f"{answers.tokens_per_s:9.2f}{answers.others_cores:8.2f}"
        print(f"{arm.name:24}{own}{cells}{best}")
    for number, one in enumerate(choices, 1):
        print(
            f"run {number}: {one.arm.name}, regret {100 * swept.regret(one):.2f} percent "
            f"(bound {100 * MOST_REGRET:g}); {one.wall_s:.1f} s, {one.starts} starts, "
            f"{swept.share(one):.3f} of the sweep's {swept.wall_s:.1f} s (bound {MOST_SHARE:g}): "
            f"{'held' if swept.holds(one) else 'MISSED'}"
        )


def _cell(choice: Choice, arm: Arm) -> str:
    measured, expected = choice.measured.get(arm), choice.expected.get(arm)
    if measured is not None:
        return f"{measured:.2f} "
    return "" if expected is None else f"({expected:.2f})"


def to_dict(choices: Sequence[Choice], swept: Sweep) -> dict[str, Any]:
    """Everything, for --out; `arms` of both are lists of plain values."""
    return {
        "amount": asdict(swept.amount),
        "sweep": {
            "wall_s": swept.wall_s,
            "best": asdict(swept.best),
            "arms": [
                asdict(arm)
                | {
                    "tokens_per_s": answers.tokens_per_s,
                    "others_cores": round(answers.others_cores, 3),
                    "answers": [[*place, speed] for place, speed in answers.speeds.items()],
                }
                for arm, answers in swept.answers.items()
            ],
        },
        "runs": [
            {
                "chosen": asdict(one.arm),
                "regret": swept.regret(one),
                "share": swept.share(one),
                "holds": swept.holds(one),
                "wall_s": one.wall_s,
                "starts": one.starts,
                "others_cores": one.others_cores,
                "amount": asdict(one.amount),
                "measured": _by_arm(one.measured),
                "expected": _by_arm(one.expected),
            }
            for one in choices
        ],
    }


def _by_arm(speeds: Mapping[Arm, float]) -> list[dict[str, Any]]:
    return [asdict(arm) | {"tokens_per_s": speed} for arm, speed in speeds.items()]


def main() -> int:
    behind = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("main", metavar="MAIN")
    parser.add_argument("draft", metavar="DRAFT")
    parser.add_argument("--runs", type=int, default=1, choices=range(1, 101), metavar="N")
    parser.add_argument("--out", type=Path, metavar="FILE")
    asked = parser.parse_args(sys.argv[1:behind])
    words = [asked.main, "--draft", asked.draft, *sys.argv[behind + 1 :]]
    signals.install()
    try:
        choices, swept = measure(words, asked.runs)
    except LlmtpError as error:
        Out("sweep").fail(error.findings, error.exit_code)
        return error.exit_code
    except signals.Interrupted as interrupted:
        return interrupted.exit_code
    if asked.out:
        asked.out.write_text(json.dumps(to_dict(choices, swept), indent=1) + "\n", "utf-8")
    show(choices, swept)
    loads = [one.others_cores for one in choices]
    loads += [one.others_cores for one in swept.answers.values()]
    for finding in surroundings.load(max(loads)):
        Out("sweep").finding(finding)
    return 0 if all(map(swept.holds, choices)) else 1


if __name__ == "__main__":
    sys.exit(main())
