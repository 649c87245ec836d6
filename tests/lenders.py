"""Workers for tests: real ones of the installed llmtp, and servers that are no good one."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness import Cli, Running

from llmtp.ports import free_port
from llmtp.units import MiB

#: So much context that its cache is most of what it takes: about 190 MiB on one device.
NEITHER_ALONE = ("--margin", "1MiB", "--n-max", "3", "--parallel", "32", "--ctx", "262144",
                 "--kv-type", "f32")  # fmt: skip
#: What a plan may use of each worker, beside what it keeps for overhead, and what that really has.
SAID, REAL = "280MiB", 165 * MiB
#: A version that no build ever had.
OTHER_BUILD = (4, 0, 99)


@dataclass
class Lender:
    """A worker that is up; `lending` is what it said of itself."""

    running: Running
    lending: dict[str, Any]

    @property
    def endpoint(self) -> str:
        return f"{self.lending['host']}:{self.lending['port']}"

    @property
    def pid(self) -> int:
        """Of the RPC server, not of llmtp."""
        pid = self.lending["pid"]
        assert isinstance(pid, int)
        return pid

    def limit(self, data_bytes: int) -> None:
        """It gets no more memory than that, whatever it says."""
        resource.prlimit(self.pid, resource.RLIMIT_DATA, (data_bytes, data_bytes))


@contextmanager
def lender(cli: Cli, *args: str) -> Iterator[Lender]:
    """One of this machine."""
    with cli.start("worker", "--json", "--port", str(free_port()), *args) as running:
        yield Lender(running, running.wait_event("lending"))
        if running.process.poll() is None:
            running.interrupt()


@contextmanager
def answering(reply: bytes | None, port: int = 0) -> Iterator[str]:
    """A server that takes connections and answers each with these bytes (None: never)."""
    with socket.create_server(("127.0.0.1", port)) as server:
        held = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                if reply is None:
                    held.append(connection)
                    continue
                with connection:
                    connection.recv(64)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()


def greeting(version: tuple[int, int, int]) -> bytes:
    """As ggml-rpc answers RPC_CMD_HELLO: a size, the version, and what a connection can do."""
    body = bytes([*version, 0]) + bytes(24)
    return len(body).to_bytes(8, "little") + body
