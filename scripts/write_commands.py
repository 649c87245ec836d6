#!/usr/bin/env python3
"""Writes .readme/commands.md, the reference of all commands, from what `--help` says.

scripts/write_commands.py            # writes it
scripts/write_commands.py --check    # exits 1 where it is not what it would write
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from llmtp.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / ".readme" / "commands.md"
#: Commands that have others below them.
BELOW = {"profiles": ("show", "validate", "path"), "config": ("show", "validate", "path")}
HEAD = """# Every command and option

What `--help` says of each, written by `scripts/write_commands.py`. What they are good for is in the
[README](../README.md).
"""


def pages() -> list[tuple[str, ...]]:
    """The words before `--help`, in the order of the page."""
    found: list[tuple[str, ...]] = [()]
    for name in COMMANDS:
        found.append((name,))
        found += [(name, below) for below in BELOW.get(name, ())]
    return found


def help_of(words: tuple[str, ...]) -> str:
    """As a terminal of 100 columns has it."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("LLMTP_")}
    done = subprocess.run(
        [sys.executable, "-m", "llmtp", *words, "--help"],
        env=environ | {"COLUMNS": "100", "PYTHONIOENCODING": "utf-8"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    lines = (line.rstrip() for line in done.stdout.strip().splitlines())
    return "\n".join(lines)


def page() -> str:
    """The whole file."""
    parts = [HEAD]
    for words in pages():
        title = " ".join(("##" if len(words) < 2 else "###", "llmtp", *words))
        parts.append(f"{title}\n\n```text\n{help_of(words)}\n```\n")
    return "\n".join(parts)


def main() -> int:
    made = page()
    if sys.argv[1:] == ["--check"]:
        return 0 if PAGE.read_text(encoding="utf-8") == made else 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
