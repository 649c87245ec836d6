"""How a long command tells what it does: lines on stderr, and on a terminal one that changes."""

from __future__ import annotations

import sys

from llmtp.cli.output import Out
from llmtp.text import clean

_WIDTH = 60


class Lines:
    """Close it at the end, so that no half line is left."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._draws = sys.stderr.isatty() and not out.as_json and not out.quiet

    def say(self, text: str) -> None:
        """For good."""
        self.close()
        self._out.say(text)

    def draw(self, text: str) -> None:
        """Until the next one."""
        if self._draws:
            sys.stderr.write(f"\r\x1b[K{clean(text, _WIDTH)}")
            sys.stderr.flush()

    def close(self) -> None:
        if self._draws:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
