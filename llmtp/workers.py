"""Workers over the restarts of a server: which one is to blame, and whether all are back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from llmtp import signals
from llmtp.chain import Prepared
from llmtp.errors import (
    EngineEndedError,
    EngineError,
    Finding,
    LlmtpError,
    NotFoundError,
    ServerDiedError,
)

#: As the cause of an end is called.
LOST = "worker-lost"
#: Ends that tell of no other reason.
_MAY_BE_OF_WORKERS = {LOST, "worker-silent", "worker-build", "server-hung", "start-stuck",
                      "first-request", "start-failed", "server-died", "engine-aborted",
                      "engine-crashed"}  # fmt: skip
#: A machine may start anew meanwhile.
WAIT_S = 180.0
_LOOK_EVERY_S = 1.0


def blame(error: EngineEndedError, prepared: Prepared) -> None:
    """Name the worker that cannot be used now that the engine has let go of it, if there is one;
    those of which one went away, if all are back."""
    workers, first = prepared.plan.workers, error.findings[0]
    if not workers or error.out_of or first.rule not in _MAY_BE_OF_WORKERS:
        return
    try:
        _check(prepared)
    except EngineError as changed:
        why = changed.findings[0]
        error.findings[0] = replace(why, message=f"{first.message}: {why.message}")
    except NotFoundError as missing:
        why = missing.findings[0]
        error.findings[0] = replace(
            first, rule=LOST, message=f"{first.message}: {why.message}", fix=why.fix
        )
    else:
        if first.rule == LOST and not any(one.endpoint in first.message for one in workers):
            names = " or ".join(worker.endpoint for worker in workers)
            error.findings[0] = replace(first, message=f"{first.message}: {names}, back by now")


def wait_back(prepared: Prepared, on_wait: Callable[[Finding], None]) -> None:
    """Wait until all of them answer; `on_wait` is told once for what. Raises ServerDiedError where
    one does not come back, or with another build."""
    deadline, told = time.monotonic() + WAIT_S, False
    while prepared.plan.workers:
        signals.check()
        try:
            _check(prepared)
        except EngineError as changed:
            raise _given_up(changed) from changed
        except NotFoundError as missing:
            if time.monotonic() > deadline:
                raise _given_up(missing) from missing
            if not told:
                told = True
                on_wait(replace(missing.findings[0], level="warning"))
            threading.Event().wait(_LOOK_EVERY_S)
        else:
            return


def _check(prepared: Prepared) -> None:
    prepared.kind.check_workers(prepared.engine, prepared.plan.workers)


def _given_up(error: LlmtpError) -> ServerDiedError:
    died = ServerDiedError(str(error))
    died.findings = list(error.findings)
    return died
