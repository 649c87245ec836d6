"""How a running server is told: JSON lines, plain lines, or only what a one-shot needs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from llmtp.chain import Prepared
from llmtp.cli.output import Out, ReaderGoneError
from llmtp.cli.words import describe, download_line, draining_line, kept_line, sample_line, summary
from llmtp.errors import Finding
from llmtp.machine.marks import is_detached
from llmtp.metrics.sampler import Sample
from llmtp.server.life import State
from llmtp.signals import Interrupted
from llmtp.start import SAMPLE_EVERY_S
from llmtp.story import Event, View, planned
from llmtp.units import format_duration

if TYPE_CHECKING:
    from llmtp.hub.fetch import Progress

_PLAIN_EVERY_S = 5.0


class RunView(View, Protocol):
    """A view of what comes before a start too, that opens and closes what it draws on."""

    def note(self, text: str) -> None: ...

    def downloading(self, progress: Progress) -> None: ...

    def __enter__(self) -> RunView: ...

    def __exit__(self, *_: object) -> None: ...


def choose(out: Out, *, live: bool, once: bool) -> RunView:
    """The view for this terminal and these options."""
    if out.lines:
        return DetachedView(out) if is_detached() else JsonView(out)
    if out.as_json:
        return QuietView(out)
    if out.quiet and not once:
        return WarningView(out)
    if once:
        return OnceView(out)
    if live:
        from llmtp.cli.render.live import LiveView

        return LiveView(out)
    return PlainView(out)


def for_download(out: Out) -> RunView:
    """The view of a command that only downloads: it tells people, on stderr."""
    if out.as_json or out.quiet:
        return QuietView(out)
    if sys.stderr.isatty():
        from llmtp.cli.render.live import LiveView

        return LiveView(out, sys.stderr)
    return PlainView(out, out.say)


class QuietView:
    """Findings, and nothing else: the answer is what was asked for."""

    def __init__(self, out: Out) -> None:
        self._out = out

    def prepared(self, prepared: Prepared) -> None:
        for finding in prepared.findings:
            self.finding(finding)

    def note(self, text: str) -> None:
        pass

    def downloading(self, progress: Progress) -> None:
        pass

    def event(self, event: Event) -> None:
        pass

    def finding(self, finding: Finding) -> None:
        self._out.finding(finding)

    def loading(self, elapsed_s: float, loaded_bytes: int | None, total_bytes: int) -> None:
        pass

    def sample(self, sample: Sample, uptime_s: float) -> None:
        pass

    def state(self, state: State) -> None:
        pass

    def draining(self, requests: int, at_most_s: float) -> None:
        pass

    def __enter__(self) -> QuietView:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class WarningView(QuietView):
    """Of a server that is kept up: where it is, and what went wrong with it."""

    def event(self, event: Event) -> None:
        if event.name == "ready":
            self._out.data(f"{event.fields['id']}  {event.fields['url']}/v1\n")
        if event.name == "restarting" and (text := describe(event, verbose=False)):
            self.finding(Finding(event.fields["rule"], "warning", text))


class MeasuringView(QuietView):
    """Of many starts of one plan: what is noticed is told once."""

    def __init__(self, out: Out) -> None:
        super().__init__(out)
        self._told: set[Finding] = set()

    def finding(self, finding: Finding) -> None:
        if finding not in self._told:
            self._told.add(finding)
            super().finding(finding)


class OnceView(QuietView):
    """The answer is what was asked for; a download before it is told on stderr."""

    def __init__(self, out: Out) -> None:
        super().__init__(out)
        self._download: RunView | None = None
        self._open = contextlib.ExitStack()

    def note(self, text: str) -> None:
        self._view().note(text)

    def downloading(self, progress: Progress) -> None:
        self._view().downloading(progress)
        if progress.is_done:
            self._open.close()

    def event(self, event: Event) -> None:
        if event.name == "memory" and (text := describe(event, verbose=self._out.verbose)):
            self._out.say(text)

    def _view(self) -> RunView:
        if self._download is None:
            self._download = self._open.enter_context(for_download(self._out))
        return self._download

    def __exit__(self, *ending: Any) -> None:
        self._open.__exit__(*ending)


class _NowAndThen:
    """Lets through the first, the last, and one a while between them."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._last = every_s, 0.0

    def lets(self, progress: Progress) -> bool:
        now = time.monotonic()
        if now - self._last < self._every_s and not progress.is_done:
            return False
        self._last = now
        return True


