"""Servers that are measured, one after the other, under one log and one state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from llmtp.chain import Prepared, at_port
from llmtp.errors import LlmtpError
from llmtp.ports import free_port
from llmtp.server.life import Life, State
from llmtp.server.log import RunLog
from llmtp.start import Running, serve
from llmtp.story import View

T = TypeVar("T")


class Starts:
    """Who measures starts a server for each arm here, and says when it was the last."""

    def __init__(self, log: RunLog, view: View, marks: Mapping[str, str | None]) -> None:
        """`marks` are for the environment of the engine."""
        self.count = 0
        self._log = log
        self._view = view
        self._marks = marks
        self._life = Life(view.state)

    def serve(self, prepared: Prepared, use: Callable[[Running], T]) -> T:
        """From its start over the proof to what `use` makes of it; it is stopped after that."""
        serving = prepared.request.serving
        if self.count:
            self._life.to(State.RESTARTING)
            self._life.to(State.STARTING)
            if not serving.port_was_asked:
                prepared = at_port(prepared, free_port(serving.host))
        self.count += 1
        self._view.prepared(prepared)
        return serve(
            prepared, self._log, self._life, self._view, use, may_step=False, marks=self._marks
        )

    def end(self, error: BaseException | None) -> None:
        """No more of them, because of that error."""
        self._log.close()
        self._life.to(State.FAILED if isinstance(error, LlmtpError) else State.STOPPED)
