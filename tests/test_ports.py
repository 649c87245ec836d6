"""Ports: taken by others before, meanwhile and instead of us."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import socket
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import (
    Cli,
    assert_one_clear_line,
    fake_engine,
    wait_until,
)


class Foreign(http.server.BaseHTTPRequestHandler):
    """Another llama-server, as far as anybody can see."""

    def do_GET(self) -> None:
        body = b'{"status": "ok"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("robbed", "another program answers at http://127.0.0.1:"),
     ("robbed-and-mute", "the server did not start: the port was taken")],
)  # fmt: skip
def test_a_foreign_server_is_never_taken_for_ours(
    cli: Cli, tmp_path: Path, mode: str, reason: str
) -> None:
    """It took the port, answers there, and ours says that it listens, or ends without a word: the
    last ones are lost now and then."""
    waits = tmp_path / "waits"
    os.mkfifo(waits)
    env = {"FAKE_ENGINE": mode, "FAKE_ENGINE_WAITS": str(waits)}
    args = ("run", "crafted", "--json", "--engine", fake_engine(tmp_path))
    with cli.start(*args, env=env) as running, contextlib.ExitStack() as stack:
        log = Path(running.wait_event("starting")["log"])
        wait_until(lambda: "my port is" in log.read_text(encoding="utf-8"))
        port = int(log.read_text(encoding="utf-8").split("my port is ")[1].split()[0])
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Foreign)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        waits.write_text("go on")
        again = running.wait_event("restarting")
        assert again["rule"] == "port-taken"
        assert reason in again["reason"]
        assert again["port"] not in (None, port)


BIND = "0.00.1 E srv  start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 1\n"


def robbed_at_start(folder: Path, times: int) -> dict[str, str]:
    """The environment of an engine that finds its port taken so often."""
    log, queue = folder / "bind.log", folder / "fails"
    log.write_text(BIND)
    queue.write_text("\n".join([str(log)] * times))
    return {"FAKE_ENGINE_FAILS": str(queue)}


def test_a_port_that_was_taken_meanwhile_is_replaced(cli: Cli, tmp_path: Path) -> None:
    args = ("run", "crafted", "--json", "--engine", fake_engine(tmp_path))
    with cli.start(*args, env=robbed_at_start(tmp_path, 2)) as running:
        taken = [running.wait_event("restarting")["port"] for _ in range(2)]
        assert running.wait_event("ready")["port"] == taken[1] != taken[0]
        assert running.interrupt() == 130


def test_a_port_that_was_asked_for_is_not_replaced(cli: Cli, tmp_path: Path) -> None:
    args = ("run", "crafted", "--ask", "x", "--port", "18080", "--engine", fake_engine(tmp_path))
    result = cli(*args, env=robbed_at_start(tmp_path, 1))
    assert_one_clear_line(result, 2, "port 18080 was taken meanwhile", "leave out --port")


def test_who_has_the_port_is_named(cli: Cli) -> None:
    with cli.start("run", "crafted", "--json") as running:
        ready = running.wait_event("ready")
        result = cli("run", "crafted", "--ask", "x", "--port", str(ready["port"]))
        assert_one_clear_line(result, 2, "taken by crafted, which llmtp runs", "llmtp stop crafted")
        running.wait_event("sample")
        assert running.interrupt() == 130
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = cli("run", "crafted", "--ask", "x", "--port", str(port))
        taken = f"taken by {psutil.Process().name()}, process {os.getpid()}"
        assert_one_clear_line(result, 2, taken, f"kill {os.getpid()}")
