"""What a run has found, as a person and a program are told it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmtp.engine.steps import hits
from llmtp.errors import Finding
from llmtp.machine.tuned import Tuned
from llmtp.plan.result import Plan
from llmtp.tune.measure import Known
from llmtp.tune.search import TOP, Arm


@dataclass(frozen=True, slots=True)
class Row:
    """One arm: tokens per second of its own answers, None where it was not asked, and by all that
    was seen, by which arms are chosen. `rounds` is how many it was asked."""

    arm: Arm
    tokens_per_s: float | None
    judged_per_s: float
    acceptance: float | None
    step_s: float | None
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "n_max": self.arm.n_max,
            "p_min": self.arm.p_min,
            "draft_sampling": self.arm.draft_sampling,
            "tokens_per_s": self.tokens_per_s,
            "predicted_tokens_per_s": self.judged_per_s,
            "acceptance": self.acceptance,
            "step_s": self.step_s,
            "rounds": self.rounds,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a run: all arms, the one to run with, and what is remembered of it."""

    plan: Plan
    known: Known
    rows: tuple[Row, ...]
    best: Arm
    tuned: Tuned
    is_kept: bool
    starts: int
    wall_s: float
    findings: tuple[Finding, ...]

    @property
    def sentence(self) -> str:
        """What to do, in plain words."""
        tuned, off = self.tuned, f"{self.tuned.off_tokens_per_s:.1f} tokens/s"
        if not self.best.n_max:
            most = insisted(self.rows)
            return f"MTP off: {off}, and {most.judged_per_s:.1f} at {most.arm.name}"
        return f"{self.best.name}: {tuned.speedup:.2f} times as fast as off ({off})"

    def to_dict(self) -> dict[str, Any]:
        """The `data` of `tune --json`."""
        tuned, known = self.tuned, self.known
        steps = [step for some in known.steps.values() for step in some]
        shares, share = [], 1.0
        for right, drafts in hits(steps, TOP):
            share = min(right / drafts if drafts else 0.0, share)
            shares.append(share)
        return {
            "model": tuned.model,
            "best_n_max": self.best.n_max,
            "best_p_min": self.best.p_min,
            "best_draft_sampling": self.best.draft_sampling,
            "tokens_per_s": tuned.tokens_per_s,
            "speedup": tuned.speedup,
            "arms": [row.to_dict() for row in self.rows],
            "acceptance_per_position": shares,
            "draft_s": known.probed.draft_s if known.probed else None,
            "workload": tuned.workload,
            "temp": tuned.temp,
            "tokens": known.amount.tokens if known.amount else None,
            "setting": {
                "device": tuned.setting.device,
                "main": tuned.setting.main,
                "draft": tuned.setting.draft,
                "kv_type": tuned.setting.kv_type,
                "ctx_band": tuned.setting.ctx_band,
            },
            "build": tuned.build,
            "driver": tuned.driver,
            "starts": self.starts,
            "others_cores": round(known.others_cores, 3),
            "is_remembered": self.is_kept,
            "wall_s": round(self.wall_s, 3),
            "at": tuned.at,
            "noticed": [finding.to_dict() for finding in self.findings],
            "verdict": self.sentence,
        }


def insisted(rows: Sequence[Row]) -> Row:
    """The fastest n-max with MTP on that was measured."""
    on = [row for row in rows if row.tokens_per_s and row.arm.n_max and row.arm.is_plain]
    return max(on, key=lambda row: row.judged_per_s)


def rows_of(known: Known) -> tuple[Row, ...]:
    """By n-max, those with another rule for drafts behind the plain ones."""
    curve, speeds, judged = known.known_curve, known.speeds, known.judged
    plain = [Arm(n) for n in range(TOP + 1)]
    arms: Sequence[Arm] = [*plain, *(arm for arm in speeds if not arm.is_plain)]
    rows = []
    for arm in arms:
        visit = known.visit(arm)
        rows.append(
            Row(
                arm,
                speeds.get(arm),
                judged[arm] if arm in judged else curve.tokens_per_s(arm.n_max),
                visit.acceptance if visit else None,
                visit.step_s if visit else None,
                len({number for _, number in visit.speeds}) if visit else 0,
            )
        )
    return tuple(rows)
