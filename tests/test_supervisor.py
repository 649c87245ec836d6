"""It stays up, or says why not: crashes, hangs, ports, logs, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import (
    LONG,
    Cli,
    Running,
    alive,
    assert_one_clear_line,
    chat,
    fake_engine,
    stream,
)

from llmtp.machine.family import Family
from llmtp.server.life import MOVES, Life, State
from llmtp.server.log import RunLog
from llmtp.server.pulse import HANG_S, STILL_S, STUCK_S, Progress, Pulse, Signs
from llmtp.server.restarts import FIRST_WAIT_S, MOST_IN_A_ROW, STABLE_S, Restarts
from llmtp.start import SAMPLE_EVERY_S


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
    with cli.start("run", "crafted", "--json") as running:
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
    stops = [event for event in events if event["event"] == "stopped"]
    assert [event["reason"] for event in stops] == ["killed", "asked"]
    assert {frozenset(e) for e in stops} == {frozenset({"event", "at", "uptime_s", "reason"})}
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
    with cli.start("run", "crafted", "--json") as running:
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
    with cli.start("run", "crafted", "--json") as running:
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


def test_watching_asks_at_most_twice_a_second(cli: Cli, tmp_path: Path) -> None:
    """`/slots` at each sample, `/metrics` once at first and after requests; here one a sample."""
    asked = tmp_path / "asked"
    args = ("run", "crafted", "--json", "--engine", fake_engine(tmp_path))
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
            words = ("run", "crafted", "--json", *args)
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
            assert (last["exit_code"], last["findings"][-1]["rule"]) == (6, "start-stuck")
            assert "nothing has moved for 6" in last["findings"][-1]["message"]


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


def test_an_engine_that_is_gone_is_a_crash_loop(cli: Cli, tmp_path: Path) -> None:
    """Removed while it serves, for a newer one: no start can be made."""
    engine = fake_engine(tmp_path)
    with cli.start("run", "crafted", "--json", "--engine", engine) as running:
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
    engine = cli("run", "crafted", "--dry-run", "--json").json["data"]["argv"][0]
    script = tmp_path / "wrapped" / "llama-server"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\n"{engine}" "$@"\n')
    script.chmod(0o755)
    with cli.start("run", "crafted", "--json", "--engine", script) as running:
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
    args = ("run", "crafted", "--ask", "x", "--engine", fake_engine(tmp_path))
    result = cli(*args, env={"FAKE_ENGINE": "exits-at-once"})
    assert_one_clear_line(result, 6, "the server did not start: it ended with code 0")


@pytest.mark.parametrize("mode", ["floods", "writes-no-newline"])
def test_a_flood_does_not_stop_the_start_nor_fill_the_disk(
    cli: Cli, tmp_path: Path, mode: str
) -> None:
    """30 MB of output; the log keeps the last of it."""
    args = ("run", "crafted", "--json", "--engine", fake_engine(tmp_path))
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
    script = f'ulimit -f 8; exec "{program}" run crafted --json'
    cli("-c", f'"{program}" plan crafted')  # what is learned of the engine does not fit either
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
        log.begin()
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
    with cli.start("-c", JUMPY, "run", "crafted", "--json") as running:
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
    cycles = 200 if soak else 3
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
    folders = [path.parent for path in cli.home.rglob("*") if path.is_file()]
    left = [folder.name for folder in folders if folder not in (logs, cli.profiles)]
    assert left == ["uses"], "what was used when, one file a model"


def test_a_log_that_somebody_removed_is_made_anew(cli: Cli) -> None:
    with cli.start("run", "crafted", "--json") as running:
        log = Path(running.wait_event("starting")["log"])
        pid = running.wait_event("ready")["pid"]
        running.wait_event("mtp")
        shutil.rmtree(log.parent)
        os.kill(pid, signal.SIGKILL)
        running.wait_event("mtp")
        assert "listening on http" in log.read_text(encoding="utf-8")
        assert running.interrupt() == 130
