"""Short questions to a program: bounded in time and output, never through a shell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmtp import signals

_POLL_S = 0.01
_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program printed (both streams), and how it ended: None when it was stopped by us."""

    returncode: int | None
    output: str


def ask(
    argv: Sequence[str], env: Mapping[str, str], timeout_s: float, until: str | None = None
) -> Answer:
    """Run a program until it ends, prints `until`, floods, or the time is up; then it is gone.

    A signal to ourselves ends it, too. Raises OSError when it cannot be started.
    """
    with signals.hold(), tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + timeout_s
        while process.poll() is None and time.monotonic() < deadline and not signals.count():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
            size = os.fstat(output.fileno()).st_size
            if size > _MOST_BYTES or (until and until in _read(output.fileno(), size)):
                break
        ended = process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if ended is None:
            signals.check()  # what it had printed by then is no answer
        size = os.fstat(output.fileno()).st_size
        return Answer(ended, _read(output.fileno(), size))


def _read(descriptor: int, size: int) -> str:
    return os.pread(descriptor, min(size, _MOST_BYTES), 0).decode("utf-8", "replace")
