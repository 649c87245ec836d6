"""Servers in the background: from another shell, and after everything that can happen to them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from builders import ENTRY
from harness import (
    LONG,
    WAIT_S,
    Cli,
    Result,
    alive,
    assert_one_clear_line,
    chat,
    fake_engine,
    http,
    stream,
    wait_until,
)
from rich.console import Console

from llmtp.cli.render.servers import render
from llmtp.server.standing import Known, Standing


def servers(cli: Cli, *args: str) -> list[dict[str, Any]]:
    """What `ps` says."""
    found = cli("ps", "--json", *args).json["data"]["servers"]
    assert isinstance(found, list)
    return found


def folder(cli: Cli) -> Path:
    """Where the entries are."""
    (found,) = (cli.home / ".local/state/llmtp/servers").iterdir()
    return found


def entry(cli: Cli, name: str) -> dict[str, Any]:
    value = json.loads((folder(cli) / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


@contextlib.contextmanager
def detached(cli: Cli, *args: str | Path, model: str = "crafted") -> Iterator[dict[str, Any]]:
    """A server in the background, and its data; whatever is left is stopped."""
    result = cli("run", model, "--detach", "--json", *args)
    assert result.code == 0, result
    try:
        yield result.json["data"]
    finally:
        cli("stop", "all")


def assert_nothing_left(cli: Cli) -> None:
    """No server, and no file but entries and logs."""
    assert servers(cli) == []
    assert {path.suffix for path in folder(cli).iterdir()} <= {".json", ""}
    keys = cli.home / ".local/state/llmtp/keys"
    assert not keys.exists() or list(keys.iterdir()) == []


def test_it_stays_when_who_started_it_is_gone(cli: Cli) -> None:
    """In a session of its own, with no terminal and no pipe, and usable from any other shell."""
    result = cli("run", "crafted", "--detach")
    assert result.code == 0, result
    name, url = result.stdout.split()
    (known,) = servers(cli)
    assert (name, known["id"], known["state"]) == ("crafted", "crafted", "ready")
    assert url == f"{known['url']}/v1"
    assert (known["model"], known["restarts"], known["mtp"]) == ("crafted", 0, True)
    llmtp = psutil.Process(known["llmtp_pid"])
    assert (os.getsid(llmtp.pid), llmtp.terminal()) == (llmtp.pid, None)
    held = {Path(f"/proc/{llmtp.pid}/fd/{number}").readlink() for number in (0, 1, 2)}
    assert held == {Path(os.devnull)}
    assert psutil.Process(known["pid"]).ppid() == llmtp.pid
    assert chat(known["url"])["choices"]
    assert url in cli("ps").stdout
    lines = cli("ps", env={"COLUMNS": "40"}).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "crafted"], "a line a server, for scripts"
    stopped = cli("stop", name)
    assert (stopped.code, stopped.stdout, stopped.stderr) == (0, "", "crafted stopped\n")
    assert not alive(known["pid"])
    assert not alive(llmtp.pid)
    assert_nothing_left(cli)
    (ended,) = servers(cli, "--all")
    assert (ended["state"], ended["exit_code"], ended["pid"]) == ("stopped", 0, None)


#: What scripts may rely on, by command.
KEYS = {
    "run": {"id", "pid", "url", "port", "model", "n_max", "mtp", "drafted", "accepted", "ctx_size",
            "given_up", "api_key_file", "log", "was_running"},
    "ps": {"servers"},
    "env": {"id", "OPENAI_BASE_URL", "api_key_file"},
    "logs": {"id", "log", "lines"},
    "stop": {"stopped"},
    "wait": {"id", "ended_at", "restarts"},
}  # fmt: skip
PS_KEYS = {"id", "pid", "llmtp_pid", "url", "model", "main", "state", "started_at", "restarts",
           "mtp", "n_max", "detached", "log", "api_key_file", "exit_code"}  # fmt: skip


def test_the_keys_of_json(cli: Cli) -> None:
    told = {"run": cli("run", "crafted", "--detach", "--json").json}
    told |= {command: cli(command, "--json").json for command in ("ps", "env", "logs", "stop")}
    told["wait"] = cli("wait", "crafted", "--json").json
    assert {name: set(body["data"]) for name, body in told.items()} == KEYS
    (server,) = told["ps"]["data"]["servers"]
    assert set(server) == PS_KEYS
    (stopped,) = told["stop"]["data"]["stopped"]
    assert set(stopped) == {"id", "model", "how"}
    envelope = {"schema", "command", "ok", "exit_code", "data", "findings"}
    assert all(set(body) == envelope for body in told.values())


def test_a_start_that_fails_before_its_engine(cli: Cli) -> None:
    """The port is taken: the other llmtp ends before the entry is its own."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = cli("run", "crafted", "--detach", "--port", str(other.getsockname()[1]))
    assert_one_clear_line(result, 2, "is taken by")
    (ended,) = servers(cli, "--all")
    assert (ended["state"], ended["exit_code"], ended["log"]) == ("failed", 2, None)
    assert_one_clear_line(cli("wait", "crafted"), 2, "is taken by")
    assert_one_clear_line(
        cli("logs", "crafted"), 8, "no log of crafted, whose engine was not started"
    )
    assert "its engine was not started" in cli("bug-report", "--out", "-").stdout
    assert_nothing_left(cli)


