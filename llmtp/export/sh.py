"""A POSIX shell script that becomes the server."""

from __future__ import annotations

import shlex

from llmtp.export.served import Served


def render(served: Served) -> str:
    """More flags may be given to the script."""
    lines = ["#!/bin/sh", *(f"# {line}" for line in served.about)]
    if served.removed:
        lines.append(f"unset {' '.join(served.removed)}")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in served.added.items()]
    if served.key is not None:
        variable, file = served.key
        lines += [
            f"{variable}=\"$(grep -m1 '^[^#]' {shlex.quote(str(file))})\" || exit",
            f"export {variable}",
        ]
    words = [f"exec {shlex.quote(served.program)}"]
    words += [f"    {shlex.join(option)}" for option in served.options]
    return "\n".join([*lines, " \\\n".join([*words, '    "$@"'])]) + "\n"
