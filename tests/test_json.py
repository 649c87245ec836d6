"""The README's tables of JSON hold for every command: no key more, and none less."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, Repo, fake_hub
from harness import Cli, Result, chat, wait_until
from lenders import lender
from write_commands import BELOW

from llmtp.cli.commands import COMMANDS
from llmtp.cli.export import Format
from llmtp.errors import Finding
from llmtp.server.life import State

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
ENVELOPE = {"schema", "command", "ok", "exit_code", "data", "findings"}
#: Command lines of the README's first table, in an order in which each has something to tell.
LINES = [
    "run --ask", "run --dry-run", "run --detach", "ps", "top --once", "env", "logs", "stop", "wait",
    "list", "check", "plan", "export", "doctor", "bug-report", "profiles", "profiles show",
    "profiles validate", "profiles path", "config", "config validate", "config path", "pull", "rm",
    "bench", "tune",
]  # fmt: skip
#: What is typed for it, where that is more.
TYPED = {
    "run --ask": "run crafted --ask x",
    "run --dry-run": "run crafted --dry-run",
    "run --detach": "run crafted --detach",
    "check": "check crafted",
    "plan": "plan crafted --users 2 --ctx-per-user 2k",
    "export": "export crafted --to sh",
    "profiles show": "profiles show gemma-4-12b",
    "pull": "pull gemma-4-12b",
    "rm": "rm hf:unsloth/gemma-4-12b-it-GGUF --yes",
    "bench": "bench crafted --n-max 1 --budget 1 --workload code",
    "tune": "tune crafted --workload code",
}


def table(heading: str) -> dict[str, set[str]]:
    """A row of the README's table by its first cell: the words in the code of its second."""
    rows = README.split(heading, 1)[1].split("\n\n", 1)[0]
    cells = re.findall(r"^\| `([^|]+)` \| ([^|]+) \|$", rows, re.MULTILINE)
    found = {name: set(keys.strip("`").split()) for name, keys in cells if keys[0] == "`"}
    for name, keys in cells:
        if keys.startswith("as "):
            other, _, more = keys.removeprefix("as `").rstrip("`").partition("`, and `")
            found[name] = (found if other in found else DATA)[other] | set(more.split())
    assert found
    return found


DATA = table("| command | `data` |")
EVENTS = table("| event | beside `event` and `at` |")


@pytest.fixture
def hub(cli: Cli, crafted: Path, tmp_path: Path) -> Iterator[FakeHub]:
    """The pair of the tests under the names of a release."""
    files = {
        "gemma-4-12b-it-Q8_0.gguf": crafted / "crafted.gguf",
        "mtp-gemma-4-12b-it.gguf": crafted / "mtp-crafted.gguf",
    }
    with fake_hub() as running:
        running.repos = {"unsloth/gemma-4-12b-it-GGUF": Repo(files)}
        cli.env |= running.env() | {"HF_HOME": str(tmp_path / "hf")}
        yield running


def told(cli: Cli, line: str, *more: str) -> dict[str, Any]:
    """The data of a command of the table, which works."""
    words = [*TYPED.get(line, line).split(), *more]
    body = cli(*words, "--json").json
    assert set(body) == ENVELOPE, line
    assert (body["command"], body["ok"], body["exit_code"]) == (words[0], True, 0), body
    assert all(set(one) == set(Finding.__slots__) for one in body["findings"])
    data = body["data"]
    assert isinstance(data, dict)
    return data


def check_below(line: str, data: dict[str, Any]) -> set[str]:
    """What the table says of objects in lists and of objects; the names of what was there."""
    seen = set()
    for name, keys in DATA.items():
        of, _, field = name.partition("` `")
        if of != line or not field:
            continue
        value = data[field.removesuffix("[]")]
        for one in value if field.endswith("[]") else [value]:
            assert set(one) == keys, name
            seen.add(name)
    return seen


