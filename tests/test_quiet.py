"""`--quiet` leaves results, warnings and errors; and nothing else of a command changes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from harness import Cli, assert_one_clear_line, wait_until
from write_commands import PAGE, pages


def test_an_answer_is_alone(cli: Cli) -> None:
    words = ("run", "crafted", "--ask", "x")
    loud, *quiet = (cli(*words, *more) for more in ((), ("-q",), ("--quiet",)))
    for one in quiet:
        assert (one.code, one.stdout, one.stderr) == (0, loud.stdout, "")
    assert "tokens/s" in loud.stderr


def test_a_server_says_where_it_is_and_no_more(cli: Cli) -> None:
    with cli.start("run", "crafted", "-q") as running:
        wait_until(lambda: "ready" in cli("ps").stdout)
        url = cli("ps", "--json").json["data"]["servers"][0]["url"]
        assert cli("stop", "-q").stderr == ""
        assert running.process.wait(30) == 0
        assert running.rest() == [f"crafted  {url}/v1"]


def test_a_server_that_dies_is_no_news_but_a_warning(cli: Cli) -> None:
    with cli.start("run", "crafted", "-q") as running:
        wait_until(lambda: "ready" in cli("ps").stdout)
        os.kill(cli("ps", "--json").json["data"]["servers"][0]["pid"], signal.SIGKILL)
        assert running.wait_line(lambda line: "starting again in" in line).startswith("warning: ")
        assert running.interrupt() == 130


def test_a_detached_one_prints_its_name_and_url(cli: Cli) -> None:
    started = cli("run", "crafted", "-dq")
    assert started.stderr == ""
    name, url = started.stdout.split()
    assert (name, url.endswith("/v1")) == ("crafted", True)
    assert cli("stop", name, "--quiet").code == 0


def test_warnings_and_errors_stay_and_news_goes(cli: Cli, crafted: Path) -> None:
    main = crafted / "crafted.gguf"
    loud, quiet = (cli("plan", main, "--n-max", "2", "--vram", "100MiB", *m) for m in ((), ("-q",)))
    assert quiet.stdout.splitlines()[-1] == loud.stdout.splitlines()[-1]
    assert "warning: " in quiet.stderr
    news, none = (cli("plan", "crafted", "--n-max", "1", "--ctx", "64k", *m) for m in ((), ("-q",)))
    assert (news.code, none.code) == (2, 2)
    assert_one_clear_line(none, 2, "--ctx")
    assert "info: MTP off" in cli("plan", main).stderr
    assert cli("plan", main, "-q").stderr == ""


def test_the_json_is_the_same(cli: Cli) -> None:
    loud, quiet = (cli("check", "crafted", "--json", *more) for more in ((), ("-q",)))
    assert loud.json == quiet.json


def test_every_command_has_it() -> None:
    """By the page of what `--help` says, which another test compares with it."""
    _, *sections = PAGE.read_text(encoding="utf-8").split("\n## llmtp")
    parts = [part for section in sections for part in section.split("\n### llmtp")]
    assert len(parts) == len(pages())
    for words, part in zip(pages(), parts, strict=True):
        assert part.startswith(" ".join(("", *words)) + "\n")
        assert ("-q, --quiet" in part) == bool(words), words


def test_what_takes_nothing_else_takes_it(cli: Cli) -> None:
    assert cli("tune", "--forget", "-q").code == 0
    result = cli("bench", "--compare", "a.json", "b.json", "-q")
    assert "--quiet" not in result.stderr
    assert_one_clear_line(result, 8, "a.json")
