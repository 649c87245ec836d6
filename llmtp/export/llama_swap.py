"""An entry under `models:` of llama-swap's config.yaml."""

from __future__ import annotations

import json
import shlex

from llmtp.errors import UsageError
from llmtp.export.served import Served
from llmtp.text import clean


def render(served: Served) -> str:
    """It chooses the port. Raises UsageError for words that it would take for macros of its own."""
    served.check("llama-swap")
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
        f"  {_text(served.name)}:",
        "    cmd: |",
        *(f"      {line}" for line in command),
    ]
    if served.added:
        lines.append("    env:")
        lines += [f"      - {_text(f'{n}={v}')}" for n, v in served.added.items()]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """In double quotes, as YAML and JSON have them alike."""
    return json.dumps(text, ensure_ascii=False)
