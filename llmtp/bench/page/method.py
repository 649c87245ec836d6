"""What the page says of how it was measured, and what was noticed meanwhile."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from typing import Any

from llmtp.bench.page.markup import Markup, joined, number, tag
from llmtp.bench.page.parts import entry, lines
from llmtp.bench.page.words import NOT_TOLD, duration, plain, size, some_cores
from llmtp.bench.scheme import arm_name

_LATEST_S = 1e11
_SIGNS = {"error": "✗", "warning": "▲", "info": "•"}


def method(record: dict[str, Any]) -> Markup:
    """Enough to do it again."""
    return tag("dl", *_entries(record), class_="method")


def commands(record: dict[str, Any]) -> Markup:
    """The server of each arm, as a line for a shell."""
    shown = [
        joined(
            tag("h3", arm_name(arm["n_max"])),
            tag("pre", shlex.join(arm["argv"]), class_="wrapped", tabindex=0),
        )
        for arm in record["arms"]
    ]
    return tag("details", tag("summary", "Commands, to copy"), *shown)


def noticed(record: dict[str, Any]) -> Markup:
    """What was found, what was expected, what to do."""
    return tag("ul", *map(_finding, record["noticed"]), class_="noticed")


def moment(seconds: Any) -> str:
    """The same everywhere: in UTC."""
    known = number(seconds)
    if known is None or not 0 <= known < _LATEST_S:
        return NOT_TOLD
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(known))


def _entries(record: dict[str, Any]) -> Iterator[Markup]:
    settings, engine, machine = record["settings"], record["engine"], record["machine"]
    yield entry(
        "how much",
        f"{_plain(settings['rounds'])} rounds in {duration(record['wall_s']) or NOT_TOLD}, "
        f"budget {duration(settings['budget_s']) or NOT_TOLD}"
        f"{'' if record['is_whole'] else '; ended early'}",
    )
    whole = f"; {_plain(settings['whole_tokens'])} where a form is checked"
    told = f"up to {_plain(settings['tokens'])} tokens"
    yield entry("answers", told + (whole if record["checks"] else ""))
    yield entry("llmtp", record["llmtp"])
    yield entry(
        "engine",
        lines(engine["build"] or "build not told", engine["source"], tag("code", engine["path"])),
    )
    yield entry("system", machine["system"])
    yield entry(
        "CPU",
        f"{machine['cpu'] or NOT_TOLD}, {_plain(machine['cores'])} cores, "
        f"{size(machine['ram_bytes']) or NOT_TOLD} of RAM",
    )
    yield entry("cards", lines(*map(_card, machine["devices"])) if machine["devices"] else "none")
    if machine["devices"] or machine["driver"]:
        yield entry("driver", machine["driver"] or NOT_TOLD)
    yield entry("other programs", some_cores(record["others_cores"]) or NOT_TOLD)
    for file in record["files"]:
        told = f"{file['quant'] or 'quant not told'}, {size(file['file_bytes']) or NOT_TOLD}"
        yield entry(
            "drafter" if file["role"] == "draft" else "model",
            lines(f"{file['name'] or NOT_TOLD}, {told}", tag("code", file["path"])),
        )
    yield entry("plan", ", ".join(_plan(record)))
    if record["bound"]:
        bound = record["bound"]
        reads = number(bound["token_bytes"])
        yield entry(
            "bandwidth",
            f"allows {_plain(bound['tokens_per_s'])} tokens/s without MTP: "
            f"{size(reads) or NOT_TOLD} are read for a token ({bound['source']})",
        )


def _plan(record: dict[str, Any]) -> Iterator[str]:
    plan = record["plan"]
    planned = record["planned_n_max"]
    yield "MTP off" if planned == 0 else f"n-max {_plain(planned)}"
    names = {
        "ctx_size": "context",
        "parallel": "slots",
        "kv_type": "KV type",
        "ubatch": "ubatch",
        "gpu_layers": "layers on GPUs",
        "cpu_experts": "layers with experts on the CPU",
        "threads": "threads",
    }
    for key, name in names.items():
        value = plan[key]
        yield f"{name} {value if isinstance(value, str) else _plain(value)}"
    if plan["tensor_split"]:
        yield f"tensor split {', '.join(map(_plain, plan['tensor_split']))}"
    for one in plan["given_up"]:
        yield f"given up: {one['step']} {one['from']} → {one['to']}"


def _card(device: dict[str, Any]) -> str:
    used = "used" if device["used"] else "not used"
    return (
        f"{device['name']} ({device['id']}, {device['backend']}), "
        f"{size(device['total_bytes']) or NOT_TOLD}, {used}"
    )


def _finding(one: dict[str, Any]) -> Markup:
    more = [
        joined(tag("dt", name), tag("dd", one[name]))
        for name in ("expected", "observed", "fix")
        if one[name]
    ]
    return tag(
        "li",
        tag("p", tag("b", f"{_SIGNS.get(one['level'], '•')} {one['level']}"), ": ", one["message"]),
        tag("dl", *more) if more else "",
        class_="error" if one["level"] == "error" else None,
    )


def _plain(value: Any) -> str:
    return plain(value) or NOT_TOLD
