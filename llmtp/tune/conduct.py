"""One whole run: what is known, what is measured, what comes of it, and what is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmtp.bench import surroundings
from llmtp.bench.starts import Starts
from llmtp.chain import Prepared
from llmtp.errors import Finding, UsageError
from llmtp.fingerprint import fingerprint, fingerprints
from llmtp.gguf.model import ModelFacts
from llmtp.machine.detect import nvidia_driver
from llmtp.machine.tuned import Tuned, remember
from llmtp.plan.tuned import setting_of
from llmtp.server.log import RunLog
from llmtp.story import View
from llmtp.tune.measure import Known, Told, Tuner
from llmtp.tune.progress import Progress
from llmtp.tune.result import Found, Row, insisted, rows_of
from llmtp.tune.search import Arm, winner
from llmtp.tune.work import Work
from llmtp.units import format_count

#: For the longest question, answer and draft.
_LEAST_CONTEXT = 512


def check_context(prepared: Prepared) -> None:
    """Raises UsageError for one that has no room for questions and answers."""
    context = prepared.plan.ctx_size // prepared.plan.parallel
    if context < _LEAST_CONTEXT:
        raise UsageError(
            f"a context of {format_count(context)} tokens has no room for what tune asks",
            rule="ctx",
            expected=f"at least {_LEAST_CONTEXT}",
            fix="use a larger --ctx",
        )


def _not_kept() -> Finding:
    return Finding(
        "not-remembered",
        "info",
        "what is measured with arguments of the engine is not remembered: run would not pass them",
        fix="give run the same arguments and this n-max with --n-max",
    )


class Tuning:
    """A run that may go on from where another one was stopped."""

    def __init__(self, prepared: Prepared, draft: ModelFacts, work: Work, asked: str) -> None:
        """`prepared` is planned for the largest n-max; `asked` is what the user typed for it."""
        self._asked = asked
        self._draft = draft
        self._prepared = prepared
        self._work = work
        self._engine = fingerprint(prepared.engine.path) or ""
        self._driver = nvidia_driver()
        self.setting = setting_of(prepared.plan, draft, prepared.request.wishes)
        self._progress = Progress(self._about())
        self.known = self._progress.read()

    def run(self, log: RunLog, view: View, marks: Mapping[str, str | None], told: Told) -> Found:
        """Measure what is not known yet. Raises what ends a server before its time; what is known
        by then is kept for the next run."""
        plan, known, began = self._prepared.plan, self.known, time.monotonic()
        before = [*surroundings.other_servers(), *surroundings.busy_cards(plan)]
        for finding in before:
            view.finding(finding)
        starts, earlier_s = Starts(log, view, marks), known.earlier_s

        def keep(now: Known) -> None:
            now.earlier_s = earlier_s + time.monotonic() - began
            self._progress.keep(now)

        Tuner(self._prepared, self._work, known, starts, replace(told, keep=keep)).run()
        wall_s = earlier_s + time.monotonic() - began
        best = winner(known.judged)
        findings = [
            *before,
            *surroundings.load(known.others_cores),
            *surroundings.log_lost(log),
            *self._pinned(best),
        ]
        rows = rows_of(known)
        tuned = self._tuned(best, insisted(rows))
        is_kept = not self._prepared.request.extra
        findings += self._remember(tuned) if is_kept else [_not_kept()]
        self._progress.remove()
        return Found(
            plan, known, rows, best, tuned, is_kept, len(known.visits) + 1, wall_s, tuple(findings)
        )

    def _remember(self, tuned: Tuned) -> list[Finding]:
        aside = remember(tuned)
        if aside is None:
            return []
        text = f"what was kept before could not be read as a whole: it is in {aside} now"
        return [Finding("tuned-damaged", "warning", text, fix=f"if nobody needs it: rm {aside}")]

    def _tuned(self, best: Arm, insisted: Row) -> Tuned:
        speeds, plan = self.known.judged, self._prepared.plan
        times = self.known.known_curve.step_s
        costs = tuple(round(one / times[0], 4) for one in times)
        return Tuned(
            setting=self.setting,
            model=plan.name,
            asked=self._asked[:200],
            n_max=best.n_max,
            p_min=best.p_min,
            draft_sampling=best.draft_sampling,
            tokens_per_s=speeds[best],
            off_tokens_per_s=speeds[Arm(0)],
            insisted_n_max=insisted.arm.n_max,
            insisted_tokens_per_s=insisted.judged_per_s,
            step_costs=costs,
            workload=self._work.name,
            temp=self._work.temp,
            build=self.known.build,
            engine=self._engine,
            driver=self._driver,
            files=fingerprints([facts.path for facts in (plan.main, self._draft)]),
            at=time.strftime("%Y-%m-%d"),
        )

    def _pinned(self, best: Arm) -> list[Finding]:
        profile = self._prepared.reference.profile
        if profile is None or profile.n_max is None:
            return []
        return [
            Finding(
                "pinned",
                "info",
                f"the profile {profile.name} pins n-max {profile.n_max or 'off'}, which run uses",
                fix=f"run with --n-max {best.n_max or 'off'}, or take n_max out of the profile",
            )
        ]

    def _about(self) -> dict[str, Any]:
        """Everything that a result depends on."""
        plan, setting = self._prepared.plan, self.setting
        return {
            "model": plan.name,
            "device": setting.device,
            "main": setting.main,
            "draft": setting.draft,
            "paths": [str(facts.path) for facts in self._prepared.reference.models],
            "kv_type": plan.kv_type,
            "ctx_size": plan.ctx_size,
            "ubatch": plan.ubatch,
            "gpu_layers": plan.gpu_layers,
            "cpu_experts": plan.cpu_experts,
            "engine": self._engine,
            "driver": self._driver,
            "workload": self._work.name,
            "temp": self._work.temp,
            "extra": list(self._prepared.request.extra),
        }
