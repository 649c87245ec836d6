"""How a running server is told: JSON lines, plain lines, or only what a one-shot needs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from llmtp.chain import Prepared
from llmtp.cli.output import Out
from llmtp.errors import Finding
from llmtp.launch import Event, View, planned_event
from llmtp.metrics.sampler import Sample
from llmtp.plan.result import Plan
from llmtp.units import format_bytes, format_count, format_duration, format_percent, format_rate

_PLAIN_EVERY_S = 5.0


class RunView(View, Protocol):
    """A view that is also told the plan, and that opens and closes what it draws on."""

    def prepared(self, prepared: Prepared) -> None: ...

    def __enter__(self) -> RunView: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def choose(out: Out, *, live: bool, once: bool) -> RunView:
    """The view for this terminal and these options."""
    if out.lines:
        return JsonView(out)
    if once or out.as_json:
        return QuietView(out)
    if live:
        from llmtp.cli.render.live import LiveView

        return LiveView(out)
    return PlainView(out)


class QuietView:
    """Findings, and nothing else: the answer is what was asked for."""

    def __init__(self, out: Out) -> None:
        self._out = out

    def prepared(self, prepared: Prepared) -> None:
        for finding in prepared.findings:
            self.finding(finding)

    def event(self, event: Event) -> None:
        pass

    def finding(self, finding: Finding) -> None:
        self._out.finding(finding)

    def loading(self, elapsed_s: float, loaded_bytes: int | None, total_bytes: int) -> None:
        pass

    def sample(self, sample: Sample, uptime_s: float) -> None:
        pass

    def __enter__(self) -> QuietView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class JsonView(QuietView):
    """One JSON object a line; the boundary writes the last one."""

    def prepared(self, prepared: Prepared) -> None:
        super().prepared(prepared)
        self.event(planned_event(prepared))

    def event(self, event: Event) -> None:
        self._out.line({"event": event.name, "at": time.time(), **event.fields})

    def sample(self, sample: Sample, uptime_s: float) -> None:
        self.event(Event("sample", {"uptime_s": round(uptime_s, 3), **sample.to_dict()}))


class PlainView(QuietView):
    """A line for what happens, and one every few seconds while something changes."""

    def __init__(self, out: Out) -> None:
        super().__init__(out)
        self._shown = ""
        self._shown_at = 0.0
        self._context = 0

    def prepared(self, prepared: Prepared) -> None:
        super().prepared(prepared)
        self._context = prepared.plan.ctx_size
        self._line(summary(prepared.plan))

    def event(self, event: Event) -> None:
        text = describe(event)
        if text:
            self._line(text)

    def sample(self, sample: Sample, uptime_s: float) -> None:
        text = sample_line(sample, self._context)
        now = time.monotonic()
        if text != self._shown and now - self._shown_at >= _PLAIN_EVERY_S:
            self._shown, self._shown_at = text, now
            self._line(f"{format_duration(uptime_s)}  {text}")

    def _line(self, text: str) -> None:
        self._out.data(text + "\n")


def summary(plan: Plan) -> str:
    """What will run, in one line."""
    place = plan.device.name if plan.device else "the CPU"
    mtp = f"n-max {plan.n_max}" if plan.mtp else "MTP off"
    quant = f"{plan.main.quant}, " if plan.main.quant else ""
    return f"{plan.name}: {quant}context {format_count(plan.ctx_size)}, {mtp}, on {place}"


def describe(event: Event) -> str | None:
    """An event in words, or None where it says nothing new to a person."""
    fields = event.fields
    match event.name:
        case "ready":
            return f"ready in {fields['ready_s']:.1f} s at {fields['url']}/v1 (Ctrl-C stops it)"
        case "mtp" if fields["active"]:
            return f"MTP is on: {fields['accepted']} of {fields['drafted']} drafted tokens accepted"
        case "mtp":
            return "MTP is off"
        case "stopped":
            return f"stopped after {format_duration(fields['uptime_s'])}"
    return None


def sample_line(sample: Sample, context: int) -> str:
    """One look at a server in one line."""
    busy = "busy" if sample.busy_slots else "idle"
    parts = [
        busy,
        f"{format_rate(sample.tokens_per_s)} tokens/s now",
        f"{format_rate(sample.mean_tokens_per_s)} average",
        f"{format_percent(sample.acceptance)} accepted",
        f"context {format_count(sample.context_used)} of {format_count(context)}",
        f"{sample.requests} requests",
        f"RAM {format_bytes(sample.rss_bytes)}",
    ]
    return ", ".join(parts)
