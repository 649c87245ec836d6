"""The `data` of `tune`, from plain numbers, in every shape that a page may get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench_records import replaced

MEASURED = (0, 3, 4, 5)
SPEEDS = (40.1, 55.9, 65.8, 71.0, 73.6, 74.4, 73.9, 72.2, 70.0, 67.5, 64.9, 62.2, 59.6)
VARIANTS = ((4, 0.0, "probabilistic"), (6, 0.5, "greedy"))


def an_arm(
    n_max: int,
    tokens_per_s: float | None = None,
    expected: float | None = None,
    p_min: float = 0.0,
    draft_sampling: str = "greedy",
) -> dict[str, Any]:
    seen = tokens_per_s is not None
    return {
        "n_max": n_max,
        "p_min": p_min,
        "draft_sampling": draft_sampling,
        "tokens_per_s": tokens_per_s,
        "predicted_tokens_per_s": expected,
        "acceptance": 0.93 - 0.06 * n_max if seen and n_max else None,
        "step_s": 0.025 + 0.0035 * n_max if seen else None,
        "rounds": (3 if n_max else 1) if seen else 0,
    }


def a_result(
    best: tuple[int, float, str] = (4, 0.0, "greedy"),
    measured: Sequence[int] = MEASURED,
    variants: Sequence[tuple[int, float, str]] = (),
    speeds: Sequence[float] = SPEEDS,
) -> dict[str, Any]:
    """As `Found.to_dict` makes one, of a pair on a card; its own answers were a little slower."""
    arms = [
        an_arm(n_max, 0.97 * speed if n_max in measured else None, speed)
        for n_max, speed in enumerate(speeds)
    ]
    arms += [
        an_arm(n_max, speeds[n_max] * 1.05, speeds[n_max] * 1.08, p_min, sampling)
        for n_max, p_min, sampling in variants
    ]
    n_max, p_min, sampling = best
    rule = (n_max, p_min, sampling)
    found = next(a for a in arms if (a["n_max"], a["p_min"], a["draft_sampling"]) == rule)
    speed = found["predicted_tokens_per_s"]
    return {
        "model": "gemma-4-12b",
        "best_n_max": n_max,
        "best_p_min": p_min,
        "best_draft_sampling": sampling,
        "tokens_per_s": speed,
        "speedup": speed / speeds[0],
        "arms": arms,
        "acceptance_per_position": [0.93 * 0.9**place for place in range(12)],
        "draft_s": 0.00123,
        "workload": "all",
        "temp": 0.0,
        "tokens": 96,
        "setting": {
            "device": "cuda: NVIDIA H200",
            "main": "Gemma 4 12B It, Q8_0, 12671234567 bytes",
            "draft": "Gemma 4 12B It Assistant, Q8_0, 441234567 bytes",
            "kv_type": "q8_0",
            "ctx_band": 32768,
        },
        "build": "b11434-0123abcd",
        "driver": "580.95.05",
        "starts": len(measured) + len(variants) + 1,
        "others_cores": 0.214,
        "wall_s": 154.3,
        "at": "2026-11-28",
        "noticed": [
            {
                "rule": "other-load",
                "level": "warning",
                "message": "other programs computed meanwhile",
                "expected": "less than 2.4 of 16 cores",
                "observed": "3.1 at most",
                "fix": "measure again",
            }
        ],
        "verdict": f"n-max {n_max}: {speed / speeds[0]:.2f} times as fast as off (40.1 tokens/s)"
        if n_max
        else "MTP off: 40.1 tokens/s, and 36.9 at the best n-max",
    }


SLOWER = tuple(40.1 - 1.6 * n_max for n_max in range(13))
UNKNOWN: dict[str, Any] = replaced(a_result(), lambda v: None if isinstance(v, float) else v) | {
    "draft_s": None,
    "tokens": None,
    "build": None,
    "driver": None,
    "acceptance_per_position": [],
}
SHAPES = {
    "as it is": a_result(),
    "off": a_result(best=(0, 0.0, "greedy"), measured=(0, 1, 2), speeds=SLOWER),
    "another rule": a_result(best=VARIANTS[1], variants=VARIANTS),
    "all measured": a_result(measured=range(13), variants=VARIANTS),
    "one kind, off the best": a_result() | {"workload": "code", "temp": 0.7},
    "nothing expected": a_result()
    | {"arms": [arm | {"predicted_tokens_per_s": None} for arm in a_result()["arms"]]},
    "fast": a_result(speeds=[30 * speed for speed in SPEEDS]),
    "a place of many devices": a_result()
    | {
        "setting": a_result()["setting"]
        | {"device": " + ".join(["cuda: NVIDIA GeForce RTX 4090"] * 4 + ["cpu: AMD EPYC 9654"])}
    },
    "nothing but nulls": UNKNOWN,
}
