"""It stays up, or says why not: crashes, hangs, ports, logs, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import http.server
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import Cli, Running, alive, assert_one_clear_line, chat, fake_engine, wait_until

from llmtp.machine.family import Family
from llmtp.server.life import MOVES, Life, State
from llmtp.server.log import RunLog
from llmtp.server.process import TERM_WAIT_S
from llmtp.server.pulse import HANG_S, STILL_S, STUCK_S, Progress, Pulse, Signs
from llmtp.server.restarts import FIRST_WAIT_S, MOST_IN_A_ROW, STABLE_S, Restarts
from llmtp.start import SAMPLE_EVERY_S

LONG = {"prompt": "hello", "n_predict": 4000, "ignore_eos": True, "stream": True}


def stream(url: str, body: dict[str, Any]) -> Iterator[bytes]:
    """Pieces of a streamed completion, as they come."""
    host = url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/completion", json.dumps(body))
        answer = connection.getresponse()
        while piece := answer.read1(1 << 16):
            yield piece


def asks_until_served(url: str, seconds: float) -> dict[str, Any]:
    """A client that tries again when it is refused, or told that the model is loading."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return chat(url)
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < deadline, "lost"


def test_a_server_that_is_killed_during_a_request_comes_back(cli: Cli) -> None:
    """The request fails; a client that tries again is served, by the same URL, with MTP."""
    with cli.start("run", "demo", "--json") as running:
        ready = running.wait_event("ready")
        first = running.wait_event("mtp")
        pieces = stream(ready["url"], LONG)
        assert b"data: " in next(pieces)
        os.kill(ready["pid"], signal.SIGKILL)
        with pytest.raises((OSError, http.client.HTTPException)):
            list(pieces)
        again = running.wait_event("restarting")
        assert (again["rule"], again["in_a_row"], again["step"]) == ("killed", 1, 0)
        assert "it was killed (SIGKILL)" in again["reason"]
        answer = asks_until_served(ready["url"], 60)
        back = running.wait_event("ready")
        assert (back["url"], back["id"]) == (ready["url"], ready["id"])
        assert back["pid"] != ready["pid"]
        second = running.wait_event("mtp")
        counts = ("active", "drafted", "accepted")
        assert [second[key] for key in counts] == [first[key] for key in counts]
        assert answer["choices"][0]["message"]["content"]
        assert running.interrupt() == 130
        events = [json.loads(line) for line in running.seen]
    assert [e["reason"] for e in events if e["event"] == "stopped"] == ["killed", "asked"]
    assert [e["event"] for e in events if e["event"] == "planned"] == ["planned"]


def kill_at_each_proof(running: Running) -> dict[str, Any]:
    """The last event of a server that is killed whenever it has been proved."""
    while True:
        pid = running.wait_event("ready")["pid"]
        running.wait_event("mtp")
        os.kill(pid, signal.SIGKILL)
        event = json.loads(
            running.wait_line(lambda line: '"restarting"' in line or '"exit"' in line)
        )
        if event["event"] == "exit":
            assert isinstance(event, dict)
            return event


def test_a_crash_loop_is_given_up(cli: Cli) -> None:
    with cli.start("run", "demo", "--json") as running:
        last = kill_at_each_proof(running)
        assert running.process.wait(60) == 7
        events = [json.loads(line) for line in running.rest()]
    (finding,) = last["findings"]
    assert (last["exit_code"], finding["rule"]) == (7, "crash-loop")
    assert f"gave up after {MOST_IN_A_ROW} failures in a row" in finding["message"]
    assert "it was killed (SIGKILL)" in finding["message"]
    waits = [event["wait_s"] for event in events if event["event"] == "restarting"]
    assert len(waits) == MOST_IN_A_ROW - 1
    assert waits == sorted(waits)
    log = Path(next(event["log"] for event in events if event["event"] == "starting"))
    assert log.read_text(encoding="utf-8").count("listening on http") == MOST_IN_A_ROW


