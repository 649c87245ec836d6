"""Two records: is the second slower than the noise of both explains? Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmtp.bench.estimate import Ratio, geometric_mean, mean_ratio
from llmtp.errors import UsageError

#: Two runs of the same differ by so much where nothing has changed but the hour.
_NOISE = 0.05
#: And where other programs computed during one of them.
_LOADED_NOISE = 0.30
#: Of the plan, what speed may depend on.
PLANNED = ("ctx_size", "parallel", "kv_type", "ubatch", "gpu_layers", "cpu_experts", "threads",
           "tensor_split")  # fmt: skip

_ELSEWHERE = ("--model", "--model-draft", "--port", "--ctx-size", "--ubatch-size", "--threads")

#: Tokens per second by cell and question, of one arm in one round.
_Speeds = Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is not the same in both."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Arm:
    """How many times as fast the second record is, with one n-max: in all common cells, or one."""

    n_max: int
    cell: str | None
    ratio: Ratio
    noise: float

    @property
    def is_slower(self) -> bool:
        """By more than the noise, for certain."""
        return self.ratio.value < 1 - self.noise and self.ratio.is_below(1)

    @property
    def is_faster(self) -> bool:
        return self.ratio.value > 1 / (1 - self.noise) and self.ratio.is_above(1)

    def to_dict(self) -> dict[str, Any]:
        return {
            "n_max": self.n_max,
            "cell": self.cell,
            "ratio": self.ratio.value,
            "interval": self.ratio.interval,
            "slower": self.is_slower,
            "faster": self.is_faster,
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """`arms` are over all common cells; `decisive` are the values of n-max that count: off, and
    the one that the first record told to use, as far as both have it. `is_loaded` where other
    programs computed during one of them: then only a great difference counts."""

    model: str
    changes: tuple[Change, ...]
    arms: tuple[Arm, ...]
    cells: tuple[Arm, ...]
    decisive: tuple[int, ...]
    is_loaded: bool

    @property
    def slower(self) -> list[Arm]:
        return [arm for arm in self.arms if arm.n_max in self.decisive and arm.is_slower]

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "changes": [
                {"what": one.what, "a": one.before, "b": one.after} for one in self.changes
            ],
            "arms": [arm.to_dict() for arm in self.arms],
            "cells": [arm.to_dict() for arm in self.cells],
            "decisive_n_max": list(self.decisive),
            "slower": bool(self.slower),
            "other_load": self.is_loaded,
        }


def compare(before: dict[str, Any], after: dict[str, Any]) -> Compared:
    """Only answers to the same questions count. Raises UsageError where there are none."""
    try:
        return _compare(before, after)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UsageError(
            "one of the records is damaged",
            rule="record",
            observed=type(error).__name__,
            fix="run llmtp bench again",
        ) from error


def _compare(before: dict[str, Any], after: dict[str, Any]) -> Compared:
    is_loaded = any(
        finding["rule"] == "other-load" for one in (before, after) for finding in one["noticed"]
    )
    noise = _LOADED_NOISE if is_loaded else _NOISE
    arms, cells = [], []
    for n_max, rounds in _common(_speeds(before), _speeds(after)).items():
        names = sorted({cell for speeds, _ in rounds for cell, _ in speeds})
        whole = mean_ratio([ratio for one in rounds if (ratio := _ratio(*one, names)) is not None])
        if whole is not None:
            arms.append(Arm(n_max, None, whole, noise))
        for name in names:
            told = [ratio for one in rounds if (ratio := _ratio(*one, [name])) is not None]
            if (mean := mean_ratio(told)) is not None:
                cells.append(Arm(n_max, name, mean, noise))
    if not arms:
        raise UsageError(
            "the two records have no answer to the same question with the same n-max",
            rule="record",
            expected="two runs of llmtp bench with workloads and n-max values in common",
            fix="run both with the same --workload and --n-max",
        )
    wanted = {0, before["verdict"]["n_max"]}
    decisive = tuple(arm.n_max for arm in arms if arm.n_max in wanted) or (arms[0].n_max,)
    changes = tuple(_changes(before, after))
    return Compared(str(after["model"]), changes, tuple(arms), tuple(cells), decisive, is_loaded)


def _speeds(record: dict[str, Any]) -> dict[int, dict[int, dict[tuple[str, str], float]]]:
    """By n-max, round, and cell with question."""
    speeds: dict[int, dict[int, dict[tuple[str, str], float]]] = {}
    for arm in record["arms"]:
        of_arm = speeds.setdefault(int(arm["n_max"]), {})
        for one in arm["prompts"]:
            speed = one["tokens_per_s"]
            if speed is not None and 0 < float(speed) < math.inf:
                place = str(one["cell"]), str(one["question"])
                of_arm.setdefault(int(one["round"]), {})[place] = float(speed)
    return speeds


def _common(
    before: Mapping[int, Mapping[int, _Speeds]], after: Mapping[int, Mapping[int, _Speeds]]
) -> dict[int, list[tuple[_Speeds, _Speeds]]]:
    """By n-max, the rounds that both have: what was asked in them, each question in both."""
    found: dict[int, list[tuple[_Speeds, _Speeds]]] = {}
    for n_max in sorted(before.keys() & after.keys()):
        rounds: list[tuple[_Speeds, _Speeds]] = []
        for number in sorted(before[n_max].keys() & after[n_max].keys()):
            one, other = before[n_max][number], after[n_max][number]
            places = one.keys() & other.keys()
            if places:
                rounds.append(({at: one[at] for at in places}, {at: other[at] for at in places}))
        found[n_max] = rounds
    return found


def _ratio(before: _Speeds, after: _Speeds, cells: Sequence[str]) -> float | None:
    """Of one round, the mean of these cells; None where one of them has nothing to tell."""
    means = [
        geometric_mean([after[place] / before[place] for place in before if place[0] == cell])
        for cell in cells
    ]
    known = [mean for mean in means if mean is not None]
    return geometric_mean(known) if len(known) == len(means) else None


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    told = [_told(before), _told(after)]
    for what in dict.fromkeys((*told[0], *told[1])):
        one, other = (side.get(what, "-") for side in told)
        if one != other:
            yield Change(what, one, other)


def _told(record: dict[str, Any]) -> dict[str, str]:
    """What speed may depend on, in words."""
    machine, engine = record["machine"], record["engine"]
    cards = [one["name"] for one in machine["devices"] if one["used"]]
    told = {
        "model": record["model"],
        "llmtp": record["llmtp"],
        "build": engine["build"],
        "engine": f"{engine['path']}, {engine['file_bytes']:,} bytes",
        "driver": machine["driver"],
        "system": machine["system"],
        "CPU": machine["cpu"],
        "cards": ", ".join(map(str, cards)) or "none",
    }
    for file in record["files"]:
        role = "main file" if file["role"] == "main" else "draft file"
        told[role] = f"{file['path']}, {file['file_bytes']:,} bytes, {file['fingerprint']}"
    told |= {name: record["plan"][name] for name in PLANNED}
    told["tokens"] = record["settings"]["tokens"]
    for arm in record["arms"]:
        told[f"flags, n-max {int(arm['n_max']) or 'off'}"] = " ".join(_flags(arm["argv"]))
    return {what: str(value) for what, value in told.items()}


def _flags(argv: Sequence[str]) -> list[str]:
    """What the engine is told, without the paths, which are compared as files, and the port."""
    left = []
    words = iter(argv[1:])
    for word in words:
        if word in _ELSEWHERE:
            next(words, None)
        else:
            left.append(word)
    return left
