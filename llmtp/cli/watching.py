"""How a watched server is told: JSON lines, plain lines, one look, or a live view."""

from __future__ import annotations

import time
from typing import Protocol

from llmtp.cli.output import Out
from llmtp.cli.words import report_line
from llmtp.metrics.report import Report
from llmtp.watch import Watch, look_twice

_PLAIN_EVERY_S = 5.0


class TopView(Protocol):
    """Shows one report after the other, on what it opens and closes."""

    def show(self, report: Report) -> None: ...

    def __enter__(self) -> TopView: ...

    def __exit__(self, *_: object) -> None: ...


def choose(out: Out, *, live: bool) -> TopView:
    """The view for this terminal and these options."""
    if out.as_json:
        return JsonLines(out)
    if live:
        from llmtp.cli.render.top import LiveTop

        return LiveTop(out)
    return PlainLines(out)


def show_once(out: Out, watch: Watch) -> None:
    """The panel as text, or its data."""
    from llmtp.cli.render.bars import glyphs_for
    from llmtp.cli.render.top import panel

    report = look_twice(watch)
    glyphs = glyphs_for(out.stdout)
    findings = report.findings() if out.as_json else ()
    out.result(
        report.to_dict(),
        findings,
        lambda console: console.print(panel(report, (), console.width, glyphs)),
    )


class _Telling:
    """Tells each finding once, and again where it changed."""

    def __init__(self, out: Out) -> None:
        self.out = out
        self._told: set[tuple[str, str | None]] = set()

    def findings(self, report: Report) -> None:
        for finding in report.findings():
            key = (finding.rule, finding.fix)
            if key not in self._told:
                self._told.add(key)
                self.out.finding(finding)

    def __exit__(self, *_: object) -> None:
        pass


class JsonLines(_Telling):
    """One object a look; the boundary writes the last one."""

    def __enter__(self) -> JsonLines:
        return self

    def show(self, report: Report) -> None:
        self.findings(report)
        self.out.line({"event": "sample", "at": time.time(), **report.to_dict()})


class PlainLines(_Telling):
    """The first look, and one every few seconds while something changes."""

    def __init__(self, out: Out) -> None:
        super().__init__(out)
        self._shown, self._shown_at = "", 0.0

    def __enter__(self) -> PlainLines:
        return self

    def show(self, report: Report) -> None:
        self.findings(report)
        text, now = report_line(report), time.monotonic()
        if text != self._shown and (not self._shown or now - self._shown_at >= _PLAIN_EVERY_S):
            self._shown, self._shown_at = text, now
            self.out.data(f"{time.strftime('%H:%M:%S')}  {text}\n")
