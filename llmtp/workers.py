"""Workers over the restarts of a server: which one is to blame, and whether all are back."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from llmtp import signals
from llmtp.chain import Prepared
from llmtp.errors import EngineEndedError, EngineError, LlmtpError, NotFoundError, ServerDiedError

#: As the cause of an end is called.
LOST = "worker-lost"
#: A machine may start anew meanwhile.
WAIT_S = 180.0
_LOOK_EVERY_S = 1.0


def blame(error: EngineEndedError, prepared: Prepared) -> None:
    """Name the worker that cannot be used now that the engine has let go of it, if there is one;
    those of which one went away, if all are back."""
    workers, first = prepared.plan.workers, error.findings[0]
    if not workers:
        return
    try:
        _check(prepared)
    except EngineError as changed:
        why = changed.findings[0]
        error.findings[0] = replace(why, message=f"{first.message}: {why.message}")
    except NotFoundError as missing:
        why = missing.findings[0]
        error.findings[0] = replace(why, rule=LOST, message=f"{first.message}: {why.message}")
    else:
        if first.rule == LOST:
            names = " or ".join(worker.endpoint for worker in workers)
            error.findings[0] = replace(first, message=f"{first.message}: {names}, back by now")


def wait_back(prepared: Prepared) -> None:
    """Wait until all of them answer. Raises ServerDiedError where one does not come back, or with
    another build."""
    deadline = time.monotonic() + WAIT_S
    while prepared.plan.workers:
        signals.check()
        try:
            _check(prepared)
        except EngineError as changed:
            raise _given_up(changed) from changed
        except NotFoundError as missing:
            if time.monotonic() > deadline:
                raise _given_up(missing) from missing
            threading.Event().wait(_LOOK_EVERY_S)
        else:
            return


def _check(prepared: Prepared) -> None:
    prepared.kind.check_workers(prepared.engine, prepared.plan.workers)


def _given_up(error: LlmtpError) -> ServerDiedError:
    died = ServerDiedError(str(error))
    died.findings = list(error.findings)
    return died