def test_a_restart_leaks_nothing(cli: Cli) -> None:
    """Descriptors and threads of llmtp, after one restart and after two."""
    with cli.start("run", "demo", "--json") as running:
        llmtp = psutil.Process(running.process.pid)
        seen = []
        for _ in range(3):
            pid = running.wait_event("ready")["pid"]
            running.wait_event("sample")
            running.wait_event("sample")
            seen.append((llmtp.num_fds(), llmtp.num_threads(), len(llmtp.children())))
            os.kill(pid, signal.SIGKILL)
        running.wait_event("ready")
        assert running.interrupt() == 130
    assert seen[1] == seen[2], seen


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
    with cli.start("run", "demo", "--no-live") as running:
        url = running.wait_line(lambda line: line.startswith("ready in")).split()[5]
        running.wait_line(lambda line: "MTP is on" in line)
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


def test_a_second_interruption_does_not_wait_for_requests(cli: Cli) -> None:
    with interrupted_in_a_request(cli) as (running, pid, pieces):
        waits = time.monotonic() + 0.6  # two at once are one
        wait_until(lambda: time.monotonic() > waits)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(TERM_WAIT_S - 1) == 143
        assert not alive(pid)
        with pytest.raises((OSError, http.client.HTTPException)):
            list(pieces)


def test_watching_asks_at_most_twice_a_second(cli: Cli, tmp_path: Path) -> None:
    """`/slots` at each sample, `/metrics` once at first and after requests; here one a sample."""
    asked = tmp_path / "asked"
    args = ("run", "demo", "--json", "--engine", fake_engine(tmp_path))
    with cli.start(*args, env={"FAKE_ENGINE_ASKED": str(asked)}) as running:
        url = running.wait_event("ready")["url"]
        running.wait_event("sample")
        began = time.monotonic()
        asked.write_text("")
        for _ in range(4):
            list(stream(url, LONG))
            running.wait_event("sample")
        paths = asked.read_text().split()
        elapsed_s = time.monotonic() - began
        assert running.interrupt() == 130
    looks = paths.count("/slots")
    assert 4 <= looks <= elapsed_s / SAMPLE_EVERY_S + 1
    assert looks <= len(paths) <= 2 * looks + 1


@pytest.mark.timeout(240)
def test_servers_that_do_nothing_are_ended(cli: Cli, tmp_path: Path) -> None:
    """Stopped by SIGSTOP; `/health` that lives on; never ready; never an answer. At once, because
    each takes as long as llmtp is patient."""
    engine = fake_engine(tmp_path)
    with contextlib.ExitStack() as stack:

        def start(mode: str, *args: Path | str) -> Running:
            words = ("run", "demo", "--json", *args)
            return stack.enter_context(cli.start(*words, env={"FAKE_ENGINE": mode}))

        stopped = start("")
        hangs, never, mute = (
            start(mode, "--engine", engine) for mode in ("hangs", "never-ready", "mute")
        )
        first = stopped.wait_event("ready")
        stopped.wait_event("sample")
        os.kill(first["pid"], signal.SIGSTOP)
        for one in (stopped, hangs):
            again = one.wait_event("restarting")
            assert again["rule"] == "server-hung"
            assert "no answer for 3" in again["reason"]
        assert stopped.wait_event("ready")["pid"] != first["pid"]
        assert stopped.wait_event("mtp")["active"] is True
        assert not alive(first["pid"])
        for one in (never, mute):
            last = one.wait_event("exit")
            assert (last["exit_code"], last["findings"][0]["rule"]) == (6, "start-stuck")
            assert "nothing has moved for 6" in last["findings"][0]["message"]


def test_a_server_that_works_is_not_taken_for_one_that_hangs() -> None:
    """A batch of a long prompt that takes minutes, told by its log or by the last look."""
    for by_log in (True, False):
        pulse = Pulse()
        pulse.answered(working=not by_log)
        for second in range(200):
            pulse.silent(second - 1, second, working=by_log, computed_s=float(second))
            assert pulse.hung_s() is None
        for second in range(200, 200 + int(HANG_S)):
            assert pulse.hung_s() is None
            pulse.silent(second - 1, second, working=by_log, computed_s=199.0)
        assert pulse.hung_s() == HANG_S


def test_an_idle_server_hangs_though_it_spins() -> None:
    pulse = Pulse()
    pulse.answered(working=False)
    for second in range(int(HANG_S)):
        assert pulse.hung_s() is None
        pulse.silent(second, second + 1, working=False, computed_s=float(second))
    assert pulse.hung_s() == HANG_S
    pulse.answered(working=False)
    assert pulse.hung_s() is None


