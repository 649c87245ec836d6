"""What is known of a server to sections of a report. Pure.

An entry comes from a file: whatever stands in it may be missing or of another kind.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from llmtp.errors import ExitCode, Finding
from llmtp.report.markdown import Section
from llmtp.server.entry import Entry
from llmtp.units import format_bytes

MODELS = ("main", "draft", "mmproj")
_SETTINGS = (
    "quant", "ctx_size", "ctx_per_slot", "parallel", "n_max", "kv_type", "ubatch", "gpu_layers",
    "cpu_experts", "tensor_split", "threads", "checkpoints",
)  # fmt: skip
_ASKED_FOR = (None, ExitCode.OK, ExitCode.INTERRUPTED, ExitCode.TERMINATED)
_RULE = re.compile(r"[a-z]+(?:-[a-z]+)*")
_PARTS = ("weights", "kv", "compute", "draft", "mmproj", "overhead")
COMMAND_INTRO = (
    "This starts it without llmtp. `~` is the home folder; where `USER`, `HOST`, `ADDRESS` or "
    "`REDACTED` stands, something private was left out. Stop the server first, or change `--port`."
)
FROM_THERE = " Relative paths start where llmtp was started."


def happened(entry: Entry | None, state: str) -> Section:
    """How it ended, or that it goes on."""
    if entry is None:
        lines = ["no server was started here"]
    else:
        lines = [
            *_ending(entry, state),
            *(line for one in entry.findings for line in _told(one)),
        ]
    return Section("summary", "What happened", tuple(lines))


def title(entry: Entry | None, state: str) -> str:
    """One line, of our own words and codes only."""
    if entry is None:
        return "llmtp bug report"
    rule = next((one.rule for one in entry.findings if one.level == "error"), "")
    has_failed = entry.exit_code not in _ASKED_FOR
    why = f": {rule}" if has_failed and _RULE.fullmatch(rule) else ""
    return f"llmtp bug report: {entry.id} {state}{why}"


def plan_of(entry: Entry | None) -> Section:
    """Every decision, and what it was made from."""
    plan = entry.plan if entry else {}
    lines = [f"{name:<14}{plan[name]}" for name in _SETTINGS if name in plan]
    for device in (*_dicts(plan, "devices"), *_dicts({"host": [plan.get("host")]}, "host")):
        lines += _device(device)
    lines += [f"given up      {_words(one)}" for one in _dicts(plan, "given_up")]
    why = plan.get("why")
    lines += [f"why           {one}" for one in (why if isinstance(why, list) else [])]
    return Section("plan", "Plan", tuple(lines) or ("no plan was made",), most_characters=5000)


def _ending(entry: Entry, state: str) -> Iterator[str]:
    yield f"model         {entry.model}"
    yield f"state         {state}"
    yield f"started       {_utc(entry.started_at)}, restarts {entry.restarts}"
    if entry.ended_at is not None:
        yield f"ended         {_utc(entry.ended_at)}, exit code {entry.exit_code}"
    mtp = {True: "active", False: "not active", None: "not proved"}[entry.mtp]
    yield f"MTP           n-max {entry.n_max}, {mtp}"


def _told(finding: Finding) -> Iterator[str]:
    yield f"{finding.level}: {finding.message} [{finding.rule}]"
    for name in ("expected", "observed", "fix"):
        if value := getattr(finding, name):
            yield f"  {name}: {value}"


def _device(device: Mapping[str, Any]) -> Iterator[str]:
    name = device.get("name") or "unknown"
    at = f"{device.get('id') or device.get('backend') or 'GPU'}"
    total, free = (_bytes(device.get(f"{one}_bytes")) for one in ("total", "free"))
    source = device.get("source")
    used = _bytes(device.get("used_bytes"))
    yield f"{at:<14}{name}: {total}, {free} free ({source}), planned {used}"
    parts = (f"{part} {_bytes(device.get(f'{part}_bytes'))}" for part in _PARTS)
    yield f"{'':<14}{', '.join(parts)}"


def _words(given_up: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in given_up.items())


def _dicts(plan: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = plan.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _bytes(value: Any) -> str:
    return format_bytes(value) if type(value) is int else "unknown"


def _utc(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return "unknown"
