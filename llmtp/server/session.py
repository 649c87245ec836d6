"""One start of a server, to its end. Whoever enters a session owns the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from llmtp import signals
from llmtp.engine.command import PROMPTS_LOGGED, Command, Serving
from llmtp.engine.speech import CRASHED, PORT_TAKEN, Cause, Speech
from llmtp.errors import EngineUnreachableError, ServerDiedError, StartFailedError
from llmtp.machine import cgroup
from llmtp.machine.family import Family
from llmtp.plan.result import Plan
from llmtp.ports import is_free
from llmtp.server.access import read_key, url_of
from llmtp.server.log import RunLog
from llmtp.server.output import Output
from llmtp.server.process import ServerProcess
from llmtp.server.proof import Proof, prove
from llmtp.server.pulse import STILL_S, WORKERS_S, Progress, Signs
from llmtp.text import clean

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient

#: From an address and a key to a client.
Connect = Callable[[str, "str | None"], "EngineClient"]
_READY_POLL_S = 0.02
_END_WAIT_S = 0.5
_LOADING_EVERY_S = 0.25


class Session:
    """Starts the engine on entering, stops it on leaving, whatever happens in between."""

    def __init__(
        self,
        plan: Plan,
        command: Command,
        serving: Serving,
        speech: Speech,
        connect: Connect,
        log: RunLog,
        on_line: Callable[[str], None],
        marks: Mapping[str, str | None],
    ) -> None:
        """`speech` is the engine's, `connect` makes a client of it. `on_line` gets each line of its
        output, in the thread that drains it; `marks` are for its environment."""
        self.plan = plan
        self.serving = serving
        self.log = log
        self._speech = speech
        self._connect = connect
        self._key = read_key(serving.api_key_file) if serving.api_key_file else None
        secret = {command.key_variable: self._key} if command.key_variable else {}
        self._command = command.with_env({**marks, **secret})
        self.url = url_of(serving.host, serving.port)
        asked = any(finding.rule == PROMPTS_LOGGED for finding in command.findings)
        self._output = Output(speech, log, on_line, prompts_too=asked)
        self._process: ServerProcess | None = None
        self._client: EngineClient | None = None
        self._oom_kills = 0
        self._started_at = time.monotonic()
        self._ready_at: float | None = None
        self._hangs = False
        still_s = WORKERS_S if plan.workers else STILL_S
        self._progress = Progress(self._started_at, still_s)

    def __enter__(self) -> Session:
        self._oom_kills = cgroup.oom_kills() or 0
        try:
            with signals.hold():
                self.log.begin()
                self._process = ServerProcess(
                    self._command, self._output.take, self._speech.term_wait_s
                )
            # httpx takes 80 ms to import: as long as a small model takes to load.
            self._client = self._connect(self.url, self._key)
        except BaseException:
            if self._process is not None:
                self._process.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.process.stop(hangs=self._hangs)
        finally:
            if self.process.returncode is None:  # interrupted before it began to stop
                self.process.stop()
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
    def argv(self) -> tuple[str, ...]:
        return self._command.argv

    @property
    def was_entered(self) -> bool:
        """Was there ever a process?"""
        return self._process is not None

    @property
    def uptime_s(self) -> float:
        return time.monotonic() - self._started_at

    def wait_ready(self, on_loading: Callable[[float, int | None], None]) -> float:
        """Wait for ready, died or stuck, whichever is first; the seconds it took.

        `on_loading` gets elapsed seconds and bytes in memory or read (None: not told).
        """
        told = 0.0
        ours: tuple[str, int] | None = None
        while ours is None:
            signals.check()
            if self.process.wait_ended(_READY_POLL_S):
                raise self._start_failed()
            if self.uptime_s - told >= _LOADING_EVERY_S:
                told = self.uptime_s
                on_loading(told, self._check_progress())
            if self._output.is_listening:
                ours = self.client.ready_at()
        self._check_identity(ours)
        self._ready_at = time.monotonic()
        self._output.served()
        return self.uptime_s

    def prove(self) -> Proof | None:
        """Prove that MTP works where the plan has it on, and that it answers at all."""
        signals.check()
        if not self.plan.mtp and self._speech.health_is_enough:
            return None
        try:
            return prove(self.client, self.plan.n_max, self._check_progress)
        except StartFailedError:
            if self.process.wait_ended(_END_WAIT_S):  # a lost connection is known before an end
                raise self._start_failed() from None
            raise

    def wait_ended(self, timeout_s: float) -> bool:
        """Wait for the server to end by itself, or raise Interrupted."""
        signals.check()
        return self.process.wait_ended(timeout_s)

    def died(self) -> ServerDiedError:
        """Why the server is gone, for whoever noticed."""
        cause = self._cause()
        error = ServerDiedError(
            f"the server died after {_seconds(self.uptime_s)}: {cause.message}",
            rule=None if cause.rule == "start-failed" else cause.rule,
            observed=self._status(),
            fix=f"{cause.fix}; its log: {self.log.path}",
        )
        error.out_of = cause.out_of
        return self._ended_after_ready(error)

    def hung(self, silent_s: float) -> ServerDiedError:
        """That the server lives and does not answer."""
        self._hangs = True
        error = ServerDiedError(
            f"the server hangs: no answer for {silent_s:.0f} s",
            rule="server-hung",
            fix=f"see its log: {self.log.path}",
        )
        return self._ended_after_ready(error)

    def abandoned(self, worker: str) -> ServerDiedError:
        """That a worker has left a server that lives and does not know it yet."""
        self._hangs = True
        error = ServerDiedError(
            f"the worker {worker} has left the server",
            rule="worker-lost",
            fix="see on its machine why it ended; llmtp worker starts it again",
        )
        return self._ended_after_ready(error)

    def _ended_after_ready(self, error: ServerDiedError) -> ServerDiedError:
        error.served_s = time.monotonic() - self._ready_at if self._ready_at else 0.0
        error.last_words = self._speech.telling_lines(self._output.telling())
        return error

    def check_answers(self) -> None:
        """Raises ServerDiedError where a server should answer and nothing has moved for long."""
        stuck_s, _ = self._look()
        if stuck_s is not None:
            raise self.hung(stuck_s)

    def _look(self) -> tuple[float | None, int | None]:
        """For how long nothing has moved, when that is too long; and bytes loaded so far."""
        now, family = time.monotonic(), Family(self.process.pid)
        loaded_bytes = family.loaded_bytes()
        self._progress.look(now, Signs(self._output.lines, loaded_bytes, family.computed_s()))
        return self._progress.stuck_s(now), loaded_bytes

    def _check_progress(self) -> int | None:
        """Bytes loaded so far; raises StartFailedError where nothing has moved for too long."""
        stuck_s, loaded_bytes = self._look()
        if stuck_s is not None:
            raise StartFailedError(
                f"the server is not ready, and nothing has moved for {stuck_s:.0f} s",
                rule="start-stuck",
                expected="lines in its log, bytes loaded, or an answer",
                fix=f"see its log: {self.log.path}",
            )
        return loaded_bytes

    def _check_identity(self, address: tuple[str, int]) -> None:
        """Is the server that answers ours, with our model? Its log says that ours listens, too;
        but an address may be shared, as `localhost` is by two protocols."""
        model = None
        if Family(self.process.pid).listens_at(*address) is not False:
            try:
                model = self.client.serves()
            except EngineUnreachableError:
                return
            if model is None or model == self._command.serves:
                return
        if self.process.wait_ended(_END_WAIT_S):  # ours answered, and is gone since
            raise self._start_failed()
        serves = f", with {clean(str(model), 200)}" if model else ""
        raise StartFailedError(
            f"another program answers at {self.url}{serves}",
            rule="port-taken",
            expected=f"our process {self.process.pid}, with {self.plan.main.path}",
            fix="leave out --port for a free one, or use another; --host 127.0.0.1 is one address",
        )

    def _start_failed(self) -> StartFailedError:
        cause = self._cause()
        what = "did not start" if self._ready_at is None else "died during its first request"
        # llama-server (b10068) crashes where it cannot make a context, and its log may miss that.
        lacks_memory = cause.rule == CRASHED and self._ready_at is None
        perhaps = ", perhaps for lack of memory" if lacks_memory else ""
        error = StartFailedError(
            f"the server {what}: {cause.message}{perhaps}",
            rule=cause.rule,
            observed=self._status(),
            fix=f"{cause.fix}; its log: {self.log.path}",
        )
        error.out_of = cause.out_of
        error.last_words = self._speech.telling_lines(self._output.telling())
        if lacks_memory:
            error.out_of = "device memory" if self.plan.gpus else "RAM"
        return error

    def _cause(self) -> Cause:
        kills = (cgroup.oom_kills() or 0) - self._oom_kills
        code, telling = self.process.returncode, self._output.telling()
        lost_words = code == 1 and not telling and self._ready_at is None
        if lost_words and not is_free(self.serving.host, self.serving.port):
            return PORT_TAKEN
        return self._speech.explain(code, telling, oom_kills=kills)

    def _status(self) -> str | None:
        returncode = self.process.returncode
        return None if returncode is None else f"exit status {returncode}"


def _seconds(duration_s: float) -> str:
    return f"{duration_s:.1f} s" if duration_s < 10 else f"{duration_s:,.0f} s"
