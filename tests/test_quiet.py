"""`--quiet` leaves results, warnings and errors; and nothing else of a command changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Cli, assert_one_clear_line, wait_until


@pytest.mark.parametrize("word", ["-q", "--quiet"])
def test_an_answer_is_alone(cli: Cli, word: str) -> None:
    loud, quiet = (cli("run", "crafted", "--ask", "x", *more) for more in ((), (word,)))
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, loud.stdout, "")
    assert "tokens/s" in loud.stderr


def test_a_server_says_nothing_and_serves(cli: Cli) -> None:
    with cli.start("run", "crafted", "-q") as running:
        wait_until(lambda: "ready" in cli("ps").stdout)
        assert cli("stop", "-q").stderr == ""
        assert running.process.wait(30) == 0
        assert running.rest() == []


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
    info = cli("plan", main, env={"LLMTP_QUANT": "Q8_0"})
    assert "info: MTP off" in info.stderr
    assert cli("plan", main, "-q", env={"LLMTP_QUANT": "Q8_0"}).stderr == ""


def test_the_json_is_the_same(cli: Cli) -> None:
    loud, quiet = (cli("check", "crafted", "--json", *more) for more in ((), ("-q",)))
    assert loud.json == quiet.json


def test_every_command_has_it(cli: Cli) -> None:
    listing = cli("--help").stdout.split("Commands:")[1]
    names = [line.split()[0] for line in listing.splitlines() if line.startswith("  ")]
    names = [name for name in names if cli(name, "--help").code == 0]
    assert len(names) >= 18
    for name in names:
        assert "-q, --quiet" in cli(name, "--help").stdout, name
