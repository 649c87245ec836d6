"""What a command is given beside its own arguments."""

from __future__ import annotations

from dataclasses import dataclass

from llmtp.cli.output import Out


@dataclass(frozen=True, slots=True)
class Env:
    """How the command speaks, all its words, and those behind a bare `--`."""

    out: Out
    behind_dashes: tuple[str, ...]
    argv: tuple[str, ...] = ()
