"""Records as `bench` makes them, from plain numbers, in every shape that a page may get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def figures(n_max: int, speed: float | None, off: float | None = 40.0) -> dict[str, Any]:
    """Of one arm; its interval is a tenth to each side."""
    ratio = None if speed is None or not off else speed / off
    on = n_max > 0 and ratio is not None
    return {
        "n_max": n_max,
        "tokens_per_s": speed,
        "speedup": ratio,
        "speedup_interval": None if ratio is None else [0.9 * ratio, 1.1 * ratio],
        "acceptance": 0.7 if on else None,
        "acceptance_per_position": [0.9 - 0.1 * k for k in range(min(n_max, 9))] if on else [],
        "mean_accepted_length": 1 + 0.7 * n_max if on else None,
        "steps": 100,
        "step_cost": 1 + 0.2 * n_max,
        "break_even_acceptance": 0.3 if on else None,
        "first_token_s": 0.25,
    }


def asked(cell: str, answer: str) -> dict[str, Any]:
    return {
        "prompt": f"{cell}-1",
        "cell": cell,
        "round": 0,
        "question": "Which one?",
        "answer": answer,
        "ended": True,
        "prompt_tokens": 12,
        "first_token_s": 0.25,
        "tokens": 20,
        "predicted_s": 0.5,
        "tokens_per_s": 40.0,
        "drafted": 0,
        "accepted": 0,
    }


def difference(n_max: int, gap: float | None) -> dict[str, Any]:
    return {
        "cell": "code",
        "prompt": "code-1",
        "round": 0,
        "n_max": n_max,
        "position": 17,
        "off_token": " then",
        "arm_token": "\n",
        "gap": gap,
        "near_tie": gap is not None and gap < 0.25,
    }


def a_record(
    cells: Sequence[str] = ("code", "prose"),
    arms: Sequence[int] = (0, 1, 3),
    speed: Callable[[int], float | None] = lambda n_max: 40.0 + 10 * n_max,
) -> dict[str, Any]:
    """As `bench` makes one, of a pair on a card."""
    best = figures(arms[-1], speed(arms[-1]))
    return {
        "kind": "llmtp-bench",
        "record_version": 1,
        "created_at": 1_795_898_557.4,
        "llmtp": "0.1.0",
        "model": "gemma-4-12b",
        "machine": {
            "system": "Linux 6.18 x86_64",
            "cpu": "A CPU",
            "cores": 16,
            "ram_bytes": 64 << 30,
            "devices": [
                {
                    "id": "CUDA0",
                    "name": "A card",
                    "backend": "cuda",
                    "total_bytes": 24 << 30,
                    "used": True,
                }
            ],
            "driver": "580.1",
        },
        "engine": {
            "path": "/opt/llama-server",
            "source": "--engine",
            "build": "b11434",
            "file_bytes": 9 << 20,
        },
        "files": [
            {
                "role": role,
                "path": f"/models/{role}.gguf",
                "name": f"{role} model",
                "quant": "Q8_0",
                "file_bytes": 12 << 30,
            }
            for role in ("main", "draft")
        ],
        "plan": {
            "ctx_size": 32768,
            "parallel": 1,
            "kv_type": "q8_0",
            "ubatch": 512,
            "gpu_layers": 48,
            "cpu_experts": 0,
            "threads": 8,
            "tensor_split": [0.5, 0.5],
            "given_up": [{"step": "kv-type", "from": "f16", "to": "q8_0"}],
        },
        "settings": {
            "budget_s": 240.0,
            "rounds": 4,
            "tokens": 256,
            "whole_tokens": 640,
            "cells": list(cells),
        },
        "planned_n_max": 3,
        "arms": [
            figures(n_max, speed(n_max))
            | {
                "memory": {
                    "planned_bytes": 14 << 30,
                    "rss_bytes": 2 << 30,
                    "device_bytes": (13 << 30) + (n_max << 28),
                },
                "starts": 4,
                "argv": ["/opt/llama-server", "--model", "/models/my main.gguf"],
                "prompts": [asked(cell, "def f(): ..." + "\n" * (n_max > 2)) for cell in cells],
            }
            for n_max in arms
        ],
        "cells": [
            {
                "name": name,
                "workload": name,
                "depth": 0,
                "temp": 0.0,
                "n_max": arms[-1],
                "arms": [figures(n_max, speed(n_max)) for n_max in arms],
            }
            for name in cells
        ],
        "best_n_max": arms[-1],
        "speedup": best["speedup"],
        "speedup_interval": best["speedup_interval"],
        "acceptance": best["acceptance"],
        "break_even_acceptance": best["break_even_acceptance"],
        "identical_output": False,
        "is_whole": False,
        "compared_answers": 32,
        "equal_answers": 30,
        "near_ties": 1,
        "unjudged_differences": 2,
        "differences": [difference(3, 0.04), difference(1, None)],
        "checks": [
            {
                "prompt": "code-1",
                "asked": "Python that compiles",
                "n_max": n_max,
                "ok": n_max < 3,
                "why": None if n_max < 3 else "line 7: invalid syntax",
            }
            for n_max in arms
        ],
        "verdict": {
            "n_max": arms[-1],
            "is_sure": True,
            "sentence": f"keep n-max {arms[-1]}: it is faster",
            "more": ["at n-max 3 MTP pays above 30% acceptance; yours is 70%"],
        },
        "bound": {
            "token_bytes": 12 << 30,
            "gpu_bytes_per_s": 1e12,
            "ram_bytes_per_s": None,
            "source": "bus and clock of the card",
            "tokens_per_s": 77.5,
        },
        "others_cores": 0.2,
        "wall_s": 233.0,
        "noticed": [
            {
                "rule": "answers-differ",
                "level": "error",
                "message": "MTP changes the answers",
                "expected": "a near tie",
                "observed": "another token",
                "fix": "do not use MTP with this build",
            }
        ],
    }


def replaced(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of JSON with its leaves changed."""
    if isinstance(value, dict):
        return {key: replaced(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [replaced(one, change) for one in value]
    return change(value)


UNKNOWN = a_record(speed=lambda _: None) | {
    "speedup": None,
    "compared_answers": 0,
    "others_cores": None,
    "bound": None,
}
SHAPES = {
    "as it is": a_record(),
    "one cell, one arm": a_record(cells=("code",), arms=(0, 2)),
    "off alone": a_record(arms=(0,)),
    "16 arms": a_record(arms=range(17)),
    "40 cells": a_record(cells=[f"kind {number} at 128k, temp 0.7" for number in range(40)]),
    "slower": a_record(speed=lambda n_max: 40.0 / (1 + n_max)),
    "unknown": UNKNOWN,
    "nothing but nulls": replaced(a_record(), lambda v: None if isinstance(v, float) else v),
}

HOSTILE = (
    "</pre></style></title><script src='http://x.example/a.js'>alert(1)</script>"
    "<img src=//x.example onerror=alert(1)>&lt;\"'`${}\x1b[31m\u202e\ud800\x00javascript:"
)
