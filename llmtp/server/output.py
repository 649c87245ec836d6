"""What a process prints: logged without secrets, and kept where it may say why it ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from llmtp.engine.speech import Speech
from llmtp.server.log import RunLog

_KEPT_LINES = 200
#: Of a server that served for days, only what it said at its end may say why.
_LAST_S = 10.0


class Output:
    """Fed by the thread that drains the process, read by others.

    `lines` counts all of them; `is_listening` is true once the process says that it listens.
    """

    def __init__(
        self, speech: Speech, log: RunLog, on_line: Callable[[str], None], *, prompts_too: bool
    ) -> None:
        """`on_line` gets each line that is kept."""
        self.lines = 0
        self.is_listening = False
        self._speech = speech
        self._log = log
        self._hand_on = on_line
        self._redactor = speech.redactor(prompts_too=prompts_too)
        self._telling: deque[tuple[float, str]] = deque(maxlen=_KEPT_LINES)
        self._serves = False
        self._was_idle = False

    def take(self, lines: list[bytes]) -> None:
        """Some whole lines."""
        kept = self._redactor.keep(lines)
        if written := [line for line in kept if not self._is_idle_again(line)]:
            self._log.write(b"".join(line + b"\n" for line in written))
        self.lines += len(lines)
        for raw in kept:
            line = raw.decode("utf-8", "replace")
            if self._speech.listens(line):
                self.is_listening = True
            if self._speech.is_telling(line):
                self._telling.append((time.monotonic(), line))
            self._hand_on(line)

    def _is_idle_again(self, line: bytes) -> bool:
        was, self._was_idle = self._was_idle, self._speech.is_idle(line)
        return was and self._was_idle

    def served(self) -> None:
        """From now on it serves: what it said of its start is no reason for its end."""
        self._telling.clear()
        self._serves = True

    def telling(self) -> list[str]:
        """The last lines that may say why it ended."""
        since = time.monotonic() - _LAST_S if self._serves else 0.0
        return [line for at, line in list(self._telling) if at >= since]