@pytest.mark.usefixtures("hub")
def test_every_command_has_the_keys_of_the_readme(cli: Cli) -> None:
    listed = {name for name in DATA if "` `" not in name}
    assert listed == set(LINES), "the table has other commands than this test"
    assert {line.split()[0] for line in LINES} == set(COMMANDS) - {"worker"}  # which goes on
    assert cli("pull", "gemma-4-12b", "-q").code == 0
    seen = set()
    with lender(cli, "--threads", "1") as one:
        for line in LINES:
            data = told(cli, line, *(["--rpc", one.endpoint] if line == "run --detach" else []))
            assert set(data) == DATA[line], line
            seen |= check_below(line, data)
    assert seen == {name for name in DATA if "` `" in name}, "nothing was there to compare"


def failing(cli: Cli) -> Iterator[tuple[list[str], Result]]:
    for name in COMMANDS:
        for words in ([name], *([name, below] for below in BELOW.get(name, ()))):
            yield words, cli(*words, "--json", "--bogus")


def test_a_failure_of_any_command_has_the_envelope_or_the_last_line(cli: Cli) -> None:
    for words, result in failing(cli):
        assert (result.code, result.stderr) == (2, ""), words
        (body,) = result.lines
        if words[0] in ("run", "top", "worker"):
            assert (body["event"], body["exit_code"]) == ("exit", 2)
        else:
            assert set(body) == ENVELOPE, words
            assert (body["ok"], body["exit_code"], body["command"]) == (False, 2, words[0])
        assert body["findings"][0]["level"] == "error"


def test_the_events_of_a_run_have_the_fields_of_the_readme(cli: Cli) -> None:
    seen: dict[str, set[str]] = {}
    with cli.start("run", "crafted", "--json") as running:
        ready = running.wait_event("ready")
        running.wait_event("sample")
        chat(ready["url"])
        os.kill(ready["pid"], signal.SIGKILL)
        running.wait_event("restarting")
        running.wait_event("ready")
        running.wait_event("mtp")
        assert running.interrupt(signal.SIGINT) == 130
        for line in running.rest():
            event = json.loads(line)
            fields = set(event) - {"event", "at"}
            seen.setdefault(event["event"], set()).update(fields)
    others = ("downloading", "joined", "lending", "left", "line")
    assert seen == {name: EVENTS[name] for name in EVENTS if name not in others}


def test_the_events_of_a_worker_have_the_fields_of_the_readme(cli: Cli) -> None:
    with lender(cli, "--threads", "1") as one:
        with cli.start("run", "crafted", "--json", "--rpc", one.endpoint) as running:
            running.wait_event("mtp")
            assert set(one.running.wait_event("connected")) == {"event", "at"}
            running.interrupt()
        left = one.running.wait_event("left")
    for event in (one.lending, left):
        assert set(event) - {"event", "at"} == EVENTS[event["event"]]


@pytest.mark.usefixtures("hub")
def test_a_download_is_told_with_the_fields_of_the_readme(cli: Cli) -> None:
    with cli.start("run", "gemma-4-12b", "--json") as running:
        event = running.wait_event("downloading")
        running.wait_event("ready")
        running.interrupt()
    assert set(event) - {"event", "at"} == EVENTS["downloading"]


def test_a_log_that_is_followed_is_told_line_by_line(cli: Cli) -> None:
    assert cli("run", "crafted", "-dq").code == 0
    with cli.start("logs", "-f", "--json") as running:
        event = running.wait_event("line")
        assert cli("stop", "-q").code == 0
        wait_until(lambda: running.process.poll() is not None)
        assert running.rest()[-1].startswith('{"event": "exit"')
    assert set(event) - {"event", "at"} == EVENTS["line"]


def test_the_words_of_the_readme_are_those_of_the_code() -> None:
    assert "tmp/tmp" not in README
    row = next(line for line in README.splitlines() if line.startswith("| `export "))
    assert set(re.findall(r"`([a-z-]+)`", row)) == {one.value for one in Format}
    states = next(line for line in README.splitlines() if line.startswith("`state` is one of"))
    words = set(re.findall(r"`([a-z]+)`", states)) - {"state"}
    assert words == {one.value for one in State} | {"unsupervised"}
