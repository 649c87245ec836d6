"""The RPC server that comes with a llama-server: where it is, and how one is greeted.

It serves one client at a time: another one is connected, and waits. It greets with the version of
its protocol, whose last number changes with the numbers of operations: llama.cpp compares only the
others (ggml-rpc.cpp, negotiate_hello), and a server of another build computes something else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from llmtp import signals
from llmtp.aside import begin
from llmtp.engine.ask import ask
from llmtp.engine.llama.find import Engine
from llmtp.engine.llama.speech import LlamaSpeech
from llmtp.engine.speech import Redactor
from llmtp.errors import EngineError, NotFoundError, UsageError
from llmtp.machine.devices import Device, parse_remote_devices
from llmtp.machine.workers import Worker, endpoints
from llmtp.ports import free_port

Version = tuple[int, int, int]
Address = tuple[str, int]
_NUMBERS = 3
#: As it is called by b10068 and later, and by builds before.
_NAMES = ("ggml-rpc-server", "rpc-server", "llama-rpc-server")
_HELLO = 14
#: Of the request, what a connection can do beside TCP: nothing.
_CAPABILITIES = bytes(24)
_GREETING = bytes([_HELLO]) + len(_CAPABILITIES).to_bytes(8, "little") + _CAPABILITIES
_MOST_ANSWER = 1024
GREET_S = 5.0
_LIST_S = 10.0
_START_S = 10.0
_LOOK_S = 0.01


class SilentError(Exception):
    """A worker gave no greeting; `how` completes "the worker HOST:PORT ..."."""

    def __init__(self, how: str, fix: str) -> None:
        super().__init__(how)
        self.how, self.fix = how, fix


def find_rpc_server(engine: Engine) -> Path | None:
    """The one of the same build: beside the llama-server, or beside what that is a link to."""
    folders = dict.fromkeys((engine.path.parent, engine.path.resolve().parent))
    beside = (folder / name for folder in folders for name in _NAMES)
    return next((one for one in beside if one.is_file() and os.access(one, os.X_OK)), None)


def greet(host: str, port: int, timeout_s: float = GREET_S) -> tuple[Version, Address]:
    """The version of the protocol that a server there speaks, and its IPv4 address, which is what
    the engine looks for. Raises SilentError."""
    start = "start it there with: llmtp worker --host ADDRESS"
    try:
        deadline = time.monotonic() + timeout_s
        at = socket.gethostbyname(host), port
        with socket.create_connection(at, timeout_s) as connection:
            connection.sendall(_GREETING)
            size = int.from_bytes(_receive(connection, 8, deadline), "little")
            if not _NUMBERS <= size <= _MOST_ANSWER:
                raise SilentError("is no RPC server of llama.cpp", "look at the address and port")
            major, minor, patch, *_ = _receive(connection, size, deadline)
            return (major, minor, patch), at
    except TimeoutError as error:
        raise SilentError(
            f"does not answer within {timeout_s:.0f} s",
            "it serves one machine at a time: end what uses it, or start it anew",
        ) from error
    except socket.gaierror as error:
        raise SilentError("has a name that nobody knows", "look at the address") from error
    except ConnectionRefusedError as error:
        raise SilentError("is not there: nobody listens", start) from error
    except EOFError as error:
        raise SilentError(
            "hangs up: it is of another build, or no RPC server of llama.cpp", start
        ) from error
    except OSError as error:
        raise SilentError(f"cannot be reached: {error.strerror or error}", start) from error


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    """Exactly so many bytes; raises EOFError where it ends before, TimeoutError at the deadline,
    however slowly they come."""
    got = b""
    while len(got) < size:
        if (left := deadline - time.monotonic()) <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(size - len(got))
        if not piece:
            raise EOFError
        got += piece
    return got


def check_workers(engine: Engine, workers: Sequence[Worker]) -> bool:
    """Are all there, and of this build? False where this build cannot tell whether they are.

    Raises NotFoundError for one that does not answer, EngineError for one of another build, or
    where this build has no RPC, UsageError for one that is named twice.
    """
    if not engine.build.has("--rpc"):
        raise EngineError(
            f"{engine.path} was built without RPC",
            rule="rpc-missing",
            expected="a build with GGML_RPC",
            fix="install another llama.cpp build, or name one with --engine",
        )
    own = _own_version(engine)
    seen = dict[Address, Worker]()
    asked = [begin(partial(greet, worker.host, worker.port)) for worker in workers]
    for worker, future in zip(workers, asked, strict=True):
        try:
            version, at = future.result()
        except SilentError as error:
            raise NotFoundError(
                f"the worker {worker.endpoint} {error.how}", rule="worker-silent", fix=error.fix
            ) from error
        if own is not None and version != own:
            raise EngineError(
                f"the worker {worker.endpoint} is of another build",
                rule="worker-build",
                expected=f"RPC {_words(own)}, as {engine.path} speaks it",
                observed=f"RPC {_words(version)}",
                fix="install the same llama.cpp on both machines",
            )
        if at in seen:  # its memory would count twice, and the second would wait for the first
            raise UsageError(
                f"--rpc names one worker twice: {seen[at].endpoint} and {worker.endpoint}",
                rule="rpc",
                fix=f"leave out {worker.endpoint}",
            )
        seen[at] = worker
    return own is not None


def _own_version(engine: Engine) -> Version | None:
    """What the RPC server of the same build says of itself; None where none says it."""
    program = find_rpc_server(engine)
    if program is None:
        return None
    stat = program.stat()
    key = str(program), stat.st_size, stat.st_mtime_ns
    if key not in _versions:
        version = _ask_version(program, engine.child_env())
        if version is None:
            return None
        _versions[key] = version
    return _versions[key]


#: Of programs that have said it, by path, size and time.
_versions = dict[tuple[str, int, int], Version]()


def _ask_version(program: Path, env: Mapping[str, str]) -> Version | None:
    port = free_port()
    argv = [str(program), "--host", "127.0.0.1", "--port", str(port), "--device", "CPU"]
    deadline = time.monotonic() + _START_S
    with signals.hold():
        try:
            process = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except OSError:  # no program after all
            return None
        try:
            while process.poll() is None and time.monotonic() < deadline and not signals.count():
                with contextlib.suppress(SilentError):
                    return greet("127.0.0.1", port, 1.0)[0]
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return None


def remote_devices(engine: Engine, workers: Sequence[Worker]) -> tuple[Device, ...]:
    """Those of all workers, with their memory as the engine reports it.

    Raises what check_workers raises.
    """
    source = "its worker"
    if not check_workers(engine, workers):
        source = "its worker, whose build could not be compared"
    argv = [str(engine.path), "--rpc", endpoints(workers), "--list-devices"]
    output = ask(argv, engine.child_env(), _LIST_S).output
    devices = parse_remote_devices(output, workers, source)
    for worker in workers:
        if not any(device.worker == worker for device in devices):
            raise NotFoundError(
                f"the worker {worker.endpoint} answers, and the engine sees no device of it",
                rule="worker-silent",
                fix="start it anew on its machine: llmtp worker --host ADDRESS",
            )
    return devices


def _words(version: Version) -> str:
    return ".".join(map(str, version))


class RpcSpeech(LlamaSpeech):
    """See Speech. It says nothing of requests, for it never sees one."""

    def redactor(self, *, prompts_too: bool) -> Redactor:  # noqa: ARG002 - there are none
        return _KeepAll()


class _KeepAll:
    """See Redactor."""

    def keep(self, lines: list[bytes]) -> list[bytes]:
        return lines