class JsonView(QuietView):
    """One JSON object a line; the boundary writes the last one."""

    def __init__(self, out: Out) -> None:
        super().__init__(out)
        self._pace = _NowAndThen(SAMPLE_EVERY_S)

    def downloading(self, progress: Progress) -> None:
        if self._pace.lets(progress):
            self.event(Event("downloading", progress.to_dict()))

    def prepared(self, prepared: Prepared) -> None:
        super().prepared(prepared)
        self.event(planned(prepared))

    def event(self, event: Event) -> None:
        with contextlib.ExitStack() as stack:
            if event.name == "stopped":  # whatever ended the server is the news, not the reader
                stack.enter_context(contextlib.suppress(ReaderGoneError))
            self._out.line({"event": event.name, "at": time.time(), **event.fields})

    def sample(self, sample: Sample, uptime_s: float) -> None:
        if not self._out.keeps_up():
            return
        self.event(Event("sample", {"uptime_s": round(uptime_s, 3), **sample.to_dict()}))


class DetachedView(JsonView):
    """For the llmtp that started this one: what happens until the server is ready.

    Then it holds neither a terminal nor a pipe any more.
    """

    def __init__(self, out: Out) -> None:
        super().__init__(out)
        self._lets_go = False

    def event(self, event: Event) -> None:
        if not self._lets_go:
            super().event(event)

    def finding(self, finding: Finding) -> None:
        super().finding(finding)
        self.event(Event("finding", {"finding": finding.to_dict()}))

    def loading(self, elapsed_s: float, loaded_bytes: int | None, total_bytes: int) -> None:
        fields = {"elapsed_s": elapsed_s, "loaded_bytes": loaded_bytes, "total_bytes": total_bytes}
        self.event(Event("loading", fields))

    def sample(self, sample: Sample, uptime_s: float) -> None:
        pass

    def state(self, state: State) -> None:
        if state is State.READY and not self._lets_go:
            self.event(Event("kept"))
            self._lets_go = True
            self._out.let_go()


class PlainView(QuietView):
    """A line for what happens, and one every few seconds while something changes."""

    def __init__(self, out: Out, say: Callable[[str], None] | None = None) -> None:
        super().__init__(out)
        self._say = say
        self._shown = ""
        self._shown_at = 0.0
        self._context = 0
        self._pace = _NowAndThen(_PLAIN_EVERY_S)
        self._progress: Progress | None = None

    def __exit__(self, *ending: Any) -> None:
        if isinstance(ending[1], Interrupted) and self._progress and not self._progress.is_done:
            self._line(kept_line(self._progress))

    def note(self, text: str) -> None:
        self._line(text)

    def downloading(self, progress: Progress) -> None:
        self._progress = progress
        if self._pace.lets(progress):
            self._line(download_line(progress))

    def prepared(self, prepared: Prepared) -> None:
        super().prepared(prepared)
        self._context = prepared.plan.ctx_size
        self._line(summary(prepared.plan))

    def event(self, event: Event) -> None:
        text = describe(event, verbose=self._out.verbose)
        if text:
            self._line(text)

    def draining(self, requests: int, at_most_s: float) -> None:
        self._line(draining_line(requests, at_most_s))

    def sample(self, sample: Sample, uptime_s: float) -> None:
        if not self._out.keeps_up():
            return
        text = sample_line(sample, self._context)
        now = time.monotonic()
        if text != self._shown and now - self._shown_at >= _PLAIN_EVERY_S:
            self._shown, self._shown_at = text, now
            self._line(f"{format_duration(uptime_s)}  {text}")

    def _line(self, text: str) -> None:
        if self._say is not None:
            self._say(text)
        else:
            self._out.data(text + "\n")
