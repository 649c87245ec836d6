"""What `bench` does once it knows what to measure: prepare, register, measure, keep, show."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtp import signals, story
from llmtp.bench import conduct as conducting
from llmtp.bench.measure import Measured, Told, Visit
from llmtp.bench.record import check_place, write_record
from llmtp.bench.scheme import Question, Scheme, arm_name
from llmtp.chain import Prepared, Watch
from llmtp.cli import views
from llmtp.cli.lines import Lines
from llmtp.cli.output import Out, ReaderGoneError
from llmtp.cli.pages import write_page
from llmtp.cli.words import bench_summary
from llmtp.errors import ExitCode, LlmtpError, UsageError
from llmtp.plan.build import is_small
from llmtp.registered import Registered, ended, register_measured
from llmtp.server.log import RunLog, log_path
from llmtp.signals import Interrupted
from llmtp.units import format_count, format_duration, format_rate

if TYPE_CHECKING:
    from llmtp.bench.conduct import Done


def measure(
    out: Out,
    prepare: Callable[[Watch], Prepared],
    scheme: Scheme,
    page: Path | None,
    require_speedup: float | None,
) -> ExitCode:
    """The whole run; the exit code says whether what was required was met."""
    with views.for_download(out) as view:
        watch = Watch(lambda pair: view.event(story.checked(pair)), view.note, view.downloading)
        prepared = prepare(watch)
    scheme = replace(scheme, is_small=is_small(prepared.plan.main))
    conducting.check_scheme(prepared, scheme)
    check_place()
    out.say(bench_summary(prepared.plan, scheme.arms))
    done: Done | None = None
    try:
        with contextlib.ExitStack() as stack:
            with signals.hold():
                registration = register_measured(prepared, "bench")
                stack.enter_context(ended(registration, fine=ReaderGoneError))
            progress = Progress(out, registration.keep)
            stack.callback(progress.close)
            done = conducting.conduct(
                prepared,
                scheme,
                RunLog(log_path(prepared.plan.name, prepared.request.serving.port)),
                Registered(views.MeasuringView(out), registration),
                registration.marks,
                Told(progress.begun, progress.asking, progress.visited, progress.ending),
                require_speedup,
            )
            if done.measured.ended_by is not None:
                raise done.measured.ended_by
    except (Interrupted, LlmtpError) as error:
        if done is None:
            raise
        return _show(out, done, page, ExitCode(error.exit_code))
    return _show(out, done, page, ExitCode.OK)


class Progress:
    """A line an arm and round; on a terminal also what is being asked now."""

    def __init__(self, out: Out, keep: Callable[[], None]) -> None:
        """`keep` is called now and then, for whoever has to be kept alive."""
        self._lines = Lines(out)
        self._keep = keep
        self.close = self._lines.close

    def begun(self, measured: Measured) -> None:
        self._lines.say(_plan_words(measured))

    def asking(self, question: Question, n_max: int, round_number: int) -> None:
        where = _where(round_number, n_max)
        self._lines.draw(f"{where} {question.cell.name} {question.number} ...")

    def visited(self, visit: Visit) -> None:
        where, speed = _where(visit.round_number, visit.n_max), format_rate(visit.tokens_per_s)
        self._lines.say(f"{where} {speed:>6} tokens/s  {visit.took_s:6.1f} s")
        self._keep()

    def ending(self) -> None:
        self._lines.say("stopping ...")


def _where(round_number: int, n_max: int) -> str:
    return f"round {round_number + 1}  {arm_name(n_max):<8}"


def _show(out: Out, done: Done, page: Path | None, code: ExitCode) -> ExitCode:
    """All of it, also where a file cannot be written: that is told beside the rest."""
    from llmtp.cli.render import benches

    findings, files = list(done.findings), dict[str, str | None]()
    if code is ExitCode.OK and any(finding.level == "error" for finding in findings):
        code = ExitCode.MTP_INACTIVE
    for name, write in (("record", write_record), ("html", partial(_write_page, page))):
        files[name] = None
        try:
            written = write(done.record)
            files[name] = None if written is None else str(written)
        except UsageError as error:
            findings += error.findings
            code = ExitCode.USAGE if code is ExitCode.OK else code
    out.result(done.record | files, findings, lambda console: benches.render(console, done), code)
    if kept := "; ".join(f"{name} {file}" for name, file in files.items() if file is not None):
        out.say(kept)
    return code


def _write_page(path: Path | None, record: dict[str, Any]) -> Path | None:
    if path is None:
        return None
    from llmtp.bench.page.make import make_page

    return write_page(path, make_page(record))


def _plan_words(measured: Measured) -> str:
    scheme, lengths = measured.scheme, measured.lengths
    questions = len(list(scheme.questions(0)))
    asked = f"{questions} question{'s' if questions > 1 else ''}"
    whole = f" ({lengths.whole} where a form is checked)" if lengths.whole > lengths.tokens else ""
    return (
        f"{asked} a round, answers of up to {format_count(lengths.tokens)} tokens{whole}\n"
        f"about {format_duration(measured.round_s)} a round, for {format_duration(scheme.budget_s)}"
        "; Ctrl-C ends it with what is measured by then"
    )
