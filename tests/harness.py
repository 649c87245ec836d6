"""Running llmtp as a user does, and waiting for what it prints instead of sleeping."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import queue
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from llmtp.engine.llama.find import find_engine

MARK = "LLMTP_TEST_MARK"
#: Names the folder of `real_size`, where it has been made already.
REAL_SIZE = "LLMTP_TEST_REAL_SIZE"
WAIT_S = 90.0
_LAST_WORDS_S = 2.0


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one envelope on stdout."""
        value = json.loads(self.stdout)
        assert isinstance(value, dict)
        return value

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


class Running:
    """A child whose output lines are read as they come."""

    def __init__(self, process: subprocess.Popen[str], wait_s: float) -> None:
        self.process = process
        self._wait_s = wait_s
        self.seen: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_line(self, wanted: Callable[[str], bool]) -> str:
        """The next line that is wanted; fails when the output ends or the time is up."""
        while True:
            line = self._lines.get(timeout=self._wait_s)
            assert line is not None, f"output ended: {self.seen}"
            if wanted(line):
                return line

    def wait_event(self, name: str) -> dict[str, Any]:
        """The next JSON line of that event."""
        line = self.wait_line(lambda text: json.loads(text).get("event") == name)
        event = json.loads(line)
        assert isinstance(event, dict)
        return event

    def interrupt(self, signum: int = signal.SIGINT) -> int:
        self.process.send_signal(signum)
        return self.process.wait(WAIT_S)

    def leave(self) -> None:
        """Read no further, and close the pipe, as a reader does that has enough."""
        assert self.process.stdout is not None
        os.dup2(os.open(os.devnull, os.O_RDONLY), self.process.stdout.fileno())

    def close(self) -> None:
        """Once it has ended; what came of it may hold its output open."""
        self._reader.join(_LAST_WORDS_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def rest(self) -> list[str]:
        """All lines, once the output has ended."""
        while self._lines.get(timeout=self._wait_s) is not None:
            pass
        return self.seen

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed by us
            for line in self.process.stdout:
                self.seen.append(line.rstrip("\n"))
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


class Cli:
    def __init__(
        self, program: Path, env: dict[str, str], folder: Path, wait_s: float = WAIT_S
    ) -> None:
        self.program = program
        self.env = env
        self.folder = folder
        self.wait_s = wait_s

    @property
    def home(self) -> Path:
        return Path(self.env["HOME"])

    @property
    def profiles(self) -> Path:
        """Where the user's own profiles are."""
        return self.home / ".config" / "llmtp" / "profiles"

    def __call__(
        self, *args: str | Path, stdin: str = "", env: dict[str, str] | None = None
    ) -> Result:
        done = subprocess.run(
            [str(self.program), *map(str, args)],
            env=self.env | (env or {}),
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=self.wait_s,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def start(self, *args: str | Path, env: dict[str, str] | None = None) -> Iterator[Running]:
        """Run in the background; it is killed at the end only if the test left it running."""
        process = subprocess.Popen(
            [str(self.program), *map(str, args)],
            env=self.env | (env or {}),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running = Running(process, self.wait_s)
        try:
            yield running
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(WAIT_S)
            running.close()


def live_screen(
    cli: Cli, words: Sequence[str], columns: int, on_more: Callable[[str], bool]
) -> str:
    """What a terminal of that width was sent by a command, until `on_more`, which gets all of it,
    says that it is enough; ended by Ctrl-C."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    env = {k: v for k, v in cli.env.items() if k != "COLUMNS"} | {"TERM": "xterm-256color"}
    process = subprocess.Popen(
        [str(cli.program), *words], env=env, stdin=follower, stdout=follower, stderr=follower,
        start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    timer = threading.Timer(WAIT_S, process.kill)
    timer.start()
    screen = ""
    try:
        while not on_more(screen):
            try:
                screen += os.read(leader, 1 << 16).decode("utf-8", "replace")
            except OSError:  # killed
                raise AssertionError(f"it is not in {screen[-2000:]}") from None
        process.send_signal(signal.SIGINT)
        rest = _to_the_end(leader)
        code = process.wait(WAIT_S)
        assert code == 130, f"it ended with {code} after {(screen + rest)[-2000:]}"
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        os.close(leader)
    return screen


def _to_the_end(leader: int) -> str:
    """Everything that the last writer to a terminal still says: one that nobody reads blocks it."""
    said = ""
    while True:
        try:
            said += os.read(leader, 1 << 16).decode("utf-8", "replace")
        except OSError:
            return said


def wait_until(happened: Callable[[], bool]) -> None:
    """Poll until it is so; fails when the time is up."""
    deadline = time.monotonic() + WAIT_S
    pause = threading.Event()
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.02)


def http(
    url: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> tuple[dict[str, str], Any]:
    """GET, or POST of JSON; headers of the answer in lower case, and its JSON."""
    data = None if body is None else json.dumps(body).encode()
    typed = {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, headers=typed | (headers or {}))
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        return {k.lower(): v for k, v in answer.headers.items()}, json.loads(answer.read())


def chat(
    url: str, text: str = "hello", *, key: str | None = None, **options: Any
) -> dict[str, Any]:
    """One chat completion, as any OpenAI client would ask."""
    body = {"messages": [{"role": "user", "content": text}], **options}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    _, answer = http(f"{url}/v1/chat/completions", body, headers)
    assert isinstance(answer, dict)
    return answer


def alive(pid: int) -> bool:
    """Is it running? A dead orphan that waits to be reaped is not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_one_clear_line(result: Result, code: int, *words: str) -> None:
    """Its exit code, one error line with these words, no traceback, nothing on stdout."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert (result.code, len(errors)) == (code, 1), (result.code, result.stderr)
    for word in words:
        assert word in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def fake_engine(folder: Path) -> Path:
    """A copy of the fake engine as a program of its own, so that nothing is known of it yet."""
    program = folder / "fake" / "llama-server"
    program.parent.mkdir(exist_ok=True)
    source = Path(__file__).with_name("fake_engine.py").read_text(encoding="utf-8")
    program.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    program.chmod(0o755)
    return program


def engine_that(folder: Path, *, bends: str = "") -> Path:
    """The real engine as another program, with more flags where it drafts."""
    engine = find_engine(None)
    program = folder / "bent" / "llama-server"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nos.environ.update({dict(engine.env)!r})\n"
        f"more = {bends.split()!r} if '--spec-type' in sys.argv else []\n"
        f"os.execv({str(engine.path)!r}, sys.argv + more)\n"
    )
    program.chmod(0o755)
    return program


#: A request that takes two seconds of an idle machine, and no 30 of a busy one.
LONG = {"prompt": "hello", "n_predict": 500, "ignore_eos": True, "stream": True}


def stream(url: str, body: dict[str, Any]) -> Iterator[bytes]:
    """Pieces of a streamed completion, as they come."""
    host = url.removeprefix("http://")
    connection = HTTPConnection(host, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/completion", json.dumps(body))
        answer = connection.getresponse()
        while piece := answer.read1(1 << 16):
            yield piece
