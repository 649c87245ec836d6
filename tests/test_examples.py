"""The example scripts, run as their first lines say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from harness import WAIT_S, Cli, Result, chat, wait_until

FOLDER = Path(__file__).resolve().parent.parent / "scripts" / "examples"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".py", ".sh"))


def paths(cli: Cli) -> dict[str, str]:
    """An environment in which `llmtp` is found, and the Python of this suite."""
    return cli.env | {"PATH": f"{cli.program.parent}:{cli.env['PATH']}"}


def example(cli: Cli, name: str, *words: str, stdin: str = "") -> Result:
    done = subprocess.run(
        [str(FOLDER / name), *words], env=paths(cli), cwd=cli.folder, input=stdin,
        capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


class Serving:
    """An example that goes on until it is interrupted."""

    def __init__(
        self, cli: Cli, name: str | Path, *words: str, env: Mapping[str, str] = {}
    ) -> None:
        self.process = subprocess.Popen(
            [str(FOLDER / name), *words], env=paths(cli) | dict(env), cwd=cli.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self._cli = cli

    def server(self) -> dict[str, Any]:
        """What ps tells of it, once it is ready."""
        servers: list[dict[str, Any]] = []

        def is_ready() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            servers[:] = self._cli("ps", "--json").json["data"]["servers"]
            return bool(servers) and servers[0]["state"] == "ready"

        wait_until(is_ready)
        return servers[0]

    def interrupt(self) -> tuple[int, str, str]:
        os.killpg(self.process.pid, signal.SIGINT)
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, err


def test_every_example_is_in_the_readme_and_says_how_it_is_typed() -> None:
    readme = (FOLDER.parent.parent / "README.md").read_text(encoding="utf-8")
    assert len(NAMES) >= 5
    for name in NAMES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert f"`{name}`" in readme
        assert re.search(rf"scripts/examples/{re.escape(name)}\b", text)
        assert os.access(FOLDER / name, os.X_OK)
        assert len(text.splitlines()) <= 50


def test_a_commit_message(cli: Cli) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=cli.folder, env=cli.env, check=True)

    git("init", "-q")
    nothing = example(cli, "commit-message.sh", "crafted")
    assert (nothing.code, nothing.stdout) == (1, "")
    assert "nothing is staged" in nothing.stderr
    (cli.folder / "a.txt").write_text("a line\n")
    git("add", "a.txt")
    result = example(cli, "commit-message.sh", "crafted")
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.strip()


def test_a_commit_message_of_a_model_that_is_not_there(cli: Cli) -> None:
    subprocess.run(["git", "init", "-q"], cwd=cli.folder, env=cli.env, check=True)
    (cli.folder / "a.txt").write_text("a line\n" * 40_000)
    subprocess.run(["git", "add", "a.txt"], cwd=cli.folder, env=cli.env, check=True)
    result = example(cli, "commit-message.sh", "crafte")
    assert result.code == 8
    assert "there is no profile 'crafte'" in result.stderr
    assert len(result.stderr.splitlines()) == 2, "nobody complains of a closed pipe"


def test_each_line_is_asked_and_the_server_is_gone(cli: Cli) -> None:
    result = example(cli, "ask_each_line.py", "crafted", stdin="one\ntwo\n")
    assert result.code == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2
    assert all(result.stdout.splitlines())
    assert cli("ps", "--json").json["data"]["servers"] == []


def test_a_server_that_was_there_stays(cli: Cli) -> None:
    assert cli("run", "crafted", "-dq").code == 0
    assert example(cli, "ask_each_line.py", "crafted", stdin="one\n").code == 0
    assert cli("stop", "crafted").code == 0
    failed = example(cli, "ask_each_line.py", "nope")
    assert failed.code == 1
    assert "there is no profile 'nope'" in failed.stderr


def test_the_first_that_fits_is_served(cli: Cli) -> None:
    huge = cli.profiles / "huge.yaml"
    huge.write_text((cli.profiles / "crafted.yaml").read_text("utf-8"), encoding="utf-8")
    running = Serving(cli, "first-that-fits.sh", "huge", "crafted", "--", "--parallel", "1")
    assert running.server()["model"] == "huge"
    code, _, _ = running.interrupt()
    assert code == 130


def test_what_does_not_fit_is_passed_over(cli: Cli) -> None:
    cli.env["LLMTP_MARGIN"] = "900TiB"
    result = example(cli, "first-that-fits.sh", "crafted", "crafted")
    assert result.code == 4
    assert result.stderr.count("first-that-fits: crafted does not fit") == 2
    missing = example(cli, "first-that-fits.sh", "nope", "crafted")
    assert missing.code == 8


@pytest.mark.parametrize(("least", "n_max"), [("0.01", 2), ("99", 0)])
def test_the_drafter_stays_where_it_pays(cli: Cli, least: str, n_max: int) -> None:
    """As it stands there, but for the minute that it measures."""
    text = (FOLDER / "faster-or-off.sh").read_text(encoding="utf-8")
    assert text.count(" --budget 60 ") == 1
    script = cli.folder / "faster-or-off.sh"
    script.write_text(text.replace(" --budget 60 ", " --budget 1 "), encoding="utf-8")
    script.chmod(0o755)
    running = Serving(cli, script, "crafted", least)
    assert running.process.stdout is not None
    while not running.process.stdout.readline().startswith("ready in"):  # behind the bench's table
        assert running.process.poll() is None, running.process.communicate()
    server = running.server()
    assert server["n_max"] == n_max
    assert chat(server["url"])["choices"]
    assert running.interrupt()[0] == 130


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments_are_one_line(cli: Cli, name: str) -> None:
    result = example(cli, name)
    assert result.code != 0
    assert len(result.stderr.splitlines()) == 1
    assert "usage: " in result.stderr
    assert result.stdout == ""


def test_outside_of_a_repository_there_is_no_message(cli: Cli) -> None:
    env = {"GIT_CEILING_DIRECTORIES": str(cli.folder.parent)}
    cli.env |= env
    result = example(cli, "commit-message.sh", "crafted")
    assert (result.code, result.stdout) == (128, "")
    assert "not a git repository" in result.stderr


def test_a_server_that_does_not_start_is_told(cli: Cli) -> None:
    result = example(cli, "watch_acceptance.py", "nope", "0.4")
    assert result.code == 8
    assert "there is no profile 'nope'" in result.stderr


def test_few_right_drafts_are_told(cli: Cli) -> None:
    running = Serving(cli, "watch_acceptance.py", "crafted", "1.1")
    server = running.server()
    chat(server["url"])
    assert running.process.stdout is not None
    lines = [running.process.stdout.readline() for _ in range(2)]
    assert lines[0] == f"ready at {server['url']}\n"
    assert re.fullmatch(r"only \d+% of the drafts are right: llmtp top\n", lines[1])
    assert cli("stop").code == 0
    out, err = running.process.communicate(timeout=WAIT_S)
    assert (running.process.returncode, err) == (0, "")
    assert re.fullmatch(r"(only \d+% of the drafts are right: llmtp top\n)*", out)


def test_the_first_screen_of_the_readme_is_all_that_a_beginner_needs(cli: Cli) -> None:
    """The first run, the first script and the first measurement, typed as they stand there."""
    readme = (FOLDER.parent.parent / "README.md").read_text(encoding="utf-8")
    block = readme.split("```sh\n", 1)[1].split("```", 1)[0]
    assert readme.index(block) < 2500, "it is on the first screen"
    lines = block.replace(". .venv/bin/activate\n", "set -eu\n")
    lines = lines.replace("bench demo ", "bench demo --budget 1 ")
    done = subprocess.run(
        ["bash", "-c", lines], env=paths(cli), cwd=cli.folder, capture_output=True, text=True,
        timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for said in ("run it: llmtp run", "def add(", '"choices"', "tokens/s"):
        assert said in done.stdout, said
    assert cli("ps", "--json").json["data"]["servers"] == []
