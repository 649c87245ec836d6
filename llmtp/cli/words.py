"""Plans, events and samples in plain words, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtp.units import format_bytes, format_count, format_duration, format_percent, format_rate

if TYPE_CHECKING:
    from llmtp.launch import Event
    from llmtp.metrics.sampler import Sample
    from llmtp.plan.result import Plan


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
    busy = "no answer" if sample.busy_slots is None else "busy" if sample.busy_slots else "idle"
    parts = [
        busy,
        f"{format_rate(sample.tokens_per_s)} tokens/s now",
        f"{format_rate(sample.mean_tokens_per_s)} average",
        f"{format_percent(sample.acceptance)} accepted",
        f"context {format_count(sample.context_used)} of {format_count(context)}",
        format_requests(sample.requests),
        f"RAM {format_bytes(sample.rss_bytes)}",
    ]
    return ", ".join(parts)


def format_requests(count: int) -> str:
    """`1 request`, `2 requests`."""
    return f"{format_count(count)} request{'' if count == 1 else 's'}"
