"""A run of the bench as one JSON object: everything that a comparison or a page needs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmtp import __version__, paths
from llmtp.bench.bound import Bound
from llmtp.bench.checks import CHECKS, check
from llmtp.bench.compare import PLANNED
from llmtp.bench.measure import Measured
from llmtp.bench.result import Result
from llmtp.bench.same import comparable
from llmtp.bench.verdict import Verdict, choose
from llmtp.chain import Prepared
from llmtp.errors import Finding, NotFoundError, UsageError
from llmtp.fingerprint import fingerprint
from llmtp.text import clean, file_name

#: Changes when a field changes its meaning or goes.
VERSION = 1
_KIND = "llmtp-bench"
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Context:
    """What a run was of. `planned_n_max` is what `run` would take."""

    prepared: Prepared
    planned_n_max: int
    driver: str | None
    bound: Bound | None


def make_record(
    context: Context,
    measured: Measured,
    result: Result,
    verdict: Verdict,
    noticed: Sequence[Finding],
) -> dict[str, Any]:
    """The `data` of `bench --json`, and what the file has."""
    scheme, best = measured.scheme, result.best
    load = max((visit.others_cores for visit in measured.visits), default=0.0)
    return {
        "kind": _KIND,
        "record_version": VERSION,
        "created_at": time.time(),
        "llmtp": __version__,
        "model": context.prepared.plan.name,
        "machine": _machine(context),
        "engine": _engine(context.prepared, measured),
        "files": [_file(role, facts) for role, facts in _files(context.prepared)],
        "plan": _plan(context.prepared),
        "settings": {
            "budget_s": scheme.budget_s,
            "rounds": measured.rounds,
            "tokens": measured.lengths.tokens,
            "whole_tokens": measured.lengths.whole,
            "cells": [cell.name for cell in scheme.cells],
        },
        "planned_n_max": context.planned_n_max,
        "arms": [_arm(measured, result, n_max) for n_max in scheme.arms],
        "cells": [
            {
                "name": one.cell.name,
                "workload": one.cell.workload.name,
                "depth": one.cell.depth,
                "temp": one.cell.temp,
                "n_max": choose(one.arms),
                "arms": [figures.to_dict() for figures in one.arms],
            }
            for one in result.cells
        ],
        "best_n_max": best.n_max,
        "speedup": best.speedup.value if best.speedup else None,
        "speedup_interval": best.speedup.interval if best.speedup else None,
        "acceptance": best.acceptance,
        "break_even_acceptance": best.break_even,
        **_same(measured),
        "checks": _checks(measured),
        "verdict": verdict.to_dict(),
        "bound": context.bound.to_dict() if context.bound else None,
        "others_cores": round(load, 3),
        "wall_s": round(measured.wall_s, 3),
        "is_whole": measured.ended_by is None,
        "noticed": [finding.to_dict() for finding in noticed],
    }


def check_place() -> None:
    """Raises UsageError where no record can be kept, before minutes are spent."""
    try:
        paths.check_writable(paths.private_dir(_folder()))
    except OSError as error:
        raise _unwritable(_folder(), error) from error


def write_record(record: dict[str, Any]) -> Path:
    """Keep it among the others; raises UsageError where there is no place for it."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(record["created_at"]))
    path = _folder() / f"{file_name(record['model'])}-{stamp}-{os.getpid()}.json"
    text = json.dumps(record, indent=1)
    try:
        paths.private_dir(path.parent)
        paths.replace_file(path, text)
    except OSError as error:
        raise _unwritable(path, error) from error
    return path


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path} cannot be written: {error.strerror}",
        rule="record",
        fix="make room there, or name another place in XDG_STATE_HOME",
    )


def read_record(path: Path) -> dict[str, Any]:
    """A record, or what `bench --json` printed. Raises NotFoundError and UsageError."""
    shown = clean(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        value = json.loads(data) if len(data) <= _MOST_BYTES else None
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no record {shown}", rule="record", fix=f"see what is in {_folder()}"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{shown} cannot be read: {error.strerror}", rule="record", fix="name another file"
        ) from None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and isinstance(value.get("data"), dict):
        value = value["data"]
    if not isinstance(value, dict) or value.get("kind") != _KIND:
        raise UsageError(
            f"{shown} is no record of llmtp bench",
            rule="record",
            expected="a file that llmtp bench wrote, or what llmtp bench --json printed",
            fix=f"see what is in {_folder()}",
        )
    if value.get("record_version") != VERSION:
        raise UsageError(
            f"{shown} is a record of another form",
            rule="record",
            expected=f"record_version {VERSION}",
            observed=clean(str(value.get("record_version")), 20),
            fix="run llmtp bench again with this llmtp",
        )
    return value


