"""How it ends, and for whom it does not wait: requests, signals, and who reads stdout."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import http.server
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import (
    LONG,
    Cli,
    Running,
    alive,
    fake_engine,
    stream,
    wait_until,
)

from llmtp.server.process import TERM_WAIT_S
from llmtp.signals import Interrupted, behind
from llmtp.start import SAMPLE_EVERY_S


def suspend_in_request(cli: Cli, server: psutil.Process) -> None:
    """Stop a server that has begun a request, once its log says so: another thread writes it."""
    (log,) = (cli.home / ".local/state/llmtp/logs").iterdir()

    def is_told() -> bool:
        server.suspend()
        if log.read_text(encoding="utf-8").count("processing task") == 2:  # after the proof's
            return True
        server.resume()
        return False

    wait_until(is_told)


@contextlib.contextmanager
def interrupted_in_a_request(
    cli: Cli, signals: int = 1
) -> Iterator[tuple[Running, int, Iterator[bytes]]]:
    """A server that is to stop while it, itself stopped, has begun to answer a request."""
    with cli.start("run", "crafted", "--no-live") as running:
        url = running.wait_line(lambda line: line.startswith("ready in")).split()[5]
        running.wait_line(lambda line: "idle" in line)  # it is watched
        (server,) = psutil.Process(running.process.pid).children()
        pieces = stream(url.removesuffix("/v1"), LONG)
        next(pieces)
        suspend_in_request(cli, server)
        for signum in (signal.SIGTERM, signal.SIGHUP)[:signals]:
            running.process.send_signal(signum)
        running.wait_line(lambda line: line.startswith("stopping once 1 request ended, in 30 s"))
        yield running, server.pid, pieces


def test_a_request_may_finish_before_the_server_is_stopped(cli: Cli) -> None:
    """Told to end, the engine itself breaks it off and never answers."""
    with interrupted_in_a_request(cli) as (running, pid, pieces):
        os.kill(pid, signal.SIGCONT)
        told = b"".join(pieces)
        assert b'"stop":true' in told
        assert b'"stop_type":"limit"' in told
        assert running.process.wait(60) == 143


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interruption_does_not_wait_for_requests(cli: Cli, signum: int) -> None:
    """Ctrl-C counts at once, others where they are no repetition."""
    with interrupted_in_a_request(cli) as (running, pid, pieces):
        if signum != signal.SIGINT:
            waits = time.monotonic() + 0.6
            wait_until(lambda: time.monotonic() > waits)
        since = time.monotonic()
        running.process.send_signal(signum)
        wait_until(lambda: not alive(pid))
        assert time.monotonic() - since < TERM_WAIT_S, "it was waited for"
        assert running.process.wait(60) == 143
        with pytest.raises((OSError, http.client.HTTPException)):
            list(pieces)


def test_what_left_the_group_is_ended_too(cli: Cli, tmp_path: Path) -> None:
    """After a crash, when nobody is its parent any more, and at the end."""
    args = ("run", "crafted", "--json", "--engine", fake_engine(tmp_path))
    with cli.start(*args, env={"FAKE_ENGINE": "forks"}) as running:
        log = Path(running.wait_event("starting")["log"])

        def forked() -> int:
            running.wait_event("mtp")
            return int(log.read_text(encoding="utf-8").split("forked ")[-1].split()[0])

        first = forked()
        assert alive(first)
        (server,) = psutil.Process(running.process.pid).children()
        server.kill()
        second = forked()
        assert not alive(first)
        assert alive(second)
        assert running.interrupt() == 130
        assert not alive(second)


def server_of(llmtp: int) -> psutil.Process | None:
    """The one server that it runs now."""
    children = [child for child in psutil.Process(llmtp).children() if alive(child.pid)]
    return children[0] if len(children) == 1 else None


def wait_served(llmtp: int, besides: int) -> psutil.Process:
    """Another server than that one, once it listens."""
    found: list[psutil.Process] = []

    def listens() -> bool:
        server = server_of(llmtp)
        if server is None or server.pid == besides:
            return False
        with contextlib.suppress(psutil.Error):
            sockets = server.net_connections("tcp")
            if any(one.status == psutil.CONN_LISTEN for one in sockets):
                found.append(server)
        return bool(found)

    wait_until(listens)
    return found[0]


def test_who_does_not_read_stdout_keeps_no_server_down(cli: Cli, tmp_path: Path) -> None:
    """As a pager or a log shipper that hangs; nor does it delay the end. The pipe is smaller than
    what is told before the server is ready."""
    engine, asked = fake_engine(tmp_path), tmp_path / "asked"
    cli("plan", "crafted", "--engine", engine)  # an engine that is new is tried first
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [str(cli.program), "run", "crafted", "--json", "--engine", str(engine)],
        env=cli.env | {"FAKE_ENGINE_ASKED": str(asked)},
        stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writer)

    def watched() -> psutil.Process:
        wait_until(lambda: asked.exists() and "/slots" in asked.read_text())
        server = server_of(process.pid)
        assert server is not None
        return server

    try:
        first = watched()
        asked.unlink()
        first.kill()
        second = watched()
        assert second.pid != first.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert not alive(second.pid)
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def test_stdout_on_a_full_disk_keeps_no_server_down(cli: Cli) -> None:
    program, cli.program = cli.program, Path("/bin/sh")
    with cli.start(
        "-c", f'exec 3>&1; exec "{program}" run crafted --json 2>&3 >/dev/full'
    ) as running:
        running.wait_line(lambda line: line == (
            "warning: stdout cannot be written: No space left on device; the server goes on"
        ))  # fmt: skip
        server = server_of(running.process.pid)
        assert server is not None
        server.kill()
        wait_served(running.process.pid, server.pid)
        assert running.interrupt(signal.SIGTERM) == 143


def test_a_reader_that_goes_away_ends_no_request(cli: Cli) -> None:
    with cli.start("run", "crafted", "--json") as running:
        url = running.wait_event("ready")["url"]
        running.wait_event("sample")
        server = server_of(running.process.pid)
        assert server is not None
        pieces = stream(url, LONG)
        next(pieces)
        suspend_in_request(cli, server)
        running.leave()
        waits = time.monotonic() + 3 * SAMPLE_EVERY_S
        wait_until(lambda: time.monotonic() > waits)
        assert running.process.poll() is None
        server.resume()
        assert b'"stop_type":"limit"' in b"".join(pieces)
        assert running.process.wait(60) == 0


def test_two_signals_at_once_are_one_wish(cli: Cli) -> None:
    """As `timeout` sends them, and a shell when its terminal closes."""
    with interrupted_in_a_request(cli, signals=2) as (running, pid, pieces):
        os.kill(pid, signal.SIGCONT)
        assert b'"stop_type":"limit"' in b"".join(pieces)
        assert running.process.wait(60) == 143


@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGALRM, signal.SIGXCPU])
def test_other_signals_leave_no_server(cli: Cli, signum: int) -> None:
    with cli.start("run", "crafted", "--json") as running:
        pid = running.wait_event("ready")["pid"]
        running.wait_event("sample")
        assert running.interrupt(signum) == 143
        assert not alive(pid)


def test_an_interruption_in_the_making_of_a_class_is_one() -> None:
    """In an import, that is; Python before 3.12 makes a RuntimeError of it."""

    class Field:
        def __set_name__(self, owner: type, name: str) -> None:
            raise Interrupted(signal.SIGHUP)

    with pytest.raises(BaseException) as caught:
        type("Entry", (), {"plan": Field()})
    interrupted = behind(caught.value)
    assert interrupted is not None
    assert interrupted.exit_code == 143
    assert behind(RuntimeError("a bug")) is None


#: Interrupted while a thread starts, which the new thread itself has not said yet: it waits for
#: the lock of the interpreter, which only a call that blocks gives up.
_INTERRUPTED_START = """
import signal, sys
from llmtp import signals
from llmtp.aside import Aside

def interrupt(frame, event, _):
    if event == "call" and frame.f_code.co_name == "wait":
        sys.setprofile(None)
        signal.raise_signal(signal.SIGINT)

signals.install()
sys.setswitchinterval(60)
aside = Aside("test")
sys.setprofile(interrupt)
try:
    aside.call(lambda: None)
except signals.Interrupted:
    aside.close()
    print("ended")
"""


def test_an_interruption_while_a_thread_starts_is_no_bug() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_START], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("ended\n", "")


def test_a_question_after_an_interruption_has_no_answer() -> None:
    """One that was raised where Python drops it, such as in a destructor."""
    script = (
        "import signal\n"
        "from llmtp import signals\n"
        "from llmtp.engine.ask import ask\n"
        "signals.install()\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except signals.Interrupted:\n"
        "    print(ask(['sleep', '60'], {}, 60))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "signals.Interrupted: SIGINT" in done.stderr.splitlines()[-1]
    assert not done.stdout
