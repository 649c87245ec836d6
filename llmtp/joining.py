"""The part of a server on a machine that is not the first: it answers nobody, and follows.

vLLM does not end it when the first machine's server ends, and another start of that one cannot use
it: so it ends with the connection to the first machine, and is started again to wait for the next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from llmtp import signals, story
from llmtp.chain import Prepared
from llmtp.errors import EngineEndedError, LlmtpError, ServerDiedError, StartFailedError
from llmtp.machine.family import Family
from llmtp.plan.wishes import Nodes
from llmtp.server.life import Life, State
from llmtp.server.log import RunLog, log_path
from llmtp.server.output import Output
from llmtp.server.process import ServerProcess
from llmtp.server.restarts import FIRST_WAIT_S, Restarts
from llmtp.story import View

_LOOK_S = 0.5
_GONE = "first-gone"


def follow_first(
    prepared: Prepared, nodes: Nodes, view: View, marks: Mapping[str, str | None]
) -> None:
    """Until somebody interrupts. Raises StartFailedError for a part that ends before it ever had a
    connection to the first machine, ServerDiedError for one that dies again and again."""
    part = _Part(prepared, nodes, view, marks)
    end = State.STOPPED
    try:
        view.prepared(prepared)
        part.follow()
    except LlmtpError:
        end = State.FAILED
        raise
    finally:
        part.end(end)


class _Part:
    """This machine's, through all its starts."""

    def __init__(
        self, prepared: Prepared, nodes: Nodes, view: View, marks: Mapping[str, str | None]
    ) -> None:
        self._nodes, self._view = nodes, view
        self._command = prepared.command.with_env(marks)
        self._speech = prepared.kind.speech
        self._life, self._restarts = Life(view.state), Restarts()
        self._log = RunLog(log_path(prepared.plan.name, nodes.port))
        self._is_loaded = self._had_first = False

    def end(self, state: State) -> None:
        """No more of it."""
        self._log.close()
        self._life.to(state)

    def follow(self) -> None:
        """One start after the other."""
        while True:
            try:
                self._start()
            except ServerDiedError as error:
                self._start_again(error)

    def _start_again(self, error: ServerDiedError) -> None:
        """The first machine may come and go as often as it likes."""
        wait_s: float | None = FIRST_WAIT_S
        if error.findings[0].rule != _GONE:
            wait_s = self._restarts.failed(error.served_s)
        if wait_s is None:
            raise error
        self._life.to(State.RESTARTING)
        in_a_row = self._restarts.in_a_row
        why = error.findings[0]
        self._view.event(story.restarting(why, wait_s=wait_s, in_a_row=in_a_row))
        signals.check()
        threading.Event().wait(wait_s)
        self._life.to(State.STARTING)

    def _hear(self, line: str) -> None:
        self._is_loaded = self._is_loaded or self._speech.is_loaded(line)

    def _start(self) -> None:
        """To its end, which is raised."""
        self._is_loaded = False
        output = Output(self._speech, self._log, self._hear, prompts_too=False)
        process: ServerProcess | None = None
        joined_at: float | None = None
        reason = "asked"
        try:
            with signals.hold():
                self._log.begin()
                process = ServerProcess(self._command, output.take, self._speech.term_wait_s)
            self._view.event(story.starting(process.pid, self._log.path))
            had_connection = False
            while not process.wait_ended(_LOOK_S):
                signals.check()
                is_connected = Family(process.pid).is_connected_to(self._nodes.port)
                if had_connection and is_connected is False:
                    raise self._died("the server of the first machine is gone", _GONE, joined_at)
                had_connection = self._had_first = had_connection or is_connected is True
                if joined_at is None and had_connection and self._is_loaded:
                    joined_at = time.monotonic()
                    output.served()
                    self._life.to(State.PROVING)
                    self._life.to(State.READY)
                    self._view.event(story.joined(process.pid, self._nodes))
            cause = self._speech.explain(process.returncode, output.telling())
            message = f"this machine's part died: {cause.message}"
            if not self._had_first:
                raise StartFailedError(message, rule=cause.rule, fix=self._see_log(cause.fix))
            raise self._died(message, cause.rule, joined_at)
        except EngineEndedError as error:
            reason = error.findings[0].rule
            raise
        finally:
            if process is not None:
                self._life.to(State.STOPPING)
                process.stop()
                self._view.event(story.stopped(_since(joined_at), reason))

    def _died(self, message: str, rule: str, joined_at: float | None) -> ServerDiedError:
        error = ServerDiedError(message, rule=rule, fix=self._see_log("look at the first machine"))
        error.served_s = _since(joined_at)
        return error

    def _see_log(self, fix: str) -> str:
        return f"{fix}; its log: {self._log.path}"


def _since(joined_at: float | None) -> float:
    return 0.0 if joined_at is None else time.monotonic() - joined_at
