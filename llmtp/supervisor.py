"""The one owner of a server, through all its starts: it stays up, or says why not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from llmtp import signals, story
from llmtp.chain import Prepared, at_port, prepare_smaller
from llmtp.errors import (
    DoesNotFitError,
    EngineEndedError,
    Finding,
    LlmtpError,
    ServerDiedError,
    UsageError,
)
from llmtp.plan.ladder import GivenUp, Step
from llmtp.ports import free_port
from llmtp.server.life import Life, State
from llmtp.server.log import RunLog, log_path
from llmtp.server.restarts import Restarts
from llmtp.start import Running, serve
from llmtp.story import View
from llmtp.text import clean
from llmtp.workers import wait_back

T = TypeVar("T")
#: So often a server that ran out of memory is started with a smaller plan.
MOST_STEPS = 4
#: So often another free port is looked for when somebody was quicker.
MOST_PORTS = 5


class Supervisor:
    """Starts a prepared server, and again when it runs out of memory, dies or hangs."""

    def __init__(self, prepared: Prepared, view: View, marks: Mapping[str, str | None]) -> None:
        """`marks` are for the environment of the engine."""
        self._prepared = prepared
        self._view = view
        self._marks = marks
        self._life = Life(view.state)
        self._restarts = Restarts()
        self._steps = 0
        self._ports = 0
        self._was_proved = False
        self._log = RunLog(log_path(prepared.plan.name, prepared.request.serving.port))

    def keep(self) -> None:
        """Watch the server, and keep it up, until somebody interrupts.

        Raises StartFailedError for one that never was proved, ServerDiedError for a crash loop.
        """
        self._run(lambda running: running.watch(self._view), again=True)

    def once(self, use: Callable[[Running], T]) -> T:
        """Use the server, stop it, and return what `use` does."""
        return self._run(use, again=False)

    def _run(self, use: Callable[[Running], T], *, again: bool) -> T:
        end = State.STOPPED
        try:
            self._view.prepared(self._prepared)
            while True:
                try:
                    return self._start(use)
                except EngineEndedError as error:
                    self._recover(error, again=again)
                    self._life.to(State.STARTING)
        except LlmtpError:
            end = State.FAILED
            raise
        finally:
            self._log.close()
            self._life.to(end)

    def _start(self, use: Callable[[Running], T]) -> T:
        def once_proved(running: Running) -> T:
            self._was_proved = True
            return use(running)

        return serve(
            self._prepared,
            self._log,
            self._life,
            self._view,
            once_proved,
            may_step=self._may_step(),
            marks=self._marks,
        )

    def _may_step(self) -> bool:
        return self._steps < MOST_STEPS and not self._prepared.request.wishes.strict

    def _recover(self, error: EngineEndedError, *, again: bool) -> None:
        """Make ready for another start; raises why there is none."""
        if not self._was_proved and error.findings[0].rule == "port-taken":
            self._take_another_port(error)
            return
        may_step = (again or not self._was_proved) and self._may_step()
        if error.out_of and may_step and self._step_down(error):
            return
        if not (self._was_proved and again):
            raise error
        wait_s = self._restarts.failed(error.served_s)
        if wait_s is None:
            raise crash_loop(error, self._restarts.in_a_row) from error
        self._life.to(State.RESTARTING)
        why, in_a_row = error.findings[0], self._restarts.in_a_row
        self._note(f"{why.message}; starting again in {wait_s:.1f} s")
        self._view.event(story.restarting(why, wait_s=wait_s, in_a_row=in_a_row))
        signals.check()
        threading.Event().wait(wait_s)
        wait_back(self._prepared, self._view.finding)

    def _note(self, text: str) -> None:
        """A word of ours between those of the engine."""
        self._log.write(f"llmtp: {time.strftime('%Y-%m-%d %H:%M:%S')} {clean(text)}\n".encode())

    def _take_another_port(self, error: EngineEndedError) -> None:
        serving = self._prepared.request.serving
        if serving.port_was_asked or self._ports == MOST_PORTS:
            raise UsageError(
                f"port {serving.port} was taken meanwhile",
                rule="port-taken",
                fix="leave out --port for a free one, or use another",
            ) from error
        self._ports += 1
        try:
            port = free_port(serving.host)
        except OSError as gone:
            raise UsageError(
                f"nothing can listen on {serving.host} any more: {gone.strerror}",
                rule="host",
                fix="leave out --host for 127.0.0.1",
            ) from error
        self._prepared = at_port(self._prepared, port)
        self._life.to(State.RESTARTING)
        self._view.event(story.restarting(error.findings[0], port=port))

    def _step_down(self, error: EngineEndedError) -> bool:
        """Take the next smaller plan, where there is one."""
        wait_back(self._prepared, self._view.finding)  # they are asked for their memory
        try:
            smaller = prepare_smaller(self._prepared, error.out_of or "")
        except DoesNotFitError:
            return False
        self._steps += 1
        before, after = self._prepared.plan, smaller.plan
        given_up = [one for one in after.given_up if one not in before.given_up]
        is_told = any(one.step is Step.SHORT_CONTEXT for one in given_up)
        if after.ctx_size < before.ctx_size and not is_told:
            given_up.insert(0, GivenUp(Step.CONTEXT, before.ctx_size, after.ctx_size))
        why = error.findings[0]
        self._life.to(State.RESTARTING)
        self._view.event(story.restarting(why, step=self._steps, given_up=given_up))
        words = ", ".join(one.words() for one in given_up) or "on other cards"
        text = f"{why.message}; trying again with less: {words}"
        self._note(text)
        self._view.finding(Finding(why.rule, "warning", text))
        told = {one.rule for one in (*before.given_up, *given_up)}
        findings = tuple(one for one in smaller.findings if one.rule not in told)
        self._prepared = replace(smaller, findings=findings)
        self._view.prepared(self._prepared)
        return True


def crash_loop(error: EngineEndedError, times: int) -> ServerDiedError:
    """That it is given up, and what the last failure was."""
    last = error.findings[0]
    words = f"its last telling lines: {error.last_words}" if error.last_words else None
    return ServerDiedError(
        f"gave up after {times} failures in a row; the last: {last.message}",
        rule="crash-loop",
        observed=", ".join(filter(None, (last.observed, words))) or None,
        fix=last.fix,
    )
