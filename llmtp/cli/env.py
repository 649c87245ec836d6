"""What a command is given beside its own arguments."""

from __future__ import annotations

from dataclasses import dataclass

from llmtp.cli.output import Out
from llmtp.server.signals import Signals


@dataclass(frozen=True, slots=True)
class Env:
    """How it speaks, how it is interrupted, and whether its line has a bare `--`."""

    out: Out
    signals: Signals
    has_separator: bool
