"""The RPC server of this machine, kept up for a llama-server on another one."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmtp import paths, signals, story
from llmtp.engine.command import Command
from llmtp.engine.llama.find import Engine
from llmtp.engine.llama.rpc import GREET_S, RpcSpeech, SilentError, Version, find_rpc_server, greet
from llmtp.errors import (
    EngineEndedError,
    EngineError,
    Finding,
    ServerDiedError,
    StartFailedError,
)
from llmtp.machine.devices import Device, parse_list_devices
from llmtp.machine.host import read_host
from llmtp.machine.sockets import keep_alive
from llmtp.plan.place import HOST_MARGIN
from llmtp.ports import is_loopback
from llmtp.server.log import RunLog, log_path
from llmtp.server.output import Output
from llmtp.server.process import ServerProcess
from llmtp.server.restarts import Restarts
from llmtp.story import Event, View
from llmtp.supervisor import crash_loop
from llmtp.units import GiB, MiB, format_bytes

_LOOK_S, _START_LOOK_S = 0.25, 0.05
#: Who only asks for devices is gone sooner.
_STAYS_S = 1.0
_START_S = 60.0
_HEARD_S = 2.0
_TERM_WAIT_S = 2.0
_CPU = "CPU"
_LITTLE = 1 * GiB
_ACCEPTED, _CLOSED = "Accepted client connection", "Client connection closed"


@dataclass(frozen=True, slots=True)
class Lent:
    """What is started: a program of `engine`, at an address of this machine. `devices` are those
    that the engine would use, or the CPU; `cache` is the folder that keeps what was sent, None for
    nothing."""

    engine: Engine
    program: Path
    host: str
    port: int
    devices: tuple[str, ...]
    threads: int
    cache: Path | None

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"

    def command(self) -> Command:
        """Its argv and environment."""
        argv = [str(self.program), "--host", self.host, "--port", str(self.port)]
        argv += ["--device", ",".join(self.devices), "--threads", str(self.threads)]
        env: dict[str, str | None] = dict(self.engine.env)
        if self.cache is not None:
            argv.append("--cache")
            env["LLAMA_CACHE"] = str(self.cache)
        return Command(tuple(argv), (), env, ())


def lend(engine: Engine, host: str, port: int, threads: int, *, keeps: bool) -> Lent:
    """The RPC server that came with an engine. Raises EngineError where none did."""
    program = find_rpc_server(engine)
    if program is None:
        raise EngineError(
            f"no RPC server stands beside {engine.path}",
            rule="rpc-missing",
            expected="ggml-rpc-server, which llama.cpp builds with GGML_RPC",
            fix="install another llama.cpp build, or name one with --engine",
        )
    seen = parse_list_devices(engine.list_devices())
    devices = tuple(one.id for one in seen if one.usable and one.id is not None) or (_CPU,)
    cache = paths.cache_dir() / "worker" if keeps else None
    return Lent(engine, program, host, port, devices, threads, cache)


def exposure(lent: Lent) -> Finding:
    """Who can reach it: whoever can needs no key, and hears and reads everything."""
    if is_loopback(lent.host):
        return Finding(
            "worker-here",
            "info",
            f"only this machine reaches {lent.endpoint}",
            fix="for another one, name your private network: llmtp worker --host ADDRESS",
        )
    return Finding(
        "worker-open",
        "warning",
        f"RPC has neither password nor encryption: everybody who reaches {lent.endpoint} can use "
        "this machine, crash the server, and read what is computed",
        expected="a private network, in which you trust every machine",
        fix=f"let your firewall pass port {lent.port} from the machine with the model only",
    )


def keep_lending(lent: Lent, view: View) -> None:
    """Until somebody interrupts. Raises StartFailedError for one that never greets,
    ServerDiedError for one that dies again and again."""
    lender = _Lender(lent, view)
    try:
        lender.keep()
    finally:
        lender.close()


class _Lender:
    """Through all its starts."""

    def __init__(self, lent: Lent, view: View) -> None:
        self._lent, self._view = lent, view
        self._restarts = Restarts()
        self._log = RunLog(log_path("worker", lent.port))
        self._guest = _Guest()
        self._devices: list[Device] = []

    def close(self) -> None:
        self._log.close()

    def keep(self) -> None:
        """One start after the other."""
        was_ready = False
        while True:
            try:
                self._start()
            except EngineEndedError as error:
                was_ready = was_ready or isinstance(error, ServerDiedError)
                if not was_ready:
                    raise
                wait_s = self._restarts.failed(error.served_s)
                if wait_s is None:
                    raise crash_loop(error, self._restarts.in_a_row) from error
                why, in_a_row = error.findings[0], self._restarts.in_a_row
                self._view.event(story.restarting(why, wait_s=wait_s, in_a_row=in_a_row))
                signals.check()
                threading.Event().wait(wait_s)

    def _hear(self, line: str) -> None:
        self._devices += parse_list_devices(line)
        self._guest.hear(line)

    def _start(self) -> None:
        """To its end, which is raised."""
        self._devices, self._guest = [], _Guest()
        output = Output(RpcSpeech(), self._log, self._hear, prompts_too=True)
        began, reason, ready_at = time.monotonic(), "asked", None
        process: ServerProcess | None = None
        try:
            with signals.hold():
                self._log.begin()
                process = ServerProcess(self._lent.command(), output.take, _TERM_WAIT_S, lends=True)
            self._view.event(story.starting(process.pid, self._log.path))
            version = self._wait_ready(process, output)
            ready_at = time.monotonic()
            self._view.event(_ready(self._lent, process.pid, version, self._devices))
            if _CPU in self._lent.devices and (spare := _spare_bytes()) < _LITTLE:
                self._view.finding(_little(spare))
            while not process.wait_ended(_LOOK_S):
                signals.check()
                if (change := self._guest.change()) is not None:
                    if change.name == "connected":
                        keep_alive(process.pid)  # or it would wait for ever for one that is gone
                    self._view.event(change)
            died = ServerDiedError(self._ended(process, output), fix=f"see {self._log.path}")
            died.served_s = time.monotonic() - ready_at
            raise died
        except EngineEndedError as error:
            reason = error.findings[0].rule
            raise
        finally:
            if process is not None:
                process.stop()
                self._view.event(story.stopped(time.monotonic() - (ready_at or began), reason))

    def _wait_ready(self, process: ServerProcess, output: Output) -> Version:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            signals.check()
            try:
                version, _ = greet(self._lent.host, self._lent.port, GREET_S)
            except SilentError:
                if process.wait_ended(_START_LOOK_S):
                    break
                continue
            # What it lends it has said by then; that may still be on its way to us.
            deadline = min(deadline, time.monotonic() + _HEARD_S)
            while not self._guest.was_heard and time.monotonic() < deadline:
                if process.wait_ended(_START_LOOK_S):
                    break
            return version
        ended = process.returncode is not None
        what = self._ended(process, output) if ended else f"no greeting within {_START_S:.0f} s"
        raise StartFailedError(f"the RPC server did not start: {what}", fix=f"see {self._log.path}")

    def _ended(self, process: ServerProcess, output: Output) -> str:
        speech = RpcSpeech()
        return (
            f"the RPC server ended: {speech.explain(process.returncode, output.telling()).message}"
        )


class _Guest:
    """The machine that is connected, by the lines of the server; one that only asks for devices
    does not count. Fed by the thread that drains the output."""

    def __init__(self) -> None:
        self.was_heard = False
        self._since: float | None = None
        self._told_since: float | None = None

    def hear(self, line: str) -> None:
        if _ACCEPTED in line:
            self._since = time.monotonic()
            self.was_heard = True
        elif _CLOSED in line:
            self._since = None

    def change(self) -> Event | None:
        """What is new since the last call."""
        since, told, now = self._since, self._told_since, time.monotonic()
        if told is None and since is not None and now - since > _STAYS_S:
            self._told_since = since
            return Event("connected")
        if told is not None and since != told:
            self._told_since = None
            return Event("left", {"connected_s": round(now - told, 3)})
        return None


def _spare_bytes() -> int:
    return max(read_host().available_bytes - HOST_MARGIN, 0)


def _little(spare: int) -> Finding:
    return Finding(
        "worker-full",
        "warning",
        f"{format_bytes(spare)} of RAM are left to lend, with {format_bytes(HOST_MARGIN)} kept for "
        "this machine",
        fix="end what takes memory here, and start it anew",
    )


def _ready(lent: Lent, pid: int, version: Version, devices: Sequence[Device]) -> Event:
    host = read_host()
    fields = [
        {
            "id": device.id,
            "name": device.name,
            "total_bytes": device.total_bytes,
            "free_bytes": host.available_bytes if device.id == _CPU else device.free_bytes,
        }
        for device in devices
    ]
    # Of its RAM the server counts all as free, whatever other programs take.
    spare = _spare_bytes()
    tenths = spare * 10 // GiB
    size = f"{tenths / 10}GiB" if tenths else f"{spare // MiB}MiB"
    most = f"={size}" if any(one.id == _CPU for one in devices) else ""
    return Event(
        "lending",
        {
            "pid": pid,
            "host": lent.host,
            "port": lent.port,
            "rpc_version": ".".join(map(str, version)),
            "program": str(lent.program),
            "threads": lent.threads,
            "cache": str(lent.cache) if lent.cache else None,
            "devices": fields,
            "use": f"--rpc {lent.endpoint}{most}",
        },
    )
