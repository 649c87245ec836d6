"""Plans, events and samples in plain words, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmtp.text import clean
from llmtp.units import (
    format_bytes,
    format_count,
    format_duration,
    format_mib,
    format_percent,
    format_rate,
)

if TYPE_CHECKING:
    from llmtp.chain import Pulled
    from llmtp.hub.fetch import Progress
    from llmtp.hub.shelf import Stored
    from llmtp.metrics.report import Report
    from llmtp.metrics.sampler import Sample
    from llmtp.plan.result import Plan
    from llmtp.server.entry import Entry
    from llmtp.story import Event


_PARTS = {"weights": "weights", "kv": "KV cache", "compute": "compute", "draft": "drafter"}


def summary(plan: Plan) -> str:
    """What will run, in one line."""
    mtp = f"n-max {plan.n_max}" if plan.mtp else "MTP off"
    return _summary(plan, f"{mtp} as tuned" if plan.tuned else mtp)


def bench_summary(plan: Plan, n_maxes: Sequence[int]) -> str:
    """What will be measured, in one line; n-max 0 is off."""
    return _summary(plan, f"n-max {', '.join(str(n) if n else 'off' for n in n_maxes)}")


def tune_summary(plan: Plan, workload: str, temp: float) -> str:
    """For what the best n-max is looked for, in one line."""
    work = "all work" if workload == "all" else workload
    return _summary(plan, f"tuned for {work} at temperature {temp:g}")


def _summary(plan: Plan, mtp: str) -> str:
    place = " + ".join(gpu.name for gpu in plan.gpus) or "the CPU"
    if plan.gpus and plan.on_cpu:
        place += " and the CPU"
    quant = f"{plan.main.quant}, " if plan.main.quant else ""
    context = format_count(plan.ctx_size)
    if plan.shards is not None:
        context = (
            f"{format_count(plan.ctx_size // plan.parallel)} for each of {plan.parallel} requests"
        )
    return f"{plan.name}: {quant}context {context}, {mtp}, on {place}"


def download_line(progress: Progress) -> str:
    """How far a download is, in one line."""
    done, total = format_bytes(progress.done_bytes), format_bytes(progress.total_bytes)
    names = " + ".join(clean(file.name.rpartition("/")[2], 60) for file in progress.files)
    if progress.is_done:
        return f"{'downloaded' if progress.fetched_bytes else 'checked'} {names}, {total}"
    checks = all(file.state in ("checking", "done") for file in progress.files)
    verb = "checking" if checks and not progress.fetched_bytes else "downloading"
    notes = [f"{f.state}: {f.note}" for f in progress.files if f.note]
    parts = [f"{verb} {names}: {done} of {total}", *progress_figures(progress), *notes]
    return ", ".join(parts)


def kept_line(progress: Progress) -> str:
    """What is left of a download that somebody interrupted."""
    done, total = format_bytes(progress.done_bytes), format_bytes(progress.total_bytes)
    return f"{done} of {total} are kept: the same command goes on from there"


def pulled_lines(pulled: Pulled) -> str:
    """Where the files are, and how to go on."""
    reference = pulled.checked.reference
    rows = [
        (role, format_bytes(facts.file_bytes), clean(str(facts.path), 400))
        for role, facts in (
            ("main", reference.main), ("draft", reference.draft), ("mmproj", reference.mmproj)
        )
        if facts is not None
    ]  # fmt: skip
    lines = [f"{role:6}  {size:>10}  {path}" for role, size, path in rows]
    if pulled.why:
        lines.append(f"chosen: {pulled.why}")
    fetched = format_bytes(pulled.fetched_bytes) if pulled.fetched_bytes else "nothing"
    proved = ", every sha256 is right" if pulled.files else ""
    return "\n".join([*lines, f"fetched {fetched}{proved}"]) + "\n"


def doomed_lines(doomed: Sequence[Stored], named: Sequence[str]) -> str:
    """What is to be deleted, and which other models than those that were named use it."""
    rows = []
    for one in doomed:
        others = [clean(model, 120) for model in one.used_by if model not in named]
        name = f"{clean(one.repository, 120)}/{clean(one.shown, 200)}"
        used = f"\n{'':12}used by {', '.join(others)}" if others else ""
        rows.append(f"{format_bytes(one.file_bytes):>10}  {name}{used}")
    return "\n".join(rows or ["nothing to delete"])


def progress_figures(progress: Progress) -> list[str]:
    """Speed and time left, where they are known."""
    figures = []
    if progress.bytes_per_s:
        figures.append(f"{format_bytes(round(progress.bytes_per_s))}/s")
    if progress.left_s is not None and not progress.is_done:
        figures.append(f"{format_duration(progress.left_s)} left")
    return figures


def describe(event: Event, *, verbose: bool = False) -> str | None:
    """An event in words, or None where it says nothing new to a person."""
    fields = event.fields
    match event.name:
        case "ready":
            return f"ready in {fields['ready_s']:.1f} s at {fields['url']}/v1 (Ctrl-C stops it)"
        case "joined":
            return f"machine {fields['node_rank']} serves with {fields['first']} (Ctrl-C stops it)"
        case "lending":
            return _lending_lines(fields)
        case "connected":
            return "a llama-server is connected"
        case "left":
            return f"it has left after {format_duration(fields['connected_s'])}"
        case "mtp" if fields["active"]:
            return f"MTP is on: {fields['accepted']} of {fields['drafted']} drafted tokens accepted"
        case "mtp":
            return "MTP is off"
        case "memory" if verbose:
            return _memory_lines(fields)
        case "restarting" if fields["port"]:
            return f"{fields['reason']}; taking {fields['port']}"
        case "restarting" if fields["wait_s"]:
            return f"{fields['reason']}; starting again in {fields['wait_s']:.1f} s"
        case "stopped" if fields["reason"] == "asked":
            return f"stopped after {format_duration(fields['uptime_s'])}"
    return None


def _lending_lines(fields: dict[str, Any]) -> str:
    """What is lent, and how to use it."""
    lines = [
        f"lends {clean(str(one['name']), 80)} ({clean(str(one['id']), 40)}), "
        f"{format_bytes(one['total_bytes'])}, {format_bytes(one['free_bytes'])} free"
        for one in fields["devices"]
    ]
    threads = f"{fields['threads']} thread{'' if fields['threads'] == 1 else 's'}"
    at = f"{fields['host']}:{fields['port']}"
    lines.append(f"ready at {at}, RPC {fields['rpc_version']}, {threads} (Ctrl-C stops it)")
    lines.append(f"on the machine with the model: llmtp run MODEL {fields['use']}")
    return "\n".join(lines)


def draining_line(requests: int, at_most_s: float) -> str:
    """Why stopping takes a while, and how to go on at once."""
    return (
        f"stopping once {format_requests(requests)} ended, in {at_most_s:.0f} s at most "
        "(Ctrl-C again: at once)"
    )


def waiting_line(entry: Entry) -> str:
    """Why `stop` takes a while, and how to go on at once."""
    if not entry.draining:
        return f"waiting for the end of {entry.id}"
    return (
        f"{entry.id} stops once {format_requests(entry.draining)} ended "
        f"(at once: llmtp stop {entry.id})"
    )


def _memory_lines(fields: dict[str, Any]) -> str:
    """Planned and real memory, a line a part, in MiB."""
    rows = [
        (_PARTS[one["part"]], one["planned_bytes"], one["engine_bytes"]) for one in fields["parts"]
    ]
    rows.append(("overhead", fields["overhead_planned_bytes"], fields["overhead_bytes"]))
    rows.append(("total", fields["planned_bytes"], fields["taken_bytes"]))
    lines = [f"{'memory, MiB':11}  {'planned':>10}  {'real':>10}"]
    for part, planned, real in rows:
        lines.append(f"{part:11}  {format_mib(planned):>10}  {format_mib(real):>10}")
    return "\n".join(lines)


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


def report_line(report: Report) -> str:
    """One look of `top` in one line."""
    best, use = report.best, report.use
    parts = [
        report.state,
        f"{format_rate(report.look.tokens_per_s)} tokens/s now",
        f"{format_rate(best.tokens_per_s)} a request",
        f"{format_rate(best.prompt_tokens_per_s)} prompt",
        drafts_words(report, report.shown[0]),
        f"context {context_words(report)[1]}",
    ]
    if report.total.requests is not None:
        parts.append(format_requests(report.total.requests))
    parts.append(f"RAM {format_bytes(use.rss_bytes)}")
    if use.device_used_bytes is not None:
        parts.append(f"GPU {format_bytes(use.device_used_bytes)}")
    if use.power_w is not None:
        parts.append(f"{use.power_w:,.0f} W")
    return ", ".join(parts)


def context_words(report: Report) -> tuple[float | None, str]:
    """How full the context is, 0 to 1, and in words; of several slots the fullest counts."""
    look = report.look
    if look.kv_share is not None:
        of = f" for {format_count(look.ctx_per_slot)} a request" if look.ctx_per_slot else ""
        return look.kv_share, f"{format_percent(look.kv_share)} of the KV cache{of}"
    used, size = look.fullest_used, look.ctx_per_slot
    if used is None or not size:
        return None, "not told"
    slots = f" in the fullest of {look.slots} slots" if look.slots and look.slots > 1 else ""
    return used / size, f"{format_count(used)} of {format_count(size)}{slots}"


def drafts_words(report: Report, over: str) -> str:
    """What was accepted in the `window`, or in `total`."""
    totals = report.window if over == "window" else report.total
    drafting = totals.drafting
    if report.mtp is False:
        return "MTP off"
    if drafting is None:
        if report.server.id is not None:
            return "none yet"
        return f"{'MTP on, ' if report.mtp else ''}acceptance is not told by this build"
    when = f"in the last {format_duration(report.window_s)}" if over == "window" else ""
    if not drafting.drafts:
        return f"none {when}".rstrip()
    length = drafting.mean_accepted_length
    shown = "-" if length is None else f"{length:.2f}"
    return (
        f"{format_percent(drafting.acceptance)} accepted, {shown} tokens a step, "
        f"{format_count(drafting.drafts)} drafts {when}"
    ).rstrip()


def format_requests(count: int) -> str:
    """`1 request`, `2 requests`."""
    return f"{format_count(count)} request{'' if count == 1 else 's'}"