def test_an_entry_of_the_dead_keeps_no_start_waiting(cli: Cli) -> None:
    """What a restart of the machine leaves; the next start settles it."""
    with detached(cli):
        known = entry(cli, "crafted")
    gone = {"pid": known["llmtp"]["pid"], "started": "another boot"}
    alike = {"state": "ready", "exit_code": None, "llmtp": gone, "server": gone}
    (folder(cli) / "crafted.json").write_text(json.dumps(known | alike))
    since = time.monotonic()
    with detached(cli, "-v"):
        assert time.monotonic() - since < 30
        assert [one["id"] for one in servers(cli)] == ["crafted"]


def test_grouped_options_and_findings(cli: Cli) -> None:
    """`-vd` is two options; each finding is told once."""
    result = cli("run", "crafted", "-vd", "--json", "--", "-v")
    assert result.code == 0, result
    rules = [one["rule"] for one in result.json["findings"]]
    assert rules == sorted(set(rules), key=rules.index)
    assert "prompts-logged" in rules
    assert cli("stop").code == 0


def test_a_failed_start_is_told_as_in_the_foreground(cli: Cli, tmp_path: Path) -> None:
    engine = fake_engine(tmp_path)
    args = ("run", "crafted", "--engine", engine, "--detach")
    result = cli(*args, env={"FAKE_ENGINE": "unknown-end"})
    assert_one_clear_line(result, 6, "the moon is in the wrong")
    body = cli(*args, "--json", env={"FAKE_ENGINE": "unknown-end"}).json
    assert (body["ok"], body["exit_code"], body["findings"][-1]["level"]) == (False, 6, "error")
    assert_nothing_left(cli)
    (ended,) = servers(cli, "--all")
    assert (ended["state"], ended["exit_code"]) == ("failed", 6)
    waited = cli("wait", "crafted")
    assert_one_clear_line(waited, 6, "the moon is in the wrong")


def test_what_runs_already_is_offered(cli: Cli) -> None:
    with detached(cli, "--ctx", "4096") as first:
        again = cli("run", "crafted", "--ctx", "4096", "--detach", "--json").json
        assert again["data"]["was_running"]
        assert not first["was_running"]
        assert (again["data"]["id"], again["data"]["url"]) == (first["id"], first["url"])
        assert [one["rule"] for one in again["findings"]] == ["already-running"]
        same_port = ("run", "crafted", "--ctx", "4096", "--detach", "--port", str(first["port"]))
        assert cli(*same_port).stdout == f"crafted  {first['url']}/v1\n"
        other = cli("run", "crafted", "--ctx", "8192", "--detach", "--json").json["data"]
        assert (other["id"], other["was_running"]) == ("crafted-2", False)
        taken = cli("run", "crafted", "--detach", "--port", str(first["port"]))
        assert_one_clear_line(taken, 2, f"port {first['port']}", "crafted, which llmtp runs",
                              "llmtp stop crafted")  # fmt: skip
        with cli.start("run", "crafted", "--ctx", "4096", "--no-live") as running:
            running.wait_line(lambda line: "crafted runs already, as crafted at http" in line)
            running.wait_line(lambda line: line.startswith("ready in"))
            assert [one["id"] for one in servers(cli)] == ["crafted", "crafted-2", "crafted-3"]
            assert running.interrupt() == 130
    assert_nothing_left(cli)


