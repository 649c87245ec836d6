"""What `tune` does once it knows for what: prepare, register, measure, remember, show."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmtp import signals, story
from llmtp.chain import Prepared, Watch, temp_of
from llmtp.cli import views
from llmtp.cli.lines import Lines
from llmtp.cli.output import Out, ReaderGoneError
from llmtp.cli.words import tune_summary
from llmtp.errors import ExitCode, LlmtpError, NotFoundError, UsageError
from llmtp.machine import tuned as remembered
from llmtp.registered import Registered, ended, register_measured
from llmtp.server.log import RunLog, log_path
from llmtp.text import clean
from llmtp.tune.conduct import Tuning, check_context
from llmtp.tune.measure import Known, Told, Visit
from llmtp.tune.progress import forget_progress
from llmtp.tune.search import TOP, Arm
from llmtp.units import format_duration, format_rate

if TYPE_CHECKING:
    from llmtp.tune.result import Found
    from llmtp.tune.work import Prompt, Work

#: Servers that are mostly started after the first, and where off is expected to be the best.
_MORE, _MORE_OF_OFF = 4, 2


def tune(
    out: Out,
    prepare: Callable[[Watch], Prepared],
    model: str,
    work: Work,
    page: Path | None,
    *,
    temp_is_asked: bool,
) -> None:
    """The whole run. What is measured when it is stopped is kept for the next one."""
    with views.for_download(out) as view:
        prepared = prepare(
            Watch(lambda pair: view.event(story.checked(pair)), view.note, view.downloading)
        )
    draft = prepared.reference.draft
    if draft is None:
        raise RuntimeError("a plan that drafts has a drafter")
    check_context(prepared)
    if not temp_is_asked:
        work = replace(work, temp=temp_of(prepared) or 0.0)
    tuning = Tuning(prepared, draft, work, model)
    remembered.check_place()
    out.say(tune_summary(prepared.plan, work.name, work.temp))
    with contextlib.ExitStack() as stack:
        with signals.hold():
            registration = register_measured(prepared, "tune")
            stack.enter_context(ended(registration, fine=ReaderGoneError))
        told = Progress(out, registration.keep, tuning)
        stack.callback(told.close)
        try:
            found = tuning.run(
                RunLog(log_path(prepared.plan.name, prepared.request.serving.port)),
                Registered(views.MeasuringView(out), registration),
                registration.marks,
                told.told(),
            )
        except (signals.Interrupted, LlmtpError):
            told.kept()
            raise
    _show(out, found, page)


def forget(out: Out, model: str | None) -> None:
    """Drop what is remembered, and what stopped runs have left; raises NotFoundError where there
    is nothing of that name."""
    names = None if model is None else (model, Path(model).name.removesuffix(".gguf"))
    gone = remembered.forget(names)
    stopped = forget_progress(names)
    if names is not None and not gone and not stopped:
        known = sorted({one.model for one in remembered.recall().entries})
        raise NotFoundError(
            f"nothing was tuned under the name {clean(str(model), 100)}",
            rule="tuned",
            expected=", ".join(known) or "nothing is remembered",
            fix="type one of these, or no name to forget all",
        )
    data = {"model": model, "forgotten": len(gone), "stopped_runs": stopped}
    results = f"{len(gone) or 'no'} result{'' if len(gone) == 1 else 's'}"
    left = f", and {stopped} that {'was' if stopped == 1 else 'were'} stopped" if stopped else ""
    text = f"{results} forgotten{left}\n"
    out.result(data, [], text, ExitCode.OK)


class Progress:
    """A line a server; on a terminal also what is being asked now."""

    def __init__(self, out: Out, keep: Callable[[], None], tuning: Tuning) -> None:
        """`keep` is called now and then, for whoever has to be kept alive."""
        self._lines = Lines(out)
        self._keep = keep
        self._now, self._began = "", 0.0
        self._known = known = tuning.known
        if known.probed is None:
            out.say(
                f"one server tells of n-max 1 to {TOP}, then two to five measure the best, off, "
                "and what may be better"
            )
            return
        count = len(known.visits) + 1
        are = "server is" if count == 1 else "servers are"
        out.say(f"going on from a run that was stopped: {count} {are} measured already")

    def told(self) -> Told:
        return Told(
            self._starting, self._asking, self._probed, self._visited, lambda _: None, self._ending
        )

    def _ending(self) -> None:
        self._lines.say("stopping ...")

    def kept(self) -> None:
        """That nothing of what was seen is lost."""
        if self._known.probed is not None:
            self._lines.say("what is measured is kept: the same command goes on from there")

    def close(self) -> None:
        self._lines.close()

    def _starting(self, arm: Arm | None, expected: float | None) -> None:
        self._began = time.monotonic()
        self._now = "all n-max" if arm is None else arm.name
        words = "" if expected is None else f", {format_rate(expected)} tokens/s expected"
        self._lines.draw(f"{self._now}{words}: starting ...")

    def _asking(self, prompt: Prompt | None) -> None:
        self._lines.draw(f"{self._now}: {prompt.kind if prompt else 'warming up'} ...")

    def _probed(self, known: Known, took_s: float) -> None:
        curve, amount = known.curve, known.amount
        if curve is None or amount is None:
            return
        start_s = time.monotonic() - self._began - took_s
        answers = amount.rounds * amount.tokens * len(known.steps)
        more = _MORE if curve.best else _MORE_OF_OFF
        left_s = more * (start_s + answers / curve.tokens_per_s(curve.best))
        best = Arm(curve.best).name
        self._lines.say(
            f"{'all n-max':<12} {best} is expected to be the best; about "
            f"{format_duration(left_s)} to go, Ctrl-C keeps what is measured by then"
        )
        self._keep()

    def _visited(self, visit: Visit, speed: float) -> None:
        self._lines.say(f"{visit.arm.name:<12} {format_rate(speed):>6} tokens/s")
        self._keep()


def _show(out: Out, found: Found, page: Path | None) -> None:
    from llmtp.cli.render import tunes

    code = ExitCode.OK
    findings = [one for one in found.findings if one not in out.noticed]
    place = str(remembered.place()) if found.is_kept else None
    files: dict[str, str | None] = {"remembered": place, "html": None}
    if page is not None:
        from llmtp.cli.pages import write_page
        from llmtp.tune.page import make_page

        try:
            files["html"] = str(write_page(page, make_page(found.to_dict())))
        except UsageError as error:
            findings += error.findings
            code = ExitCode.USAGE
    out.result(
        found.to_dict() | files, findings, lambda console: tunes.render(console, found), code
    )
