"""A section of the preset file of llama-server's router, with the spec-type that it lacks there."""

from __future__ import annotations

import shlex

from llmtp.errors import UsageError
from llmtp.export.served import Served
from llmtp.text import clean

#: The router sets those for all models.
_ITS_OWN = ("--port", "--host", "--api-key-file")


def router_line(served: Served, file: str) -> str:
    """The command that serves the file, for a shell."""
    env = [f"{name}={value}" for name, value in served.added.items()]
    unset = [word for name in served.removed for word in ("-u", name)]
    prefix = ["env", *unset, *env] if served.env else []
    return shlex.join([*prefix, served.program, "--models-preset", file])


def render(served: Served) -> str:
    """Raises UsageError for values that the format has no form for: it knows no quotes."""
    lines = [f"; {line}" for line in served.about]
    lines += [f"; {router_line(served, 'preset.ini')}", f"[{_name(served.name)}]"]
    for flag, *values in served.without(*_ITS_OWN).options:
        if len(values) > 1:
            raise _no_form(" ".join((flag, *values)), "one value a flag")
        lines.append(f"{flag.lstrip('-')} = {_value(values[0]) if values else 'true'}")
    return "\n".join(lines) + "\n"


def _name(name: str) -> str:
    if "]" in name:
        raise _no_form(name, "a name without ]")
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
