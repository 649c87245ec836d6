"""A section of the preset file of llama-server's router, with the spec-type that it lacks there."""

from __future__ import annotations

import shlex

from llmtp.errors import UsageError
from llmtp.export.served import Served
from llmtp.text import clean

#: Sections with a meaning of their own.
_SECTIONS = ("*", "default")
_ROUTERS_OWN = "LLAMA_API_KEY"


def router_line(served: Served, file: str) -> str:
    """The command that serves the file, for a shell."""
    env = [f"{name}={value}" for name, value in served.added.items()]
    unset = [w for name in served.removed if name != _ROUTERS_OWN for w in ("-u", name)]
    prefix = ["env", *unset, *env] if served.env else []
    return shlex.join([*prefix, served.program, "--models-preset", file])


def render(served: Served) -> str:
    """Raises UsageError for values that the format has no form for: it knows no quotes, and each
    flag once. Where to listen is the router's to say."""
    served.check("a preset file", is_preset=True)
    lines = [f"; {line}" for line in served.about]
    lines += [f"; {router_line(served, 'preset.ini')}", f"[{_name(served.name)}]"]
    seen = set()
    for flag, *values in served.options:
        if len(values) > 1 or flag in seen:
            raise _no_form(" ".join((flag, *values)), "each flag once, with one value")
        seen.add(flag)
        lines.append(f"{flag.lstrip('-')} = {_value(values[0]) if values else 'true'}")
    return "\n".join(lines) + "\n"


def _name(name: str) -> str:
    if "]" in name or name in _SECTIONS:
        raise _no_form(name, f"a name without ], and none of {', '.join(_SECTIONS)}")
    return name


def _value(value: str) -> str:
    if set(value) & set(";#") or value != value.strip():
        raise _no_form(value, "no ; or #, and no blanks at the ends")
    return value


def _no_form(what: str, expected: str) -> UsageError:
    return UsageError(
        f"a preset file has no form for {clean(what, 120)}",
        rule="export-name",
        expected=expected,
        fix="rename it, or use another --to",
    )