def race(cli: Cli, commands: list[tuple[str, ...]]) -> list[Result]:
    """All at the same time."""
    results: list[Result] = []

    def run(command: tuple[str, ...]) -> None:
        results.append(cli(*command))

    threads = [threading.Thread(target=run, args=(command,)) for command in commands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_who_starts_the_same_at_once_gets_the_same(cli: Cli) -> None:
    results = race(cli, [("run", "crafted", "--detach")] * 5)
    assert {result.code for result in results} == {0}, results
    assert len({result.stdout for result in results}) == 1
    assert len(servers(cli)) == 1
    assert cli("stop").code == 0
    assert_nothing_left(cli)


def test_who_starts_others_at_once_gets_others(cli: Cli) -> None:
    results = race(cli, [("run", "crafted", "--detach", "--ctx", f"{1024 * n}") for n in (2, 3, 4)])
    assert {result.code for result in results} == {0}, results
    assert sorted(one["id"] for one in servers(cli)) == ["crafted", "crafted-2", "crafted-3"]
    assert len({one["url"] for one in servers(cli)}) == 3
    assert_one_clear_line(cli("stop"), 2, "3 servers run: crafted", "crafted-2", "crafted-3")
    assert cli("stop", "all").code == 0
    assert_nothing_left(cli)
    assert cli("stop", "all").stderr == "no server runs\n"


@pytest.mark.parametrize("lines", [True, False])
def test_a_server_in_the_foreground_is_stopped_with_success(cli: Cli, lines: bool) -> None:
    more = ["--json"] if lines else ["--no-live"]
    with cli.start("run", "crafted", *more) as running:
        if lines:
            assert running.wait_event("ready")["id"] == "crafted"
            running.wait_event("sample")
        else:
            running.wait_line(lambda line: "idle" in line)
        (known,) = servers(cli)
        assert (known["detached"], known["llmtp_pid"]) == (False, running.process.pid)
        assert cli("stop", "crafted").code == 0
        assert running.process.wait(WAIT_S) == 0
        last = running.rest()[-1]
        assert json.loads(last)["exit_code"] == 0 if lines else last.startswith("stopped after")
    assert_nothing_left(cli)


def test_a_server_without_its_llmtp_is_known_and_stopped(cli: Cli) -> None:
    with detached(cli, "--make-key") as data:
        (known,) = servers(cli)
        os.kill(known["llmtp_pid"], signal.SIGKILL)
        wait_until(lambda: not alive(known["llmtp_pid"]))
        (lone,) = servers(cli)
        assert (lone["state"], lone["llmtp_pid"]) == ("unsupervised", None)
        assert (lone["pid"], lone["url"]) == (known["pid"], data["url"])
        assert alive(lone["pid"])
        assert "end it: llmtp stop crafted" in cli("ps").stderr
        other = cli("run", "crafted", "--make-key", "--detach", "--json").json["data"]
        assert (other["id"], other["was_running"]) == ("crafted-2", False)
        stopped = cli("stop", "crafted")
        assert (stopped.code, stopped.stderr) == (0, "crafted stopped; nobody kept it up\n")
        assert not alive(lone["pid"])
    assert_nothing_left(cli)


def test_an_engine_whose_entry_is_gone_is_found(cli: Cli) -> None:
    """By the mark in its environment, also one that left its group."""
    with detached(cli) as data:
        (known,) = servers(cli)
        os.kill(known["llmtp_pid"], signal.SIGKILL)
        wait_until(lambda: not alive(known["llmtp_pid"]))
        (folder(cli) / "crafted.json").unlink()
        (lone,) = servers(cli)
        assert (lone["id"], lone["state"], lone["pid"]) == ("crafted", "unsupervised", data["pid"])
        assert (lone["url"], lone["n_max"], lone["started_at"]) == (None, None, None)
        for command in ("env", "top"):
            assert_one_clear_line(cli(command), 8, "where crafted listens is not known any more")
        assert cli("stop", "crafted").code == 0
        assert not alive(data["pid"])
    assert_nothing_left(cli)


def test_both_killed_leave_nothing(cli: Cli) -> None:
    with detached(cli, "--make-key") as data:
        (known,) = servers(cli)
        for pid in (known["llmtp_pid"], known["pid"]):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(known["llmtp_pid"]) and not alive(known["pid"]))
        assert_nothing_left(cli)
        (ended,) = servers(cli, "--all")
        assert (ended["state"], ended["exit_code"]) == ("failed", 7)
        assert_one_clear_line(
            cli("wait", "crafted"), 7, "crafted and the llmtp that kept it up are gone"
        )
        assert_one_clear_line(
            cli("stop", "crafted"), 8, "crafted has ended (7)", "llmtp logs crafted"
        )
        assert data["log"] in cli("wait", "crafted").stderr