def _same(measured: Measured) -> dict[str, Any]:
    """Whether drafting changed what was answered; None where that could not be told."""
    compared, found = list(comparable(measured.answers)), measured.differences
    unknown = measured.unjudged + sum(one.is_near_tie is None for one in found)
    identical = None if unknown or not compared else True
    return {
        "identical_output": False if any(one.is_near_tie is False for one in found) else identical,
        "compared_answers": len(compared),
        "equal_answers": sum(off.tokens == arm.tokens for off, arm in compared),
        "near_ties": sum(one.is_near_tie is True for one in found),
        "unjudged_differences": unknown,
        "differences": [one.to_dict() for one in found],
    }


def _folder() -> Path:
    return paths.state_dir() / "bench"


def _arm(measured: Measured, result: Result, n_max: int) -> dict[str, Any]:
    visits = [visit for visit in measured.visits if visit.n_max == n_max]
    memory = visits[-1].memory
    fields = result.arm(n_max).to_dict()
    return fields | {
        "memory": {
            "planned_bytes": memory.planned_bytes,
            "rss_bytes": memory.rss_bytes,
            "device_bytes": memory.device_bytes,
        },
        "starts": len(visits),
        "argv": list(measured.argv[n_max]),
        "prompts": [
            {
                "prompt": one.question.id,
                "cell": one.question.cell.name,
                "round": one.round_number,
                "question": one.question.text,
                "answer": one.text,
                "ended": one.ended,
                "prompt_tokens": one.timings.prompt_tokens,
                "first_token_s": one.timings.prompt_s,
                "tokens": one.timings.predicted,
                "predicted_s": one.timings.predicted_s,
                "tokens_per_s": one.timings.tokens_per_s,
                "drafted": one.timings.drafted,
                "accepted": one.timings.accepted,
            }
            for visit in visits
            for one in visit.answers
        ],
    }


def _checks(measured: Measured) -> list[dict[str, Any]]:
    """Of the structured answers, arm beside arm; `ok` is None where the limit cut one off."""
    found = []
    for one in measured.answers:
        if one.round_number == 0 and one.question.is_whole:
            workload = one.question.cell.workload.name
            why = check(workload, one.text) if one.ended else "cut off by the limit of tokens"
            found.append(
                {
                    "prompt": one.question.id,
                    "cell": one.question.cell.name,
                    "asked": CHECKS[workload][0],
                    "n_max": one.n_max,
                    "ok": None if not one.ended else why is None,
                    "why": why,
                }
            )
    return sorted(found, key=lambda row: (row["prompt"], row["n_max"]))


def _machine(context: Context) -> dict[str, Any]:
    plan = context.prepared.plan
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": plan.host.cpu,
        "cores": os.cpu_count(),
        "ram_bytes": plan.host.total_bytes,
        "devices": [
            {
                "id": usage.device.id,
                "name": usage.device.name,
                "backend": usage.device.backend,
                "total_bytes": usage.device.total_bytes,
                "used": any(usage.device is gpu for gpu in plan.gpus),
            }
            for usage in plan.devices
        ],
        "driver": context.driver,
    }


def _engine(prepared: Prepared, measured: Measured) -> dict[str, Any]:
    engine = prepared.engine
    return {
        "path": str(engine.path),
        "source": engine.source,
        "build": measured.build,
        "file_bytes": measured.engine_bytes,
    }


def _files(prepared: Prepared) -> list[tuple[str, Any]]:
    reference = prepared.reference
    return [
        (role, facts)
        for role, facts in (("main", reference.main), ("draft", reference.draft))
        if facts is not None
    ]


def _file(role: str, facts: Any) -> dict[str, Any]:
    return {
        "role": role,
        "path": str(facts.path),
        "name": facts.name,
        "quant": facts.quant,
        "file_bytes": facts.file_bytes,
        "fingerprint": fingerprint(facts.path),
    }


def _plan(prepared: Prepared) -> dict[str, Any]:
    plan = prepared.plan.to_dict()
    return {name: plan[name] for name in (*PLANNED, "given_up")}
