"""`llmtp bug-report`: what a maintainer needs is in it, what is private is not."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from edit import STRING, Edited, edit
from harness import WAIT_S, Cli, alive, assert_one_clear_line, chat, http, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtp.engine.llama.speech import LlamaSpeech
from llmtp.errors import Finding
from llmtp.machine.identity import ProcessId
from llmtp.report.build import MOST_CHARACTERS, Report, make_report
from llmtp.report.command import command_lines
from llmtp.report.logtail import choose
from llmtp.report.markdown import Section, render, shown
from llmtp.report.redaction import Private, Redaction
from llmtp.server import registry
from llmtp.server.entry import Entry
from llmtp.server.life import State

WITH_SERVER = ["summary", "build", "command", "system", "main", "draft", "plan", "environment",
               "log"]  # fmt: skip
TOKEN = "hf_" + "aB3" * 11
ALICE = Private(
    homes=("/home/alice",),
    users=("alice", "max"),
    hosts=("wonder.example.org",),
    secrets=("k3y-of-the-server",),
    folders=("/data/models",),
)


def entry_of(events: list[dict[str, Any]], **changes: Any) -> Entry:
    """What the registry knows of a run, from the lines that it printed."""
    by_name = {one["event"]: one for one in events}
    ready, ended = by_name["ready"], by_name["exit"]
    entry = Entry(
        id="crafted",
        llmtp=ProcessId(1 << 22, "long ago"),
        server=None,
        state=State.STOPPED,
        model="crafted",
        url=ready["url"],
        started_at=by_name["planned"]["at"],
        restarts=0,
        mtp=True,
        n_max=ready["n_max"],
        detached=False,
        log=Path(by_name["starting"]["log"]),
        api_key_file=None,
        key_is_made=False,
        wanted="crafted",
        plan=by_name["planned"],
        exit_code=ended["exit_code"],
        ended_at=ended["at"],
        findings=tuple(Finding(**one) for one in ended["findings"]),
    )
    return replace(entry, **changes)


def run_once(cli: Cli, *args: str | Path) -> Entry:
    """Run it until it serves, and is told to end."""
    with cli.start("run", "--json", *args) as running:
        running.wait_event("sample")
        assert running.interrupt() == 130
        return entry_of([json.loads(line) for line in running.rest()])


def log_of(entry: Entry) -> Path:
    assert entry.log is not None
    return entry.log


def known(cli: Cli, entry: Entry) -> Entry:
    """Put it where llmtp looks for its servers."""
    file = cli.home / ".local/state/llmtp/servers" / registry.folder().name / f"{entry.id}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(entry.to_json(), encoding="utf-8")
    return entry


def made_up(folder: Path, crafted: Path, **plan: Any) -> Entry:
    """An entry of a server that never ran."""
    files = {"main": str(crafted / "crafted.gguf"), "draft": str(crafted / "mtp-crafted.gguf")}
    events = [
        {"event": "planned", "at": 1.7e9, "argv": ["/nowhere/llama-server"], **files, **plan},
        {"event": "starting", "log": str(folder / "server.log")},
        {"event": "ready", "url": "http://127.0.0.1:1", "n_max": 3},
        {"event": "exit", "at": 1.7e9, "exit_code": 7, "findings": []},
    ]
    return entry_of(events, state=State.FAILED)


def report_of(entry: Entry | None, **environ: str) -> Report:
    environ = {"HOME": "/home/alice", "USER": "alice", **environ}
    return make_report(entry, environ, entry.state.value if entry else "")


def block(text: str, title: str) -> str:
    """What the fence of a section holds."""
    section = text.split(f"\n## {title}\n", 1)[1]
    found = re.search(r"^(`{3,})\w*\n(.*?)^\1$", section, re.MULTILINE | re.DOTALL)
    assert found is not None, section
    return found[2]


def test_a_report_of_a_run(cli: Cli, crafted: Path) -> None:
    entry = run_once(cli, "crafted")
    env = {"HF_TOKEN": TOKEN, "GGML_VK_VISIBLE_DEVICES": "0", "LLAMA_CREDENTIAL": "abc"}
    result = cli("bug-report", env=env)
    assert result.code == 0, result.stderr
    path = Path(result.stdout.removesuffix("\n"))
    assert path.parent == cli.folder
    assert re.fullmatch(r"llmtp-bug-report-crafted-\d{8}-\d{6}\.md", path.name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "read it before you send it" in result.stderr
    assert "lines of the log" in result.stderr

    text = path.read_text(encoding="utf-8")
    assert text.startswith("# llmtp bug report: crafted stopped\n")
    assert len(text) < MOST_CHARACTERS
    for private in (str(cli.home), TOKEN):
        assert private not in text
    assert str(crafted) not in text.replace(block(text, "Command"), "")
    assert "exit code 130" in block(text, "What happened")
    assert re.search(r"^version: \d+ \(\w+\)$", block(text, "Build of llama.cpp"), re.MULTILINE)
    command = block(text, "Command")
    assert f"--port {entry.url.rpartition(':')[2]} \\\n" in command
    assert len(command.splitlines()) > 20
    system = block(text, "System")
    for words in (platform.release(), "CPU flags ", "RAM ", "cgroup ", "locked memory"):
        assert words in system, words
    main, draft = block(text, "Main model"), block(text, "Drafter")
    assert f"bytes       {(crafted / 'crafted.gguf').stat().st_size}\n" in main
    assert "  gemma4.attention.head_count_kv = [2, 2, 2, 2, 2, 1]\n" in main
    assert "  tensors     87 F32 (1.8 MiB)\n" in main
    assert "  gemma4-assistant.nextn_predict_layers = 4\n" in draft
    vocabulary = r"tokenizer\.ggml\.tokens = 342 of STRING, sha256 (\w{16})\n"
    assert re.findall(vocabulary, main) == re.findall(vocabulary, draft) != []
    assert re.search(r"chat_template = \d+ characters, sha256 \w{16}\n", main)
    assert "message['role']" not in text
    assert "why           n-max 3 from the profile crafted\n" in block(text, "Plan")
    variables = block(text, "Variables")
    assert "HF_TOKEN=REDACTED\nLLAMA_CREDENTIAL=REDACTED\n" in variables
    assert "GGML_VK_VISIBLE_DEVICES=0\n" in variables
    log = block(text, "Log")
    for words in (
        "listening on http://127.0.0.1:",
        "print_info: build",
        "loading draft model 'mtp",
    ):
        assert words in log, words
    assert "line(s) left out]" in log
    for words in ("How are you?", "llama_model_loader: - kv"):  # of the template; of metadata
        assert words in log_of(entry).read_text(encoding="utf-8")
        assert words not in log


def test_json_says_what_is_in_it(cli: Cli) -> None:
    run_once(cli, "crafted")
    body = cli("bug-report", "crafted", "--json", "--out", "r.md").json
    data = body["data"]
    assert (body["command"], body["exit_code"], body["findings"]) == ("bug-report", 0, [])
    assert set(data) == {"path", "bytes", "redactions", "sections", "lines_left_out", "text"}
    assert (data["path"], data["text"], data["sections"]) == ("r.md", None, WITH_SERVER)
    assert data["bytes"] == (cli.folder / "r.md").stat().st_size
    assert data["redactions"]["folder"] >= 2
    assert data["lines_left_out"] > 0

    printed = cli("bug-report", "--out", "-")
    assert printed.stdout.startswith("# llmtp bug report: crafted stopped\n")
    asked = cli("bug-report", "--out", "-", "--json").json["data"]
    assert asked["path"] is None
    assert block(asked["text"], "Plan") == block(printed.stdout, "Plan")


def test_without_any_server(cli: Cli) -> None:
    body = cli("bug-report", "--json").json
    assert body["data"]["sections"] == ["summary", "build", "system", "environment"]
    path = Path(body["data"]["path"])
    assert re.fullmatch(r"llmtp-bug-report-\d{8}-\d{6}\.md", path.name)
    text = path.read_text(encoding="utf-8")
    assert "no server was started here" in text
    assert re.search(r"^version: ", block(text, "Build of llama.cpp"), re.MULTILINE)


def test_without_any_engine(cli: Cli) -> None:
    text = cli("bug-report", "--out", "-", env={"LLMTP_ENGINE": "/nowhere"}).stdout
    assert "[/nowhere (LLMTP_ENGINE) is not an executable program]" in text


def test_an_id_that_is_unknown(cli: Cli) -> None:
    assert_one_clear_line(cli("bug-report", "nope"), 8, "nope")
    assert list(cli.folder.glob("*.md")) == []


def test_the_command_of_a_report_starts_the_server(cli: Cli, crafted: Path) -> None:
    """From another folder, with a plain shell, and paths that need quotes behind the `~`."""
    folder = cli.home / "my models $HOME"
    folder.mkdir()
    for name in ("crafted.gguf", "mtp-crafted.gguf"):
        shutil.copy(crafted / name, folder / name)
    models: list[str | Path] = [folder / "crafted.gguf", "--draft", folder / "mtp-crafted.gguf"]
    entry = run_once(cli, *models)
    text = cli("bug-report", "--out", "-").stdout
    command = block(text, "Command")
    assert "--model ~/'my models $HOME/crafted.gguf' \\\n" in command
    assert str(cli.home) not in text
    process = subprocess.Popen(
        ["sh", "-c", command], env=cli.env, cwd="/", start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or is_healthy(entry.url))
        assert process.poll() is None
        assert chat(entry.url, max_tokens=2)["usage"]["completion_tokens"] == 2
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_S)
        wait_until(lambda: not is_there(process.pid))


def is_there(group: int) -> bool:
    """Does anything of it run? The shell may have started the engine, and is gone before it."""
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == group and alive(pid):
                return True
    return False


def is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.mark.parametrize("verbose", [[], ["--", "-v"]])
def test_no_report_quotes_a_request(cli: Cli, verbose: list[str | Path]) -> None:
    """Neither where the log has it whole, nor where it imitates another start of the engine."""
    grammar = "#1 PROMPTWORD\nPROMPTWORD ::= (\n"
    if verbose:
        grammar += "0.00.000.001 I PROMPTWORD\nPROMPTWORD\n9.00.000.001 I x PROMPTWORD\n"
    with cli.start("run", "crafted", "--json", *verbose) as running:
        url = running.wait_event("ready")["url"]
        running.wait_event("sample")
        chat(url, "PROMPTWORD", max_tokens=4)
        with pytest.raises(urllib.error.HTTPError) as refused:
            http(f"{url}/completion", {"prompt": "PROMPTWORD", "grammar": grammar})
        refused.value.close()
        assert running.interrupt() == 130
        entry = entry_of([json.loads(line) for line in running.rest()])
    assert ("PROMPTWORD" in log_of(entry).read_text(encoding="utf-8")) is bool(verbose)
    text = report_of(entry).text
    assert "PROMPTWORD" not in text
    log = block(text, "Log")
    assert "listening on http://127.0.0.1:" in log
    assert "E failed to parse grammar" in log


def test_what_is_gone_is_said(tmp_path: Path) -> None:
    text = report_of(made_up(tmp_path, tmp_path)).text
    assert "[it cannot be started: No such file or directory]" in block(text, "Build of llama.cpp")
    assert "not read    there is no file crafted.gguf" in block(text, "Main model")
    assert "not read    there is no file mtp-crafted.gguf" in block(text, "Drafter")
    assert "[the log cannot be read: it is gone, or is no file]" in block(text, "Log")
    assert "/nowhere/llama-server\n" in block(text, "Command")


def test_relative_paths_are_explained(tmp_path: Path, crafted: Path) -> None:
    words = "Relative paths start where llmtp was started."
    assert words in report_of(made_up(tmp_path, crafted, main="models/crafted.gguf")).text
    assert words not in report_of(made_up(tmp_path, crafted)).text


def test_an_entry_of_a_start_that_never_was(tmp_path: Path, crafted: Path) -> None:
    entry = replace(made_up(tmp_path, crafted), plan={"argv": 1, "env": [], "why": {}, "main": 2})
    report = report_of(entry)
    assert "main" not in report.sections
    assert block(report.text, "Command") == "# there was none\n"
    assert block(report.text, "Plan") == "no plan was made\n"


def test_an_engine_that_hangs_is_not_waited_for(tmp_path: Path, crafted: Path) -> None:
    engine = tmp_path / "llama-server"
    engine.write_text("#!/bin/sh\necho hello\nexec sleep 600\n", encoding="ascii")
    engine.chmod(0o755)
    before = time.monotonic()
    text = report_of(made_up(tmp_path, crafted, argv=[str(engine)])).text
    assert time.monotonic() - before < 20
    assert block(text, "Build of llama.cpp").splitlines()[1:] == [
        "hello",
        "[it was stopped: no end within 3 s]",
    ]


def test_the_title_names_what_ended_it(tmp_path: Path, crafted: Path) -> None:
    finding = Finding("crash-loop", "error", "gave up", fix="F")
    entry = replace(made_up(tmp_path, crafted), findings=(finding,))
    text = report_of(entry).text
    assert text.startswith("# llmtp bug report: crafted failed: crash-loop\n")
    assert "error: gave up [crash-loop]\n  fix: F\n" in block(text, "What happened")
    hostile = replace(entry, findings=(replace(finding, rule="x](http://evil)"),))
    assert report_of(hostile).text.startswith("# llmtp bug report: crafted failed\n")


def test_one_that_runs_and_one_that_was_lost(cli: Cli) -> None:
    """Of a server that runs; of one whose llmtp was killed; and of one that is gone as well."""
    with cli.start("run", "crafted", "--json") as running:
        pid = running.wait_event("ready")["pid"]
        running.wait_event("mtp")
        running.wait_event("sample")
        assert cli("bug-report", "--out", "-").stdout.startswith(
            "# llmtp bug report: crafted ready\n"
        )
        running.interrupt(signal.SIGKILL)
    lone = cli("bug-report", "crafted", "--out", "-").stdout
    assert lone.startswith("# llmtp bug report: crafted unsupervised\n")
    assert "listening on" in block(lone, "Log")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))
    lost = cli("bug-report", "crafted", "--out", "-").stdout
    assert lost.startswith("# llmtp bug report: crafted failed: lost\n")


def test_hostile_files(tmp_path: Path, crafted: Path) -> None:
    """Secrets, fences, escapes and line ends in metadata, a name and the log end up harmless."""
    folder = tmp_path / "alice's"
    folder.mkdir()
    main = folder / "x`````y\x1b[31m\nalice.gguf"
    shutil.copy(crafted / "crafted.gguf", main)

    def poison(parts: Edited) -> None:
        parts.set("general.name", STRING, f"\x1b]0;t\x07``````` </details>\n# {TOKEN} a@b.cd")
        parts.set("general.description", STRING, "z" * 100_000)
        parts.set(f"general.{TOKEN}", STRING, "/home/alice/.secrets/x")
        parts.set("tokenizer.chat_template.tool", STRING, "TEMPLATEWORD")

    edit(main, poison)
    entry = made_up(tmp_path, crafted, main=str(main), argv=["/x", "--model", str(main)])
    log = b"0.00.000.001 I ````````` \xff\xfe </details> \x1b[2J" + TOKEN.encode() + b"\n"
    log_of(entry).write_bytes(
        log + b"``````\n# heading\napi_key=verysecret https://u:pw1234@h.org/ at 10.1.2.3\n"
    )
    text = report_of(entry, GGML_X=f"{TOKEN} /home/alice", LLAMA_API_KEY="verysecret").text
    for private in (TOKEN, "a@b.cd", "verysecret", "pw1234", "10.1.2.3", "alice", "TEMPLATEWORD"):
        assert private not in text, private
    assert text.isprintable() is False  # line ends
    assert all(line.isprintable() for line in text.splitlines())
    headings = re.findall(r"^#+ .*", outside_fences(text), re.MULTILINE)
    assert [h for h in headings if h.startswith("# ")] == ["# llmtp bug report: crafted failed"]
    assert len(headings) == 1 + len(WITH_SERVER)
    assert outside_fences(text).count("</details>") == 3
    assert "general.name = ``````` </details>\\n# REDACTED EMAIL" in block(text, "Main model")
    assert "z" * 300 not in text


def outside_fences(text: str) -> str:
    """As CommonMark reads it: a fence ends with one that is at least as long."""
    kept, fence = [], ""
    for line in text.splitlines():
        run = re.match(r"`{3,}", line)
        if fence:
            if run and len(run[0]) >= len(fence) and set(line) == {"`"}:
                fence = ""
        elif run:
            fence = run[0]
        else:
            kept.append(line)
    assert not fence
    return "\n".join(kept)


def test_the_longest_of_everything_fits_into_an_issue(tmp_path: Path, crafted: Path) -> None:
    entry = made_up(
        tmp_path,
        crafted,
        argv=["/x", *(f"--flag{i} {'v' * 900}" for i in range(300))],
        why=["w" * 5000] * 500,
        devices=[{"name": "n" * 5000}] * 500,
    )
    findings = tuple(Finding("r", "error", "m" * 9000) for _ in range(200))
    lines = [b"0.00.000.002 E failed: the first cause", *[b"0.00.000.003 I " + b"x" * 999] * 3000]
    log_of(entry).write_bytes(b"\n".join([*lines, b"0.00.000.004 I the end"]))
    environ = {f"GGML_{i}": "e" * 5000 for i in range(500)}
    report = report_of(replace(entry, findings=findings), **environ)
    assert len(report.text) < MOST_CHARACTERS
    assert list(report.sections) == WITH_SERVER
    log = block(report.text, "Log").splitlines()
    assert log[0] == "0.00.000.002 E failed: the first cause"
    assert log[-1] == "0.00.000.004 I the end"
    shown = [line for line in log if not line.startswith("[")]
    (mark,) = set(log) - set(shown)
    assert len(shown) > 10
    assert mark == f"[{report.lines_left_out:,} line(s) left out]"
    for title in ("Command", "Plan", "Variables", "What happened"):
        assert block(report.text, title).splitlines()[-1].endswith("more line(s) left out]")


def test_a_log_that_turned_over_is_read_whole(tmp_path: Path, crafted: Path) -> None:
    entry = made_up(tmp_path, crafted)
    log_of(entry).write_bytes(b"0.02.000.000 I srv  init: second\nan answer without a stamp\n")
    log_of(entry).with_name("server.log.1").write_bytes(b"0.01.000.000 I srv  init: first\n")
    assert block(report_of(entry).text, "Log").splitlines() == [
        "0.01.000.000 I srv  init: first",
        "0.02.000.000 I srv  init: second",
    ]


def test_each_start_in_a_log_is_one_of_its_own() -> None:
    serves = b"0.00.500.000 I srv  llama_server: listening on http://127.0.0.1:1"
    raw = [b"error while loading", serves, b"said by someone", b"0.09.000.000 E srv: {\"a\": 1}",
           b"0.00.000.001 I again", b"error: of the second start",
           b"0.00.000.002 I llama_model_loader: - kv   1: a", b"0.00.000.002 D debug"]  # fmt: skip
    with_debugging = list(LlamaSpeech().without_requests(raw, from_start=True))
    assert "error: of the second start" not in with_debugging
    assert list(LlamaSpeech().without_requests(raw[:-1], from_start=True)) == [
        "error while loading",
        serves.decode(),
        "0.09.000.000 E srv: (left out: it may quote a request)",
        "0.00.000.001 I again",
        "error: of the second start",
    ]
    assert list(LlamaSpeech().without_requests([b"of a request"], from_start=False)) == []


def test_telling_lines_are_kept_however_old() -> None:
    lines = [f"{i} I nothing" for i in range(1000)]
    lines[10] = "ggml_vulkan: 0 = NAME"
    lines[500] = "0.00.000.001 E it failed"

    def tells(line: str) -> bool:
        return "ggml_vulkan: " in line or " E " in line

    chosen = choose(lines, tells, str, 30_000)
    assert chosen.lines[:6] == (
        "[10 line(s) left out]",
        "ggml_vulkan: 0 = NAME",
        "[489 line(s) left out]",
        "0.00.000.001 E it failed",
        "[299 line(s) left out]",
        "800 I nothing",
    )
    assert (chosen.lines[-1], chosen.left_out) == ("999 I nothing", 798)
    short = choose(lines, tells, str, 1000)
    assert "0.00.000.001 E it failed" in short.lines
    assert short.lines[-1] == "999 I nothing"
    assert sum(len(line) + 1 for line in short.lines) <= 1000


def test_a_file_of_the_hub_has_its_hash_and_origin(cli: Cli, crafted: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--google--gemma--x"
    sha256, commit = "ab" * 32, "c" * 40
    blob = repository / "blobs" / sha256
    pointer = repository / "snapshots" / commit / "m.gguf"
    for folder in (blob.parent, pointer.parent):
        folder.mkdir(parents=True)
    shutil.copy(crafted / "crafted.gguf", blob)
    pointer.symlink_to(blob)
    known(cli, made_up(tmp_path, crafted, main=str(pointer)))
    env = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    main = block(cli("bug-report", "--out", "-", env=env).stdout, "Main model")
    assert f"  from        hf:google/gemma--x@{commit}\n  sha256      {sha256}  m.gguf\n" in main


def test_a_file_that_is_there_is_not_replaced(cli: Cli) -> None:
    there = cli.folder / "r.md"
    there.write_text("mine", encoding="utf-8")
    link = cli.folder / "link.md"
    link.symlink_to(cli.folder / "target.md")
    for path in (there, link):
        assert_one_clear_line(cli("bug-report", "--out", path), 2, "is there already")
    assert there.read_text(encoding="utf-8") == "mine"
    assert not (cli.folder / "target.md").exists()
    assert_one_clear_line(cli("bug-report", "--out", "no/r.md"), 2, "No such file")


def test_a_full_disk_leaves_nothing(cli: Cli) -> None:
    """A limit on the size of files is met half-way, as a full disk is."""
    script = f"ulimit -f 1; exec {cli.program} bug-report --out r.md"
    cli("bug-report", "--out", "-")  # whatever is learned of the engine is learned
    done = subprocess.run(
        ["sh", "-c", script], env=cli.env, cwd=cli.folder, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "r.md cannot be written: File too large" in done.stderr
    assert list(cli.folder.glob("*.md")) == []


def test_a_secret_is_found_through_colours_and_before_it_is_cut() -> None:
    redact = Redaction(ALICE)
    coloured = f"{TOKEN[:15]}\x1b[31m{TOKEN[15:]}"
    assert shown(f"a {coloured} b", redact, 40) == "a REDACTED b"
    for at in (7, 395, 8185):
        put = shown("x" * at + " " + TOKEN + " the end" * 9, redact, 400)
        assert TOKEN[:4] not in put
        assert len(put) <= 400
    shrinks = "/home/alice " * 682 + TOKEN
    assert TOKEN[:4] not in shown(shrinks, redact, 4000)
    assert shown(shrinks, redact, 4000).endswith("~ …")


def test_the_name_of_a_server_may_be_private(tmp_path: Path, crafted: Path) -> None:
    text = report_of(replace(made_up(tmp_path, crafted), id="alice-model")).text
    assert text.startswith("# llmtp bug report: USER-model failed\n")


def test_keys_are_known_by_their_value(tmp_path: Path, crafted: Path) -> None:
    entry = made_up(tmp_path, crafted)
    file = tmp_path / "key"
    file.write_text("# comment\nk3y-of-the-server\n", encoding="utf-8")
    log_of(entry).write_text("0.00.000.001 W seen: k3y-of-the-server and S3cr3tValue\n")
    report = report_of(replace(entry, api_key_file=file), SOME_TOKEN="S3cr3tValue")  # noqa: S106 - no secret
    assert "W seen: REDACTED and REDACTED\n" in report.text
    assert report.redactions["secret"] == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"HF {TOKEN}.", "HF REDACTED."),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer REDACTED"),
        ("sent bearer abcdef123456", "sent bearer REDACTED"),
        ("--api-key 'a b' --port 1", "--api-key REDACTED --port 1"),
        ('{"api_key": "x y"}', '{"api_key": REDACTED}'),
        ("password=hunter2; next", "password=REDACTED; next"),
        ("hf_token=abc", "hf_token=REDACTED"),
        ("api_key=k3y-of-the-serverMORE", "api_key=REDACTED"),
        ("https://bob:p%40ss@h.org/x?a=1&X-Amz-Signature=9f&b=2",
         "https://CREDENTIALS@h.org/x?a=1&X-Amz-Signature=REDACTED&b=2"),
        ("mail alice.b+c@mail.example.org now", "mail EMAIL now"),
        ("the key is k3y-of-the-server", "the key is REDACTED"),
        ("at 192.168.1.20:8080 and [fe80::1%eth0] and 2001:db8::7",
         "at ADDRESS:8080 and [ADDRESS%eth0] and ADDRESS"),
        ("52:54:00:12:34:56", "ADDRESS"),
        ("/home/alice/models/a.gguf:/home/alice", "~/models/a.gguf:~"),
        ("'/data/models/a b.gguf'", "'a b.gguf'"),
        ("/home/bob/x /Users/Bob Smith", "/home/USER/x /Users/USER Smith"),
        ("/mnt/alice/x Alice_models pytest-of-alice", "/mnt/USER/x USER_models pytest-of-USER"),
        ("on wonder.example.org, WONDER, nas.local", "on HOST, HOST, HOST"),
        ("CUDA_VISIBLE_DEVICES=GPU-8932f937-d72c-4106-c12f-20bd9faed9f6",
         "CUDA_VISIBLE_DEVICES=GPU-ID"),
        ("/mnt/max/x", "/mnt/USER/x"),
    ],
)  # fmt: skip
def test_what_is_private_is_replaced(text: str, expected: str) -> None:
    redact = Redaction(ALICE)
    assert redact(text) == expected
    assert redact.counts.total() > 0


@pytest.mark.parametrize(
    "text",
    [
        "1.10.142.144 I srv  update_slots: listening on http://127.0.0.1:8080 0.0.0.0 [::1] ::",
        "tokenizer.ggml.bos_token_id = 2, 12 tokens, EOG token = 1 '<eos>'",
        "malice alices/malice homealice /homes/alicex/",
        "--spec-draft-n-max 3 n_max=3 --ctx max",
        "std::vector<int>::at(), 12:34:56, 0000:01:00.0, GLIBC_2.34, __libc@@GLIBC_2.34, f@G_2.3",
        "https://github.com/ggml-org/llama.cpp/pull/16391 hf:google/gemma@main",
        "driver 580.95.05, 32.0.15.6094, version 1.4.309.0, hf_hub",
        "/home/linuxbrew/.linuxbrew/bin/llama-server",
        "MTP key error: key not found in model: gemma4.block_count",
    ],
)
def test_what_is_telling_is_left(text: str) -> None:
    redact = Redaction(ALICE)
    assert redact(text) == text
    assert redact.counts.total() == 0


@settings(max_examples=100)
@given(
    st.lists(
        st.sampled_from([TOKEN, "alice", "/home/alice/", "a@b.cd", "10.1.2.3", "://", "u:p@", " ",
                         "api_key=", "Bearer ", "k3y-of-the-server", "max", "'", "::1", "max@",
                         "/data/models/", "REDACTED", "wonder", "--api-key ", "fe80::2", "x.local"])
        | st.text(max_size=5),
        max_size=12,
    ).map("".join)
)  # fmt: skip
def test_nothing_private_is_left_for_a_second_time(text: str) -> None:
    once = Redaction(ALICE)(text)
    again = Redaction(ALICE)
    assert again(once) == once
    assert again.counts.total() == 0


@pytest.mark.parametrize("piece", ["a_", "a-", "a.", "eyJ-", "?a", "a@", ":", "1.", "--api-", "/"])
def test_no_line_takes_long(piece: str) -> None:
    before = time.process_time()
    render(Section("s", "S", (piece * (70_000 // len(piece)),)), Redaction(ALICE))
    assert time.process_time() - before < 3


def test_the_command_hides_keys_and_keeps_flags() -> None:
    redact = Redaction(replace(ALICE, users=("draft", "alice")))
    argv = ["/home/alice/b in/llama-server", "--model", "/data/models/a.gguf", "--api-key-file",
            "/home/alice/key", "--spec-draft-n-max", "3", "--temp", "-1", "--no-mmap",
            "--chat", "~/x", "--rpc", "10.0.0.5:50052", "-m", "two\nlines"]  # fmt: skip
    env = {"LD_LIBRARY_PATH": "/home/alice/l b::/opt/x", "LLAMA_ARG_X": None, "EMPTY": ""}
    assert list(command_lines(argv, env, redact)) == [
        "LD_LIBRARY_PATH=~/'l b'::/opt/x \\",
        "EMPTY= \\",
        "env -u LLAMA_ARG_X ~/'b in/llama-server' \\",
        "  --model /data/models/a.gguf \\",
        "  --api-key-file REDACTED \\",
        "  --spec-draft-n-max 3 \\",
        "  --temp -1 \\",
        "  --no-mmap \\",
        "  --chat '~/x' \\",
        "  --rpc ADDRESS:50052 \\",
        "  -m $'two\\nlines'",
    ]