def test_who_was_stopped_himself_does_not_call_it_a_hang() -> None:
    """Ctrl-Z for an hour between two looks that were not answered."""
    pulse = Pulse()
    for moment in (0.0, 3600.0, 3604.0):
        pulse.silent(moment - 3, moment, working=False, computed_s=1.0)
    assert pulse.hung_s() is None


def test_a_start_that_gets_on_is_given_time() -> None:
    """Bytes and lines count as long as they come, computing for a quarter of an hour."""
    progress = Progress(0.0)
    for second in range(5000):
        progress.look(second, Signs(0, second, 1.0))
        assert progress.stuck_s(second) is None
    for second in range(5000, 5000 + int(STUCK_S) - 1):
        progress.look(second, Signs(0, 4999, float(second)))
        assert progress.stuck_s(second) is None
    assert progress.stuck_s(4999 + STUCK_S) == STUCK_S
    still = Progress(0.0)
    still.look(0.0, Signs(0, None, None))
    still.look(STILL_S, Signs(0, None, None))
    assert still.stuck_s(STILL_S) == STILL_S


def test_waits_grow_and_a_stable_server_starts_anew() -> None:
    restarts = Restarts(dice=lambda: 0.5)
    assert [restarts.failed(1.0) for _ in range(MOST_IN_A_ROW)] == [
        *(FIRST_WAIT_S * 2**i for i in range(MOST_IN_A_ROW - 1)),
        None,
    ]
    assert restarts.failed(STABLE_S) == FIRST_WAIT_S
    least, most = (Restarts(dice=lambda d=d: d).failed(0.0) for d in (0.0, 1.0))  # type: ignore[misc]  # mypy cannot infer a default
    assert (least, most) == (0.75 * FIRST_WAIT_S, 1.25 * FIRST_WAIT_S)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_only_legal_moves(before: State, after: State) -> None:
    moves: list[State] = []
    life = Life(moves.append)
    life.state = before
    if after in MOVES[before]:
        life.to(after)
        assert (life.state, moves) == (after, [after])
    else:
        with pytest.raises(RuntimeError, match=before.value):
            life.to(after)


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


def test_a_foreign_server_is_never_taken_for_ours(cli: Cli, tmp_path: Path) -> None:
    """It took the port, answers there, and ours says that it listens."""
    waits = tmp_path / "waits"
    os.mkfifo(waits)
    env = {"FAKE_ENGINE": "robbed", "FAKE_ENGINE_WAITS": str(waits)}
    args = ("run", "demo", "--json", "--engine", fake_engine(tmp_path))
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
        assert f"another program answers at http://127.0.0.1:{port}" in again["reason"]
        assert again["port"] not in (None, port)


BIND = "0.00.1 E srv  start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 1\n"


def robbed_at_start(folder: Path, times: int) -> dict[str, str]:
    """The environment of an engine that finds its port taken so often."""
    log, queue = folder / "bind.log", folder / "fails"
    log.write_text(BIND)
    queue.write_text("\n".join([str(log)] * times))
    return {"FAKE_ENGINE_FAILS": str(queue)}


def test_a_port_that_was_taken_meanwhile_is_replaced(cli: Cli, tmp_path: Path) -> None:
    args = ("run", "demo", "--json", "--engine", fake_engine(tmp_path))
    with cli.start(*args, env=robbed_at_start(tmp_path, 2)) as running:
        taken = [running.wait_event("restarting")["port"] for _ in range(2)]
        assert running.wait_event("ready")["port"] == taken[1] != taken[0]
        assert running.interrupt() == 130


def test_a_port_that_was_asked_for_is_not_replaced(cli: Cli, tmp_path: Path) -> None:
    args = ("run", "demo", "--ask", "x", "--port", "18080", "--engine", fake_engine(tmp_path))
    result = cli(*args, env=robbed_at_start(tmp_path, 1))
    assert_one_clear_line(result, 2, "port 18080 was taken meanwhile", "leave out --port")


def test_what_left_the_group_is_ended_too(cli: Cli, tmp_path: Path) -> None:
    """After a crash, when nobody is its parent any more, and at the end."""
    args = ("run", "demo", "--json", "--engine", fake_engine(tmp_path))
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


