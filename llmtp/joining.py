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
from llmtp.errors import LlmtpError, ServerDiedError
from llmtp.machine.family import Family
from llmtp.plan.wishes import Nodes
from llmtp.server.life import Life, State
from llmtp.server.log import RunLog, log_path
from llmtp.server.output import Output
from llmtp.server.process import ServerProcess
from llmtp.server.restarts import Restarts
from llmtp.story import View

_LOOK_S = 0.5


def follow_first(
    prepared: Prepared, nodes: Nodes, view: View, marks: Mapping[str, str | None]
) -> None:
    """Until somebody interrupts. Raises ServerDiedError for a crash loop, StartFailedError for
    what cannot be started."""
    life, restarts = Life(view.state), Restarts()
    log = RunLog(log_path(prepared.plan.name, nodes.port))
    end = State.STOPPED
    try:
        view.prepared(prepared)
        while True:
            try:
                _follow(prepared, nodes, log, life, view, marks)
            except ServerDiedError as error:
                wait_s = restarts.failed(error.served_s)
                if wait_s is None:
                    raise
                life.to(State.RESTARTING)
                view.event(story.restarting(error.findings[0], wait_s=wait_s,
                                            in_a_row=restarts.in_a_row))  # fmt: skip
                signals.check()
                threading.Event().wait(wait_s)
                life.to(State.STARTING)
    except LlmtpError:
        end = State.FAILED
        raise
    finally:
        log.close()
        life.to(end)


def _follow(
    prepared: Prepared,
    nodes: Nodes,
    log: RunLog,
    life: Life,
    view: View,
    marks: Mapping[str, str | None],
) -> None:
    """One start, to its end; raises ServerDiedError for that."""
    speech, reason = prepared.kind.speech, "asked"
    output = Output(speech, log, lambda _: None, prompts_too=False)
    with signals.hold():
        log.begin()
        process = ServerProcess(prepared.command.with_env(marks), output.take, speech.term_wait_s)
    joined_at: float | None = None
    try:
        view.event(story.starting(process.pid, log.path))
        while not process.wait_ended(_LOOK_S):
            signals.check()
            is_joined = Family(process.pid).is_connected_to(nodes.port)
            if joined_at is None and is_joined:
                joined_at = time.monotonic()
                output.served()
                life.to(State.PROVING)
                life.to(State.READY)
                view.event(story.joined(process.pid, nodes))
            elif joined_at is not None and is_joined is False:
                raise _ended(
                    "the server of the first machine is gone", "first-gone", log, joined_at
                )
        cause = speech.explain(process.returncode, output.telling())
        raise _ended(f"this machine's part died: {cause.message}", cause.rule, log, joined_at)
    except ServerDiedError as error:
        reason = error.findings[0].rule
        raise
    finally:
        life.to(State.STOPPING)
        process.stop()
        view.event(
            story.stopped(0.0 if joined_at is None else time.monotonic() - joined_at, reason)
        )


def _ended(message: str, rule: str, log: RunLog, joined_at: float | None) -> ServerDiedError:
    error = ServerDiedError(message, rule=rule, fix=f"see its log: {log.path}")
    error.served_s = _since(joined_at)
    return error


def _since(joined_at: float | None) -> float:
    return 0.0 if joined_at is None else time.monotonic() - joined_at
