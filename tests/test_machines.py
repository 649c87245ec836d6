"""Plans for random machines against what real cards took: none may run out of memory.

tests/measured_ladder.csv are starts of a 12B pair on an H100 (CUDA, b11434) with settings that the
ladder chooses among; no constant of the planner was fitted to them. What lies between them is
interpolated, and every machine is off by up to 2 percent.
"""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from test_plan import real_size

from llmtp.errors import DoesNotFitError
from llmtp.gguf.model import TensorBytes
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Device, Host, Machine, User
from llmtp.plan.choose import make_plan
from llmtp.plan.result import Plan
from llmtp.plan.wishes import Wishes
from llmtp.units import GiB, MiB

TABLE = Path(__file__).with_name("measured_ladder.csv")
NOISE = 0.02
Point = tuple[int, float]


class Reality:
    """MiB on the card by KV type, ubatch, context, and whether it drafts."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, int], list[Point]] = {}
        alone: dict[tuple[str, int, int], float] = {}
        with TABLE.open(newline="") as file:
            for row in csv.DictReader(file):
                key, ctx = (row["kv_type"], int(row["ubatch"])), int(row["ctx"])
                if int(row["n_max"]):
                    self.points.setdefault(key, []).append((ctx, float(row["driver"])))
                else:
                    alone[(*key, ctx)] = float(row["driver"])
        self.slopes = {
            kv_type: (max(two)[1] - min(two)[1]) / (max(two)[0] - min(two)[0])
            for (kv_type, _), two in self.points.items()
            if len(two) > 1
        }
        drafter = [
            mib - alone[(*key, ctx)]
            for key, points in self.points.items()
            for ctx, mib in points
            if (*key, ctx) in alone
        ]
        self.drafter = min(drafter)

    def mib(self, plan: Plan) -> float:
        at = (plan.kv_type, plan.ubatch)
        if at in self.points:
            total = self._at(at, plan.ctx_size)
        else:
            around = [self._at((plan.kv_type, u), plan.ctx_size) for u in (128, 512)]
            total = sum(around) / 2
        return total if plan.mtp else total - self.drafter

    def _at(self, key: tuple[str, int], ctx: int) -> float:
        near, mib = min(self.points[key], key=lambda point: abs(point[0] - ctx))
        return mib + (ctx - near) * self.slopes[key[0]]


def random_machine(dice: random.Random) -> Machine:
    """One to three cards of 6 to 24 GiB, a desktop on the first, RAM of 16 to 64 GiB."""
    devices = []
    for number in range(dice.randint(1, 3)):
        total = dice.choice([6, 8, 9, 9, 9, 10, 10, 11, 12, 16, 24]) * GiB
        taken = dice.choice([0, 0, dice.randint(50, 2500)]) * MiB
        free = round(total * 0.98) - taken
        users = (User("desktop", taken),) if taken else ()
        devices.append(
            Device(f"CUDA{number}", f"card {number}", "cuda", total, free, "NVML", users=users)
        )
    ram = dice.randint(16, 64) * GiB
    return Machine(Host("cpu", ram, ram, "operating system"), tuple(devices))


def run_out(
    ref: Reference, machines: int, dice: random.Random, *, asks: bool
) -> tuple[int, set[tuple[str, int]]]:
    """How many of the machines on which one card holds the whole model run out, and the settings
    that were met; who `asks` wants a context of their own."""
    reality, met = Reality(), set()
    judged = failed = 0
    for _ in count():
        there = random_machine(dice)
        wishes = Wishes(ctx=dice.randrange(8192, 32768, 256)) if asks else Wishes()
        try:
            plan = make_plan(ref, there, wishes, partly=False)
        except DoesNotFitError:
            continue
        if len(plan.gpus) != 1:
            continue
        judged += 1
        met.add((plan.kv_type, plan.ubatch))
        taken = reality.mib(plan) * (1 + dice.uniform(-NOISE, NOISE)) * MiB
        failed += taken > (plan.gpus[0].free_bytes or 0)
        if judged == machines:
            return failed, met
    raise AssertionError("there is always another machine")


@pytest.mark.soak
@pytest.mark.parametrize("asks", [False, True])
def test_no_machine_runs_out(crafted: Path, soak: bool, dice: random.Random, asks: bool) -> None:
    machines, chance = (200, dice) if soak else (25, random.Random(20261125))
    failed, met = run_out(real_size(crafted), machines, chance, asks=asks)
    assert failed == 0
    assert len(met) >= 2


@pytest.mark.soak
def test_a_planner_that_forgets_the_drafter_is_found_out(
    crafted: Path, soak: bool, dice: random.Random
) -> None:
    """As llama-server's own --fit does, which counts nothing for it."""
    ref = real_size(crafted)
    assert ref.draft is not None
    shape = replace(ref.draft.shape, width=64, feed_forward=(64,) * 4)
    nothing = replace(ref.draft, tensor_bytes=TensorBytes({}), vocabulary_size=1, text=shape)
    forgetful = replace(ref, draft=nothing)
    machines, chance = (200, dice) if soak else (25, random.Random(20261125))
    failed, _ = run_out(forgetful, machines, chance, asks=False)
    assert failed > 0
