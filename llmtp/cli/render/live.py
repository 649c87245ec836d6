"""The live view of a running server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from llmtp.chain import Prepared
from llmtp.cli.output import Out, console
from llmtp.cli.render.bars import bar
from llmtp.cli.render.downloads import downloads
from llmtp.cli.render.frames import between_frames
from llmtp.cli.words import describe, download_line, draining_line, format_requests, kept_line
from llmtp.errors import Finding
from llmtp.metrics.sampler import Sample
from llmtp.plan.result import Plan
from llmtp.server.life import State
from llmtp.signals import Interrupted
from llmtp.story import Event
from llmtp.text import clean
from llmtp.units import format_bytes, format_count, format_duration, format_percent, format_rate

if TYPE_CHECKING:
    from llmtp.hub.fetch import Progress

_BAR = 10
_LABEL = 9


class LiveView:
    """Redraws a few lines in place; what must stay is printed above them."""

    def __init__(self, out: Out, stream: TextIO | None = None) -> None:
        self._out = out
        self._console = console(stream or out.stdout)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._plan: Plan | None = None
        self._url = ""
        self._state = State.STARTING
        self._last: tuple[Sample, float] | None = None
        self._progress: Progress | None = None

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *ending: Any) -> None:
        if self._last is not None:
            self._live.transient = False
            self._draw_again()
        with contextlib.suppress(OSError):
            self._live.stop()
        if isinstance(ending[1], Interrupted) and self._progress and not self._progress.is_done:
            self._say(kept_line(self._progress))

    def prepared(self, prepared: Prepared) -> None:
        self._plan = prepared.plan
        for finding in prepared.findings:
            self.finding(finding)

    def note(self, text: str) -> None:
        self._say(text)

    def downloading(self, progress: Progress) -> None:
        self._progress = progress
        if progress.is_done:
            self._show(Text())
            self._say(download_line(progress))
        else:
            self._show(downloads(progress, self._console.width))

    def event(self, event: Event) -> None:
        match event.name:
            case "ready":
                self._show(Text())
                self._url = f"{event.fields['url']}/v1"
        text = describe(event, verbose=self._out.verbose)
        if text and event.name != "stopped":
            self._say(text)

    def finding(self, finding: Finding) -> None:
        self._out.finding(finding)

    def loading(self, elapsed_s: float, loaded_bytes: int | None, total_bytes: int) -> None:
        text = Text(f"loading  {elapsed_s:.1f} s")
        if loaded_bytes is not None:
            done = min(loaded_bytes, total_bytes)
            text.append(f"  {bar(done / total_bytes, _BAR)}  ")
            text.append(f"{format_bytes(done)} of {format_bytes(total_bytes)}")
        self._show(text)

    def sample(self, sample: Sample, uptime_s: float) -> None:
        self._last = (sample, uptime_s)
        self._draw(sample, uptime_s)

    def state(self, state: State) -> None:
        self._state = state
        if state in (State.STARTING, State.RESTARTING) and self._plan is not None:
            self._last = None
            self._show(Group(Text(), _head(self._plan, state.value, self._url)))
        self._draw_again()

    def draining(self, requests: int, at_most_s: float) -> None:
        self._state = State.STOPPING
        self._say(draining_line(requests, at_most_s))
        self._draw_again()

    def _draw_again(self) -> None:
        if self._last is not None:
            self._draw(*self._last)

    def _draw(self, sample: Sample, uptime_s: float) -> None:
        if self._plan is None or not self._out.keeps_up():
            return
        width = self._console.width
        self._show(panel(self._plan, sample, self._state, self._url, uptime_s, width))

    def _show(self, drawn: RenderableType) -> None:
        with between_frames():
            self._live.update(drawn, refresh=True)

    def _say(self, text: str) -> None:
        with between_frames():
            self._console.print(text, soft_wrap=True)


def panel(
    plan: Plan, sample: Sample, state: State, url: str, uptime_s: float, width: int
) -> RenderableType:
    """Everything about a server in at most `width` columns."""
    word = state.value
    if state is State.READY and sample.busy_slots != 0:
        word = "no answer" if sample.busy_slots is None else "busy"
    rows = Table.grid(padding=(0, 1))
    rows.add_column(width=_LABEL, style="dim")
    rows.add_column(overflow="fold")
    rows.add_row("model", _model(plan))
    rows.add_row("context", _context(plan, sample))
    rows.add_row("tokens/s", _speed(sample))
    rows.add_row("drafts", _drafts(plan, sample))
    if plan.mtp:
        rows.add_row("position", _positions(sample, plan.n_max, width - _LABEL - 1))
    rows.add_row("memory", _memory(plan, sample))
    head = _head(plan, word, url, is_ready=state is State.READY)
    head.append(f"  up {format_duration(uptime_s)}", "dim")
    return Group(Text(), head, rows)


def _head(plan: Plan, word: str, url: str, *, is_ready: bool = False) -> Text:
    return Text.assemble(
        (f" {word} ", "black on green" if is_ready else "reverse"),
        f" {plan.name}  ",
        (url, "underline"),
    )


def _model(plan: Plan) -> str:
    draft = ", no drafter"
    if plan.draft:
        tuned = " as tuned" if plan.tuned else ""
        draft = f" + {clean(plan.draft.path.name, 60)}, n-max {plan.n_max}{tuned}"
    quant = f" ({plan.main.quant})" if plan.main.quant else ""
    return f"{clean(plan.main.path.name, 60)}{quant}{draft}"


def _context(plan: Plan, sample: Sample) -> str:
    used = sample.context_used or 0
    slots = f" in {plan.parallel} slots" if plan.parallel > 1 else ""
    return (
        f"{bar(used / plan.ctx_size, _BAR)} {format_count(sample.context_used)} of "
        f"{format_count(plan.ctx_size)}{slots}"
    )


def _speed(sample: Sample) -> str:
    return (
        f"{format_rate(sample.tokens_per_s)} now  {format_rate(sample.mean_tokens_per_s)} average  "
        f"{format_rate(sample.prompt_tokens_per_s)} prompt"
    )


def _drafts(plan: Plan, sample: Sample) -> str:
    requests = format_requests(sample.requests)
    if not plan.mtp:
        return f"MTP off  {requests}"
    length = sample.mean_accepted_length
    return (
        f"{format_percent(sample.acceptance)} accepted  "
        f"{'-' if length is None else f'{length:.2f}'} tokens a step  {requests}"
    )


def _positions(sample: Sample, n_max: int, width: int) -> str:
    """One bar a position, narrower where there are many."""
    shares = sample.acceptance_per_position
    if not shares:
        return "no request yet" if not sample.requests else "not told by this build"
    each = max(2, min(_BAR, width // max(len(shares), 1) - 9))
    return "  ".join(
        f"{i} {bar(share, each)} {format_percent(share)}"
        for i, share in enumerate(shares[:n_max], 1)
    )


def _memory(plan: Plan, sample: Sample) -> str:
    ram = f"RAM {format_bytes(sample.rss_bytes)}"
    lent = [one for one in plan.used_devices if one.device.worker is not None]
    if lent:
        ram += "".join(f"  {u.device.name} {format_bytes(u.parts.total)} planned" for u in lent)
    if sample.device_used_bytes is None or not plan.gpus:
        return ram
    total = format_bytes(sum(gpu.total_bytes or 0 for gpu in plan.gpus))
    return f"{ram}  GPU {format_bytes(sample.device_used_bytes)} of {total}"