def test_a_number_of_somebody_else_is_never_signalled(cli: Cli) -> None:
    """After a restart of the machine, or long after, the numbers are those of others."""
    with detached(cli):
        pass
    file = folder(cli) / "crafted.json"
    known = entry(cli, "crafted")
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        ticks = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        another_boot = f"00000000-0000-0000-0000-000000000000 {ticks}"
        for mine in (f"{boot} {int(ticks) + 1}", another_boot):
            process = {"pid": other.pid, "started": mine}
            alike = {"state": "ready", "exit_code": None, "llmtp": process, "server": process}
            file.write_text(json.dumps(known | alike))
            assert servers(cli) == []
            assert_one_clear_line(
                cli("stop", "crafted"), 8, "crafted has ended (7)", "llmtp logs crafted"
            )
            assert other.poll() is None
            file.write_text(json.dumps(known | alike))
            assert cli("stop", "all").code == 0
            assert other.poll() is None
            (ended,) = servers(cli, "--all")
            assert (ended["state"], ended["exit_code"]) == ("failed", 7)
    finally:
        other.kill()
        other.wait()


#: Cut off, of another version, not ours, no text, and as deep as no parser goes.
NO_ENTRIES = [b"", b"{", b"[]", b'{"version": 2}', b'{"version": 1}', b"\xff\xfe", b"[" * 9999]


def test_files_that_are_no_entries_harm_nobody(cli: Cli) -> None:
    with detached(cli) as data:
        files = [folder(cli) / f"other-{number}.json" for number in range(len(NO_ENTRIES))]
        for file, content in zip(files, NO_ENTRIES, strict=True):
            file.write_bytes(content)
        pipe = folder(cli) / "other-pipe.json"
        os.mkfifo(pipe)
        result = cli("ps", "--json")
        assert [one["id"] for one in result.json["data"]["servers"]] == [data["id"]]
        findings = result.json["findings"]
        assert [(one["rule"], one["level"], one["fix"]) for one in findings] == [
            ("registry", "warning", f"if no server needs it: rm -r {file}")
            for file in (*files, pipe)
        ]
        assert "it is no file" in findings[-1]["message"], "what never ends is not read"
    assert [file.read_bytes() for file in files] == NO_ENTRIES


def test_an_entry_that_was_damaged_comes_back(cli: Cli) -> None:
    with detached(cli) as data:
        file = folder(cli) / "crafted.json"
        for damage in ("removed", "changed"):
            if damage == "removed":
                file.unlink()
            else:
                file.write_text("{")
            wait_until(lambda: file.exists() and file.read_text().endswith("}\n"))
            assert entry(cli, "crafted")["server"]["pid"] == data["pid"], damage
            (known,) = servers(cli)
            assert (known["id"], known["state"]) == ("crafted", "ready"), damage


