"""One server from start to stop. Whoever enters a session owns the process."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llmtp import paths, signals
from llmtp.engine.build import LISTENING
from llmtp.engine.command import Command, Serving
from llmtp.errors import OutOfMemoryError, ServerDiedError, StartFailedError
from llmtp.machine import cgroup
from llmtp.machine.host import ProcessMeter
from llmtp.plan.result import Plan
from llmtp.server.access import connect_host, read_key
from llmtp.server.failure import Cause, explain, is_telling
from llmtp.server.process import ServerProcess
from llmtp.server.proof import Proof, prove

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient

READY_TIMEOUT_S = 900.0
_READY_POLL_S = 0.02
_LOADING_EVERY_S = 0.25
_KEPT_LINES = 200


class Session:
    """Starts the engine on entering, stops it on leaving, whatever happens in between."""

    def __init__(
        self,
        plan: Plan,
        command: Command,
        serving: Serving,
        on_line: Callable[[str], None],
    ) -> None:
        """`on_line` gets each line of the engine's output, in the thread that drains it."""
        self.plan = plan
        self.serving = serving
        self._command = command
        self._key = read_key(serving.api_key_file) if serving.api_key_file else None
        self.url = f"http://{connect_host(serving.host)}:{serving.port}"
        self._hand_on = on_line
        self._listening = False
        self._telling: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process: ServerProcess | None = None
        self._client: EngineClient | None = None
        self._oom_kills = 0
        self._started_at = time.monotonic()

    def __enter__(self) -> Session:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self._oom_kills = cgroup.oom_kills() or 0
        name = re.sub(r"[^A-Za-z0-9._-]", "_", self.plan.name)
        log = paths.log_dir() / f"{name}-{stamp}-{self.serving.port}.log"
        try:
            with signals.hold():
                self._process = ServerProcess(self._command, log, self._on_line)
            # httpx takes 80 ms to import: as long as a small model takes to load.
            from llmtp.engine.client import EngineClient

            self._client = EngineClient(self.url, self._key)
        except BaseException:
            if self._process is not None:
                self._process.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.process.stop()
        finally:
            if self._client is not None:
                self._client.close()

    @property
    def client(self) -> EngineClient:
        if self._client is None:
            raise RuntimeError("the session was not entered")
        return self._client

    @property
    def process(self) -> ServerProcess:
        if self._process is None:
            raise RuntimeError("the session was not entered")
        return self._process

    @property
    def log(self) -> Path:
        return self.process.log

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self._started_at

    def wait_ready(self, on_loading: Callable[[float, int | None], None]) -> float:
        """Wait for ready, died or time-out, whichever is first; the seconds it took.

        `on_loading` gets elapsed seconds and bytes in memory or read (None: not told).
        """
        meter = ProcessMeter(self.process.pid)
        told = 0.0
        while not (self._listening and self.client.is_ready()):
            signals.check()
            if self.process.wait_ended(_READY_POLL_S):
                raise self._start_failed()
            if self.uptime_s > READY_TIMEOUT_S:
                raise StartFailedError(
                    f"the server was not ready after {READY_TIMEOUT_S:.0f} s",
                    fix=f"see its log: {self.log}",
                )
            if self.uptime_s - told >= _LOADING_EVERY_S:
                told = self.uptime_s
                on_loading(told, meter.loaded_bytes())
        return self.uptime_s

    def prove(self) -> Proof | None:
        """Prove that MTP works, where the plan has it on."""
        signals.check()
        if not self.plan.mtp:
            return None
        try:
            return prove(self.client, self.plan.n_max)
        except StartFailedError:
            if self.process.wait_ended(_READY_POLL_S):
                raise self._start_failed() from None
            raise

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait for the server to end by itself, or raise Interrupted."""
        signals.check()
        return self.process.wait_ended(timeout_s)

    def died(self) -> ServerDiedError:
        """Why the server is gone, for whoever noticed."""
        cause = self._cause()
        return ServerDiedError(
            f"the server died after {self.uptime_s:.0f} s: {cause.message}",
            observed=self._status(),
            fix=f"{cause.fix}; its log: {self.log}",
        )

    def _start_failed(self) -> StartFailedError:
        cause = self._cause()
        kind = OutOfMemoryError if cause.out_of else StartFailedError
        error = kind(
            f"the server did not start: {cause.message}",
            observed=self._status(),
            fix=f"{cause.fix}; its log: {self.log}",
        )
        if isinstance(error, OutOfMemoryError):
            error.in_ram = cause.out_of == "RAM"
        return error

    def _cause(self) -> Cause:
        kills = (cgroup.oom_kills() or 0) - self._oom_kills
        return explain(self.process.returncode, list(self._telling), oom_kills=kills)

    def _status(self) -> str | None:
        returncode = self.process.returncode
        return None if returncode is None else f"exit status {returncode}"

    def _on_line(self, line: str) -> None:
        if LISTENING in line:
            self._listening = True
        if is_telling(line):
            self._telling.append(line)
        self._hand_on(line)