def test_an_engine_that_is_gone_is_a_crash_loop(cli: Cli, tmp_path: Path) -> None:
    """Removed while it serves, for a newer one: no start can be made."""
    engine = fake_engine(tmp_path)
    with cli.start("run", "demo", "--json", "--engine", engine) as running:
        pid = running.wait_event("ready")["pid"]
        running.wait_event("mtp")
        engine.unlink()
        os.kill(pid, signal.SIGKILL)
        last = running.wait_event("exit")
        assert running.process.wait(60) == 7
    events = [json.loads(line)["event"] for line in running.seen]
    assert last["findings"][0]["rule"] == "crash-loop"
    assert "cannot be started: No such file" in last["findings"][0]["message"]
    assert events.count("starting") == events.count("stopped") == 1


def test_a_script_that_starts_the_engine_is_no_hang(cli: Cli, tmp_path: Path) -> None:
    """What it computes is in its child; and all of it is ended."""
    engine = cli("run", "demo", "--dry-run", "--json").json["data"]["argv"][0]
    script = tmp_path / "wrapped" / "llama-server"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\n"{engine}" "$@"\n')
    script.chmod(0o755)
    with cli.start("run", "demo", "--json", "--engine", script) as running:
        pid = running.wait_event("ready")["pid"]
        family = Family(pid)
        before = family.computed_s()
        assert chat(json.loads(running.seen[-1])["url"])["choices"]
        after = family.computed_s()
        assert before is not None
        assert after is not None
        assert after > before
        assert psutil.Process(pid).name() == "llama-server"
        assert running.interrupt() == 130


def test_a_server_that_ends_at_once_is_named(cli: Cli, tmp_path: Path) -> None:
    args = ("run", "demo", "--ask", "x", "--engine", fake_engine(tmp_path))
    result = cli(*args, env={"FAKE_ENGINE": "exits-at-once"})
    assert_one_clear_line(result, 6, "the server did not start: it ended with code 0")


@pytest.mark.parametrize("mode", ["floods", "writes-no-newline"])
def test_a_flood_does_not_stop_the_start_nor_fill_the_disk(
    cli: Cli, tmp_path: Path, mode: str
) -> None:
    """100 MB of output; the log keeps the last of it."""
    args = ("run", "demo", "--json", "--engine", fake_engine(tmp_path))
    with cli.start(*args, env={"FAKE_ENGINE": mode}) as running:
        log = Path(running.wait_event("starting")["log"])
        running.wait_event("ready")
        assert running.interrupt(signal.SIGTERM) == 143
    files = sorted(log.parent.iterdir())
    assert files == [log, log.with_name(f"{log.name}.1")]
    assert 8 << 20 < sum(file.stat().st_size for file in files) <= 16 << 20
    assert "listening on http" in log.read_text(encoding="utf-8")


def test_a_full_disk_for_logs_is_told_and_the_server_goes_on(cli: Cli) -> None:
    """No file may grow over 8 blocks, for llmtp and the engine alike."""
    program, cli.program = cli.program, Path("/bin/sh")
    script = f'ulimit -f 8; exec "{program}" run demo --json'
    cli("-c", f'"{program}" plan demo')  # what is learned of the engine does not fit either
    with cli.start("-c", script) as running:
        log = Path(running.wait_event("starting")["log"])
        ready = running.wait_event("ready")
        for _ in range(3):
            assert chat(ready["url"])["choices"]
            running.wait_event("sample")
        assert running.interrupt() == 130
        last = json.loads(running.rest()[-1])
    assert [finding["rule"] for finding in last["findings"]] == ["log-lost", "stopped"]
    assert "File too large" in last["findings"][0]["message"]
    assert log.stat().st_size <= 8192


def test_a_log_turns_over_and_old_runs_go(tmp_path: Path) -> None:
    for number in range(25):
        log = RunLog(tmp_path / f"run-{number:02}.log", most_bytes=10)
        for line in (b"one\n", b"two\n", b"three\n", b"four\n"):
            log.write(line)
        log.close()
        os.utime(log.path, (number, number))
    log.write(b"after its end\n")
    names = sorted(path.name for path in tmp_path.glob("*.log"))
    assert names == [f"run-{number:02}.log" for number in range(5, 25)]
    assert (log.older.read_bytes(), log.path.read_bytes()) == (b"three\n", b"four\n")
    assert len(list(tmp_path.iterdir())) == 40
    assert log.path.stat().st_mode & 0o777 == 0o600


