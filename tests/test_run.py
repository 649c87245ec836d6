"""`llmtp run` against the real engine, as a user meets it."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import urllib.error
from pathlib import Path

import pytest
from harness import WAIT_S, Cli, alive, chat, http, live_screen

from llmtp.ports import free_port

EXPECTED = json.loads((Path(__file__).parent / "crafted" / "expected.json").read_text())
TEXT: str = EXPECTED["text"]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("n_max", ["1", "2", "3", "4"])
def test_ask_has_exactly_the_expected_acceptance(cli: Cli, n_max: str) -> None:
    result = cli("run", "crafted", "--ask", "What is this?", "--n-max", n_max, "--json")
    assert result.code == 0
    data, counts = result.json["data"], EXPECTED["counts"][n_max]
    assert data["answer"] == TEXT
    assert data["finish_reason"] == "stop"
    assert {k: data[k] for k in ("predicted", "drafted", "accepted")} == counts
    assert data["n_max"] == int(n_max)


@pytest.mark.parametrize("temp", ["0", "1.2"])
def test_acceptance_does_not_depend_on_the_temperature(cli: Cli, temp: str) -> None:
    data = cli("run", "crafted", "--ask", "Why?", "--temp", temp, "--json").json["data"]
    assert (data["answer"], data["accepted"]) == (TEXT, EXPECTED["counts"]["3"]["accepted"])


def test_ask_streams_to_stdout_and_sums_up_on_stderr(cli: Cli) -> None:
    result = cli("run", "crafted", "--ask", "-", stdin="hello\n")
    assert (result.code, result.stdout) == (0, TEXT + "\n")
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("74 tokens, ")
    assert lines[0].endswith("57% of 81 drafted tokens accepted")


def test_ask_without_mtp(cli: Cli) -> None:
    for options in (["--n-max", "off"], ["--draft", "off"]):
        result = cli("run", "crafted", "--ask", "hello", *options)
        assert (result.code, result.stdout) == (0, TEXT + "\n")
        assert "MTP off" in result.stderr


def test_a_reader_that_has_enough_is_no_error(cli: Cli) -> None:
    with subprocess.Popen(
        [str(cli.program), "run", "crafted", "--ask", "x"],
        env=cli.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.read(5)
        process.stdout.close()
        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_events_tell_the_whole_story(cli: Cli) -> None:
    with cli.start("run", "crafted", "--json") as running:
        checked = running.wait_event("checked")
        planned = running.wait_event("planned")
        starting = running.wait_event("starting")
        ready = running.wait_event("ready")
        mtp = running.wait_event("mtp")
        first = running.wait_event("sample")
        assert checked["compatible"] is True
        assert planned["argv"]
        assert set(ready) >= {"id", "pid", "url", "port", "n_max", "at"}
        assert (ready["n_max"], ready["pid"]) == (3, starting["pid"])
        assert mtp["active"] is True
        assert mtp["drafted"] > mtp["accepted"] > 0
        assert (first["requests"], first["drafted"], first["acceptance"]) == (0, 0, None)
        assert chat(ready["url"])["choices"][0]["message"]["content"] == TEXT
        while (sample := running.wait_event("sample"))["requests"] == 0:
            pass
        counts = EXPECTED["counts"]["3"]
        assert (sample["drafted"], sample["accepted"]) == (counts["drafted"], counts["accepted"])
        assert sample["mean_accepted_length"] == pytest.approx(1 + 46 / 27)
        falling = sample["acceptance_per_position"]
        assert len(falling) == 3
        assert sum(falling) == pytest.approx(46 / 27, abs=0.002)
        assert falling == sorted(falling, reverse=True)
        assert sample["mean_tokens_per_s"] > 0
        assert sample["rss_bytes"] > 1 << 20
        assert running.interrupt() == 130
        events = [json.loads(line) for line in running.rest()]
        assert [e["event"] for e in events[-2:]] == ["stopped", "exit"]
        assert events[-1]["exit_code"] == 130
        assert not alive(ready["pid"])
        assert is_free(ready["port"])


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_everything(cli: Cli, signum: int) -> None:
    """At a port that was asked for."""
    port = free_port()
    with cli.start("run", "crafted", "--json", "--port", str(port)) as running:
        ready = running.wait_event("ready")
        assert ready["url"] == f"http://127.0.0.1:{port}"
        assert running.interrupt(signum) == 143
        assert json.loads(running.rest()[-1])["exit_code"] == 143
        assert not alive(ready["pid"])
        assert is_free(ready["port"])


@pytest.mark.parametrize("event", ["checked", "planned", "starting", "mtp"])
def test_an_interruption_at_any_step_leaves_nothing(cli: Cli, event: str) -> None:
    with cli.start("run", "crafted", "--json") as running:
        running.wait_event(event)
        assert running.interrupt(signal.SIGTERM) == 143
        assert json.loads(running.rest()[-1])["exit_code"] == 143


def test_piped_output_is_plain_lines(cli: Cli) -> None:
    with cli.start("run", "crafted") as running:
        running.wait_line(lambda line: line.startswith("crafted: F32, context 8,192, n-max 3"))
        running.wait_line(lambda line: line.startswith("ready in "))
        running.wait_line(lambda line: line.startswith("MTP is on: "))
        running.wait_line(lambda line: "idle" in line and "RAM" in line)
        assert running.interrupt() == 130
        rest = running.rest()
        assert rest[-1].startswith("stopped after")
        assert not any("\x1b" in line for line in rest)
        assert not any("ctx_other" in line for line in rest)


@pytest.mark.parametrize("columns", [60, 140])
def test_the_live_view_shows_what_matters(cli: Cli, columns: int) -> None:
    wanted = ("ready", "n-max 3", "of 8,192", "1 request", "57% accepted", "2.70 tokens a step",
              "78%", "RAM")  # fmt: skip
    asked = False

    def has_all(screen: str) -> bool:
        nonlocal asked
        if not asked and "no request yet" in screen:
            chat("http://" + screen.split(" at http://")[1].split("/v1")[0])
            asked = True
        return all(words in screen for words in wanted)

    screen = live_screen(cli, ["run", "crafted"], columns, has_all)
    assert "ctx_other" not in screen


def test_a_foreign_web_page_gets_no_access(cli: Cli) -> None:
    with cli.start("run", "crafted", "--json") as running:
        url = running.wait_event("ready")["url"]
        foreign, _ = http(f"{url}/health", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign
        assert "access-control-allow-credentials" not in foreign
        local, _ = http(f"{url}/health", headers={"Origin": "http://localhost:3000"})
        assert local["access-control-allow-origin"] == "http://localhost:3000"
        assert "access-control-allow-credentials" not in local


def test_a_key_is_made_needed_and_never_shown(cli: Cli) -> None:
    with cli.start("run", "crafted", "--json", "--make-key", "--host", "0.0.0.0") as running:
        planned = running.wait_event("planned")
        ready = running.wait_event("ready")
        running.wait_event("mtp")
        argv = planned["argv"]
        file = Path(argv[argv.index("--api-key-file") + 1])
        key = file.read_text(encoding="ascii").strip()
        assert len(key) >= 32
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        with pytest.raises(urllib.error.HTTPError) as refused:
            http(f"{ready['url']}/slots")
        refused.value.close()
        assert refused.value.code == 401
        http(f"{ready['url']}/slots", headers={"Authorization": f"Bearer {key}"})
        running.interrupt()
        everything = "\n".join(running.rest())
        log = next(json.loads(line)["log"] for line in running.seen if '"starting"' in line)
        assert key not in everything
        assert key not in Path(log).read_text(encoding="utf-8")


def test_logs_are_private_and_hold_no_prompts(cli: Cli) -> None:
    result = cli("run", "crafted", "--ask", "my very secret question")
    assert result.code == 0
    (log,) = (cli.home / ".local/state/llmtp/logs").glob("*.log")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text(encoding="utf-8")
    assert "listening on http" in text
    assert "secret question" not in text


def test_a_local_pair_without_a_profile(cli: Cli, crafted: Path) -> None:
    """No profile pins n-max here, and a drafter as large as its model is no gain: it is off, and
    that is said; whoever asks for it has it."""
    off = cli("run", crafted / "crafted.gguf", "--ask", "x", "--json").json
    assert off["data"]["n_max"] == 0
    (told,) = off["findings"]
    assert (told["rule"], told["level"]) == ("mtp-no-gain", "info")
    assert "times the speed at best is no gain" in told["message"]
    result = cli("run", crafted / "crafted.gguf", "--n-max", "2", "--ask", "x", "--json")
    assert (result.code, result.json["findings"]) == (0, [])
    assert result.json["data"]["n_max"] == 2
    counts = EXPECTED["counts"]["2"]
    assert result.json["data"]["accepted"] == counts["accepted"]