def test_no_place_for_entries(cli: Cli) -> None:
    """What nobody could find again is not started; in the foreground it may run."""
    nowhere = {"XDG_STATE_HOME": "/proc"}
    detaching = cli("run", "crafted", "--detach", env=nowhere)
    assert_one_clear_line(detaching, 2, "cannot be written", "XDG_STATE_HOME")
    assert cli("ps", "--json", env=nowhere).json["data"] == {"servers": []}
    with cli.start("run", "crafted", "--json", env=nowhere) as running:
        running.wait_event("sample")
        assert running.interrupt() == 130
        findings = json.loads(running.rest()[-1])["findings"]
        assert "registry" in [one["rule"] for one in findings]


def test_a_disk_that_is_full(cli: Cli) -> None:
    """No file may grow over 2 blocks: an entry does not fit."""
    program, cli.program = cli.program, Path("/bin/sh")
    result = cli("-c", f'ulimit -f 2; exec "{program}" run crafted --detach')
    cli.program = program
    assert_one_clear_line(result, 2, "cannot be written: File too large")
    assert_nothing_left(cli)


def test_a_key_is_nowhere_but_in_its_file(cli: Cli) -> None:
    """And only its owner can look, there and into everything else that is kept of a server."""
    with detached(cli, "--make-key") as data:
        kept = [*folder(cli).iterdir(), Path(data["log"]), Path(data["api_key_file"])]
        for path in (*kept, *(one.parent for one in kept), folder(cli).parent):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path
        file = Path(data["api_key_file"])
        key = file.read_text(encoding="utf-8").strip()
        variables = subprocess.run(
            ["/bin/sh", "-c", f'eval "$({cli.program} env)" && env'],
            env=cli.env, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert f"OPENAI_API_KEY={key}\n" in variables
        assert f"OPENAI_BASE_URL={data['url']}/v1\n" in variables
        headers = {"Authorization": f"Bearer {key}"}
        assert http(f"{data['url']}/v1/models", headers=headers)[1]["data"]
        spoken = [
            cli(command, *more) for command in ("ps", "env", "logs") for more in ((), ("--json",))
        ]
        assert all(result.code == 0 for result in spoken)
        pids = (data["pid"], servers(cli)[0]["llmtp_pid"])
        argv = [psutil.Process(pid).cmdline() for pid in pids]
        for text in (*(one.stdout + one.stderr for one in spoken), str(argv), str(data),
                     (folder(cli) / "crafted.json").read_text()):  # fmt: skip
            assert key not in text
        assert cli("env", "--json").json["data"]["api_key_file"] == str(file)
    assert not file.exists()


def test_logs_of_a_server_that_runs_and_that_has_ended(cli: Cli) -> None:
    with detached(cli) as data:
        assert "listening on" in cli("logs").stdout
        with Path(data["log"]).open("a") as log:
            log.write("0.01 I hostile \x1b[31mred\x07\n")
        with cli.start("logs", "crafted", "--follow") as following:
            line = following.wait_line(lambda line: "hostile" in line)
            assert line.endswith("hostile �[31mred�")
            chat(data["url"])
            following.wait_line(lambda line: "slots are idle" in line)
            assert cli("stop").code == 0
            assert following.process.wait(WAIT_S) == 0
    body = cli("logs", "crafted", "--json").json["data"]
    assert (body["id"], body["log"]) == ("crafted", data["log"])
    assert any("listening on" in line for line in body["lines"])
    idle = ["all slots are idle" in line for line in body["lines"]]
    assert not any(one and other for one, other in pairwise(idle)), "its polling is no news"
    lines = cli("logs", "--follow", "--json").lines
    assert [line["event"] for line in lines[-2:]] == ["line", "exit"]
    assert [line["line"] for line in lines[:-1]] == body["lines"]
    Path(data["log"]).unlink()
    assert_one_clear_line(cli("logs", "crafted"), 8, "there is no log of crafted")


def test_wait_ends_as_the_server_does(cli: Cli) -> None:
    with detached(cli), cli.start("wait", "crafted") as waiting:
        assert cli("stop", "crafted").code == 0
        assert waiting.process.wait(WAIT_S) == 0
        assert waiting.rest() == ["crafted has ended"]
    with cli.start("run", "crafted", "--json") as running:
        running.wait_event("sample")
        with cli.start("wait") as waiting:
            assert running.interrupt(signal.SIGTERM) == 143
            assert waiting.process.wait(WAIT_S) == 143


def test_a_crash_is_counted_and_outlived(cli: Cli) -> None:
    with detached(cli) as data:
        os.kill(data["pid"], signal.SIGKILL)

        def is_back() -> bool:
            (now,) = servers(cli)
            return (now["restarts"], now["state"]) == (1, "ready")

        wait_until(is_back)
        (now,) = servers(cli)
        assert now["pid"] != data["pid"]
        assert (now["url"], now["started_at"]) == (data["url"], entry(cli, "crafted")["started_at"])
        (note,) = (line for line in cli("logs").stdout.splitlines() if line.startswith("llmtp: "))
        assert "the server died" in note
        assert "starting again in" in note
        assert chat(now["url"])["choices"]


def test_requests_may_finish_and_a_second_stop_does_not_wait(cli: Cli) -> None:
    with detached(cli) as data:
        server = psutil.Process(data["pid"])
        pieces = stream(data["url"], LONG)
        next(pieces)
        server.suspend()
        with cli.start("stop", "crafted") as stopping:
            stopping.wait_line(lambda line: "crafted stops once 1 request ended" in line)
            (known,) = servers(cli)
            assert known["state"] == "stopping"
            since = time.monotonic()
            assert cli("stop", "crafted").code == 0
            assert time.monotonic() - since < 20
            assert stopping.process.wait(WAIT_S) == 0
        assert not alive(data["pid"])
    assert_nothing_left(cli)


def test_a_start_that_nobody_wants_any_more(cli: Cli, tmp_path: Path) -> None:
    """By Ctrl-C there, and by a stop from elsewhere."""
    args = ("run", "crafted", "--engine", fake_engine(tmp_path), "--detach")
    for by in ("Ctrl-C", "stop"):
        with cli.start(*args, env={"FAKE_ENGINE": "never-ready"}) as starting:
            wait_until(lambda: any(one["pid"] for one in servers(cli)))
            (known,) = servers(cli)
            assert known["state"] == "starting"
            if by == "stop":
                assert cli("stop", "crafted").code == 0
                assert starting.process.wait(WAIT_S) == 6
                assert "was stopped before it was ready" in "\n".join(starting.rest())
            else:
                assert starting.interrupt() == 130
        assert not alive(known["pid"])
        assert_nothing_left(cli)


@pytest.mark.parametrize(
    ("command", "name"),
    [("stop", name) for name in ("../crafted", "crafted.json", "", "a" * 999, "c\x1brafted")]
    + [("logs", "nope"), ("wait", "nope"), ("env", "nope"), ("logs", "all")],
)
def test_a_server_that_is_not_there(cli: Cli, command: str, name: str) -> None:
    result = cli(command, name)
    assert_one_clear_line(result, 8, "llmtp run MODEL --detach")
    assert "\x1b" not in result.stderr


def test_nothing_runs(cli: Cli) -> None:
    assert cli("ps").stdout == "no server runs; start one with: llmtp run MODEL --detach\n"
    for command in ("stop", "env"):
        assert_one_clear_line(cli(command), 8, "no server runs")
    for command in ("logs", "wait"):
        assert_one_clear_line(cli(command), 8, "no server was started yet")
    assert_one_clear_line(cli("run", "crafted", "--detach", "--ask", "x"), 2, "exclude each other")


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_ps_fits_the_terminal(columns: int) -> None:
    url = "http://127.0.0.1:19104"
    known = Known(replace(ENTRY, url=url, restarts=2), Standing.SUPERVISED)
    drawn = io.StringIO()
    render(Console(file=drawn, width=columns, force_terminal=True, color_system=None), [known])
    lines = drawn.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    assert any(f"{url}/v1" in line for line in lines)
    assert any(line.startswith("crafted-2") and "ready, 2 restarts" in line for line in lines)
