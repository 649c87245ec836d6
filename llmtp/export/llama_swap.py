"""An entry under `models:` of llama-swap's config.yaml."""

from __future__ import annotations

import json
import shlex

from llmtp.errors import UsageError
from llmtp.export.served import Served
from llmtp.text import clean

#: It chooses those itself.
_ITS_OWN = ("--port", "--host", "--api-key-file")


def render(served: Served) -> str:
    """Raises UsageError for words that it would take for macros of its own."""
    served = served.without(*_ITS_OWN)
    first = shlex.quote(served.program)
    if served.removed:
        first = shlex.join(["env", *(f"-u{name}" for name in served.removed), served.program])
    command = [first, *map(shlex.join, served.options)]
    for line in (*command, *served.added.values()):
        if "${" in line:
            raise UsageError(
                f"llama-swap would take ${{ in {clean(line, 120)} for a macro",
                rule="export-name",
                fix="rename the file",
            )
    command.append("--host 127.0.0.1 --port ${PORT}")
    lines = [
        *(f"# {line}" for line in served.about),
        "models:",
        f"  {json.dumps(served.name)}:",
        "    cmd: |",
        *(f"      {line}" for line in command),
    ]
    if served.added:
        lines.append("    env:")
        lines += [f"      - {json.dumps(f'{n}={v}')}" for n, v in served.added.items()]
    return "\n".join(lines) + "\n"
