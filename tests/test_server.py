"""Servers that fail, or behave badly: told in one line, and nothing of them is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from builders import make_pair_that_never_hits
from harness import Cli, alive, assert_one_clear_line, fake_engine, wait_until

from llmtp.server.process import TERM_WAIT_S


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        ("unknown-end", 6, "it ended with code 3: srv  load_model: the moon is in the wrong �[31m"),
        ("never-drafts", 10, "the server drafts nothing: its slots are not set up for drafting"),
        ("dies-at-request", 6, "it was killed (SIGKILL)"),
        ("dies-when-ready", 6, "it was killed (SIGKILL)"),
    ],
)
def test_a_server_that_fails_is_named(
    cli: Cli, tmp_path: Path, mode: str, code: int, words: str
) -> None:
    options = ["run", "crafted", "--ask", "x", "--engine", str(fake_engine(tmp_path))]
    assert_one_clear_line(cli(*options, env={"FAKE_ENGINE": mode}), code, words)


def test_the_thinking_is_not_part_of_the_answer(cli: Cli, tmp_path: Path) -> None:
    result = cli("run", "crafted", "--ask", "x", "--engine", fake_engine(tmp_path))
    assert (result.code, result.stdout) == (0, "The answer\n")


def test_a_server_that_dies_while_answering(cli: Cli, tmp_path: Path) -> None:
    options = ["run", "crafted", "--ask", "x", "--engine", str(fake_engine(tmp_path)), "--json"]
    result = cli(*options, env={"FAKE_ENGINE": "dies-while-answering"})
    assert (result.code, result.json["exit_code"]) == (7, 7)
    assert "was killed (SIGKILL)" in result.json["findings"][0]["message"]


@pytest.mark.parametrize("n_max", ["1", "2", "3", "4", "8", "16"])
def test_a_drafter_that_never_hits_is_a_warning(cli: Cli, tmp_path: Path, n_max: str) -> None:
    """The silent mismatch, with the real engine: a drafter that fits and is always wrong."""
    main = make_pair_that_never_hits(tmp_path)
    with cli.start("run", main, "--json", "--n-max", n_max) as running:
        mtp = running.wait_event("mtp")
    assert mtp["active"] is True
    assert mtp["drafted"] >= 48
    assert mtp["accepted"] == 0
    assert [f["rule"] for f in mtp["findings"]] == ["mtp-never-hits"]


def test_a_drafter_that_is_not_used_is_told_before_the_end(cli: Cli, tmp_path: Path) -> None:
    options = ["run", "crafted", "--json", "--engine", str(fake_engine(tmp_path))]
    events = cli(*options, env={"FAKE_ENGINE": "never-drafts"}).lines
    mtp = next(event for event in events if event["event"] == "mtp")
    assert (mtp["active"], mtp["findings"][0]["rule"]) == (False, "mtp-inactive")
    assert events[-1]["exit_code"] == 10


def test_a_living_server_that_fails_a_request_is_not_called_dead(cli: Cli, tmp_path: Path) -> None:
    options = ["run", "crafted", "--ask", "x", "--engine", str(fake_engine(tmp_path))]
    result = cli(*options, env={"FAKE_ENGINE": "fails-requests"})
    assert_one_clear_line(result, 7, "the server lives, but failed the request: HTTP 500: no luck")


def test_nohup_is_respected(cli: Cli) -> None:
    program, cli.program = cli.program, Path("/usr/bin/nohup")
    with cli.start(str(program), "run", "crafted", "--json") as running:
        pid = running.wait_event("ready")["pid"]
        running.process.send_signal(signal.SIGHUP)
        running.wait_event("sample")
        running.wait_event("sample")
        assert alive(pid)
        assert running.interrupt(signal.SIGTERM) == 143


@pytest.mark.parametrize("interruptions", [1, 2])
def test_a_server_that_ignores_term_is_killed_with_its_children(
    cli: Cli, tmp_path: Path, interruptions: int
) -> None:
    """After the stated wait, or at once at the second Ctrl-C."""
    program = fake_engine(tmp_path)
    with cli.start(
        "run", "crafted", "--json", "--engine", program, env={"FAKE_ENGINE": "ignores-term"}
    ) as running:
        log = Path(running.wait_event("starting")["log"])
        pid = running.wait_event("ready")["pid"]
        group = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        assert len(group) == 2
        began = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        wait_until(lambda: "TERM is ignored" in log.read_text(encoding="utf-8"))
        if interruptions == 2:
            running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) == 130
        waited = time.monotonic() - began
    assert (waited >= TERM_WAIT_S) is (interruptions == 1)
    assert not any(alive(pid) for pid in group)


def test_logs_that_cannot_be_written_do_not_stop_the_server(cli: Cli, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    result = cli("run", "crafted", "--ask", "x", env={"XDG_STATE_HOME": str(blocked)})
    assert result.code == 0


@pytest.mark.soak
def test_a_signal_at_any_moment_leaves_nothing(cli: Cli, soak: bool, dice: random.Random) -> None:
    """The moment falls anywhere from the first import to a served sample."""
    for _ in range(200 if soak else 6):
        signum = dice.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        with cli.start("run", "crafted", "--json") as running:
            with pytest.raises(subprocess.TimeoutExpired):
                running.process.wait(dice.uniform(0.0, 1.0))
            running.process.send_signal(signum)
            try:
                code = running.process.wait(20)
            except subprocess.TimeoutExpired:
                pytest.fail(f"{signum!r} was lost after: {running.seen}")
            said = running.rest()
        assert not any("unclosed <socket" in line for line in said), said
        if code in (130, 143):
            assert json.loads(said[-1])["exit_code"] == code, said
        # Before llmtp listens to signals there is nothing to clean up: the default ending is right,
        # which is 1 where Python itself was still starting.
        is_python = code == 1 and signum == signal.SIGINT and "KeyboardInterrupt" in said
        assert code in (130, 143, -signum) or is_python, (signum, code, said)


@pytest.mark.soak
def test_kills_at_any_moment_are_named(cli: Cli, soak: bool, dice: random.Random) -> None:
    """Before it was ready that is the end, and after that another start."""
    for _ in range(50 if soak else 2):
        with cli.start("run", "crafted", "--json") as running:
            pid = running.wait_event("starting")["pid"]
            with pytest.raises(subprocess.TimeoutExpired):
                running.process.wait(dice.uniform(0.0, 0.5))
            os.kill(pid, signal.SIGKILL)
            line = running.wait_line(lambda text: '"restarting"' in text or '"exit"' in text)
            event = json.loads(line)
            if event["event"] == "exit":
                assert event["exit_code"] == 6
                said = event["findings"][0]["message"]
            else:
                said = event["reason"]
                assert running.interrupt() == 130
        assert "was killed (SIGKILL)" in said, event