JUMPY = """
import itertools, random, sys, time
true_time, dice = time.time, random.Random(1)
time.time = lambda: true_time() + dice.uniform(-1e7, 1e7)
sys.argv = ["llmtp", *sys.argv[1:]]
from llmtp.__main__ import main
main()
"""


def test_a_clock_that_jumps_changes_nothing(cli: Cli) -> None:
    """The wall clock is months off, and elsewhere at each look: waits go by another one."""
    cli.program = Path(sys.executable)
    with cli.start("-c", JUMPY, "run", "demo", "--json") as running:
        ready = running.wait_event("ready")
        running.wait_event("mtp")
        os.kill(ready["pid"], signal.SIGKILL)
        again = running.wait_event("restarting")
        assert again["wait_s"] < 1
        assert running.wait_event("ready")["pid"] != ready["pid"]
        samples = [running.wait_event("sample") for _ in range(3)]
        uptimes = [sample["uptime_s"] for sample in samples]
        assert uptimes == sorted(uptimes)
        assert 0 < uptimes[0] < 60
        assert running.interrupt() == 130
        moments = [json.loads(line)["at"] for line in running.rest()]
    assert moments != sorted(moments)


CYCLES = Path(__file__).with_name("cycles.py")


@pytest.mark.soak
def test_cycles_of_start_and_stop_leak_nothing(cli: Cli, soak: bool) -> None:
    """In one process: descriptors, threads, children and files are the same after all of them."""
    cycles = 200 if soak else 5
    cli.program = Path(sys.executable)
    done = subprocess.run(
        [sys.executable, str(CYCLES), str(cycles)], env=cli.env, cwd=cli.folder,
        capture_output=True, text=True, timeout=100 if not soak else 1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(counts) == cycles
    for name in ("descriptors", "threads", "children"):
        assert {count[name] for count in counts[1:]} == {counts[1][name]}, name
    logs = cli.home / ".local/state/llmtp/logs"
    assert len(list(logs.iterdir())) == min(cycles, 20)
    left = [p.parent.name for p in cli.home.rglob("*") if p.is_file() and logs not in p.parents]
    assert left == ["uses"], "what was used when, one file a model"


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
    cli("plan", "demo", "--engine", engine)  # an engine that is new is tried first
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [str(cli.program), "run", "demo", "--json", "--engine", str(engine)],
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
    with cli.start("-c", f'exec 3>&1; exec "{program}" run demo --json 2>&3 >/dev/full') as running:
        running.wait_line(lambda line: line == (
            "warning: stdout cannot be written: No space left on device; the server goes on"
        ))  # fmt: skip
        server = server_of(running.process.pid)
        assert server is not None
        server.kill()
        wait_served(running.process.pid, server.pid)
        assert running.interrupt(signal.SIGTERM) == 143


def test_a_reader_that_goes_away_ends_no_request(cli: Cli) -> None:
    with cli.start("run", "demo", "--json") as running:
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
    with cli.start("run", "demo", "--json") as running:
        pid = running.wait_event("ready")["pid"]
        running.wait_event("sample")
        assert running.interrupt(signum) == 143
        assert not alive(pid)


def test_who_has_the_port_is_named(cli: Cli) -> None:
    """As a server does that an llmtp which was killed has left."""
    with cli.start("run", "demo", "--json") as running:
        ready = running.wait_event("ready")
        result = cli("run", "demo", "--ask", "x", "--port", str(ready["port"]))
        taken = f"taken by llama-server, process {ready['pid']}"
        assert_one_clear_line(result, 2, taken, f"kill {ready['pid']}")
        running.wait_event("sample")
        assert running.interrupt() == 130


def test_a_log_that_somebody_removed_is_made_anew(cli: Cli) -> None:
    with cli.start("run", "demo", "--json") as running:
        log = Path(running.wait_event("starting")["log"])
        pid = running.wait_event("ready")["pid"]
        running.wait_event("mtp")
        shutil.rmtree(log.parent)
        os.kill(pid, signal.SIGKILL)
        running.wait_event("mtp")
        assert "listening on http" in log.read_text(encoding="utf-8")
        assert running.interrupt() == 130
