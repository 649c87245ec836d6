"""What an interrupted run has seen, for the next one of the same: a file that goes when it is over.

A file that cannot be read is as good as none: the run begins anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmtp import paths
from llmtp.engine.steps import Step
from llmtp.machine.tuned import SAMPLINGS
from llmtp.tune.curve import Probed
from llmtp.tune.measure import Known, Visit
from llmtp.tune.search import TOP, Arm
from llmtp.tune.work import Amount

_VERSION = 1
#: A machine changes: what is older is measured again.
_MOST_AGE_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Progress:
    """The file of one run; `about` is everything that has to be the same."""

    about: Mapping[str, Any]

    @property
    def path(self) -> Path:
        digest = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()
        return _folder() / f"{digest[:16]}.json"

    def read(self) -> Known:
        """What is known; nothing where there is no such file."""
        kept = paths.read_cache(self.path)
        try:
            if kept["version"] != _VERSION or kept["about"] != self.about:
                return Known()
            if not 0 <= time.time() - kept["at"] < _MOST_AGE_S:
                return Known()
            return _known(kept["known"])
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
            return Known()

    def keep(self, known: Known) -> None:
        """Replace it; on a full disk another run begins anew."""
        kept = {"version": _VERSION, "at": time.time(), "about": self.about, "known": _plain(known)}
        paths.write_cache(self.path, json.dumps(kept))

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def forget_progress(names: Sequence[str] | None) -> int:
    """Remove what stopped runs of a model have left, or those of all; how many."""
    count = 0
    for path in _folder().glob("*.json"):
        about = paths.read_cache(path).get("about")
        if names is None or (isinstance(about, dict) and about.get("model") in names):
            with contextlib.suppress(OSError):
                path.unlink()
                count += 1
    return count


def _folder() -> Path:
    return paths.state_dir() / "tune"


def _plain(known: Known) -> dict[str, Any]:
    probed = known.probed
    return {
        "amount": asdict(known.amount) if known.amount else None,
        "build": known.build,
        "others_cores": known.others_cores,
        "earlier_s": known.earlier_s,
        "probed": None
        if probed is None
        else {
            "long": _plain_steps(probed.long),
            "short": _plain_steps({"": probed.short})[""],
            "draft_s": probed.draft_s,
        },
        "visits": [
            {
                "arm": asdict(visit.arm),
                "speeds": [[*place, speed] for place, speed in visit.speeds.items()],
                "steps": _plain_steps(visit.steps),
            }
            for visit in known.visits
        ],
    }


def _known(kept: Mapping[str, Any]) -> Known:
    amount, probed = kept["amount"], kept["probed"]
    known = Known(
        amount=Amount(int(amount["rounds"]), int(amount["tokens"])),
        build=None if kept["build"] is None else str(kept["build"]),
        others_cores=float(kept["others_cores"]),
        earlier_s=float(kept["earlier_s"]),
    )
    draft_s = probed["draft_s"]
    known.probed = Probed(
        TOP,
        _steps(probed["long"]),
        _steps({"": probed["short"]})[""],
        None if draft_s is None else float(draft_s),
    )
    for visit in kept["visits"]:
        arm = Arm(**visit["arm"])
        speeds = {(str(kind), int(number)): float(speed) for kind, number, speed in visit["speeds"]}
        if not _is_possible(arm) or not speeds or not all(map(_is_time, speeds.values())):
            raise ValueError("no such visit is possible")
        known.visits.append(Visit(arm, speeds, _steps(visit["steps"])))
    if known.curve is None and (known.probed.short or known.visits):
        raise ValueError("nothing follows from it")
    return known


def _is_possible(arm: Arm) -> bool:
    known = type(arm.n_max) is int and arm.draft_sampling in SAMPLINGS
    return known and 0 <= arm.n_max <= TOP and 0 <= arm.p_min < 1


def _is_time(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _plain_steps(steps: Mapping[str, Sequence[Step]]) -> dict[str, list[list[float]]]:
    return {
        kind: [[one.drafted, one.accepted, one.took_s] for one in some]
        for kind, some in steps.items()
    }


def _steps(kept: Mapping[str, Any]) -> dict[str, tuple[Step, ...]]:
    found = {
        str(kind): tuple(Step(int(d), int(a), float(s)) for d, a, s in some)
        for kind, some in kept.items()
    }
    for some in found.values():
        counts = all(0 <= one.accepted <= one.drafted <= TOP for one in some)
        if not counts or not all(_is_time(one.took_s) for one in some):
            raise ValueError("no such step is possible")
    return found
