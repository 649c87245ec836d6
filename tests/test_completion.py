"""TAB in real shells: commands, names of profiles, files that are here, and servers."""

from __future__ import annotations

import functools
import os
import pty
import subprocess
import threading
from pathlib import Path

import pytest
from harness import WAIT_S, Cli

BASH = """
source /dev/stdin <<< "$SCRIPT"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_llmtp_completion llmtp
printf '%s\\n' "${COMPREPLY[@]}"
"""
FISH = "_LLMTP_COMPLETE=source_fish llmtp | source; complete -C $argv[1]"
ZSH = """
autoload -U compinit && compinit -D -u && eval "$(_LLMTP_COMPLETE=source_zsh llmtp)"
zstyle ':completion:*' list-separator '--'
PS1='ready> '
"""


@functools.cache
def script(program: Path, name: str) -> str:
    """What a shell is to read before it knows of us, made once."""
    env = os.environ | {"_LLMTP_COMPLETE": f"source_{name}"}
    done = subprocess.run([program], env=env, capture_output=True, text=True, check=True)
    return done.stdout


def shell(cli: Cli, *argv: str) -> list[str]:
    """Lines that a shell prints, which finds llmtp on its PATH."""
    env = cli.env | {
        "PATH": f"{cli.program.parent}:{cli.env['PATH']}", "SCRIPT": script(cli.program, "bash")
    }  # fmt: skip
    done = subprocess.run(
        argv, env=env, cwd=cli.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=WAIT_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split("\n")[:-1]


def tab(cli: Cli, *words: str) -> list[str]:
    """What bash is offered for the last word."""
    return [one for one in shell(cli, "bash", "-c", BASH, "bash", "llmtp", *words) if one]


def test_commands(cli: Cli) -> None:
    assert tab(cli, "b") == ["bench", "bug-report"]
    listing = cli("--help").stdout.split("Commands:")[1]
    names = [line.split()[0] for line in listing.splitlines() if line.startswith("  ")]
    assert tab(cli, "") == names
    assert tab(cli, "config", "") == ["show", "validate", "path"]


def test_options_and_their_values(cli: Cli) -> None:
    assert tab(cli, "run", "--dr") == ["--dry-run", "--draft"]
    assert tab(cli, "export", "--to", "s") == ["sh", "systemd"]
    assert tab(cli, "plan", "--kv-type", "q8") == ["q8_0"]
    assert tab(cli, "plan", "--draft", "a") == ["auto"]


def test_profiles_and_files(cli: Cli) -> None:
    (cli.folder / "a-model.gguf").touch()
    (cli.folder / "a-note.txt").touch()
    (cli.folder / "models" / "deep").mkdir(parents=True)
    (cli.folder / "models" / "deep" / "one.gguf").touch()
    (cli.folder / "models" / "deep" / "two.GGUF").touch()
    for command in ("run", "plan", "check", "bench", "tune", "export", "pull"):
        offered = tab(cli, command, "")
        assert {"crafted", "a-model.gguf"} <= set(offered)
        assert "a-note.txt" not in offered
    assert tab(cli, "run", "cr") == ["crafted"]
    assert tab(cli, "run", "a") == ["a-model.gguf"]
    assert tab(cli, "run", "mod") == ["models/deep/one.gguf", "models/deep/two.GGUF"]
    assert tab(cli, "run", "models/deep/o") == ["models/deep/one.gguf"]
    assert {"demo", "gemma-4-12b", "crafted", "a-model.gguf", "models/"} <= set(tab(cli, "run", ""))
    assert tab(cli, "run", "/nowhere/") == []
    assert tab(cli, "profiles", "show", "gemma-4-1") == ["gemma-4-12b"]
    assert tab(cli, "run", f"{cli.folder}/a-m") == [f"{cli.folder}/a-model.gguf"]
    (cli.home / "mine.gguf").touch()
    assert tab(cli, "run", "~/mi") == ["~/mine.gguf"]


def test_names_that_a_shell_would_read_otherwise_are_not_offered(cli: Cli) -> None:
    """Shells put what they are offered into the line as it is."""
    for name in ("x$(touch pwned).gguf", "x`id`.gguf", "x y.gguf", "x;y.gguf", "x\ny.gguf",
                 "x\x1b[31m.gguf", "x'.gguf", "x&.gguf", "xé.gguf", "--engine=x.gguf"):  # fmt: skip
        (cli.folder / name).touch()
    assert tab(cli, "run", "x") == ["xé.gguf"]
    for number in range(300):
        (cli.folder / f"m{number:03}.txt").touch()
    assert tab(cli, "run", "x") == ["xé.gguf"], "however many files come before it"
    assert "--engine=x.gguf" not in tab(cli, "run", "")
    assert tab(cli, "run", "./--e") == ["./--engine=x.gguf"]


def test_servers(cli: Cli) -> None:
    assert tab(cli, "stop", "") == []
    assert cli("run", "crafted", "--detach", "-q").code == 0
    for command in ("stop", "top", "logs", "wait", "env", "bug-report"):
        assert tab(cli, command, "c") == ["crafted"]
    assert cli("stop", "crafted").code == 0
    assert tab(cli, "stop", "c") == []
    assert tab(cli, "logs", "c") == ["crafted"]


def test_a_broken_home_is_told_nowhere(cli: Cli, tmp_path: Path) -> None:
    """A traceback would stand in the line that is typed."""
    config = cli.profiles.with_name("config.yaml")
    config.write_text("hots: x\n", encoding="utf-8")
    (cli.profiles / "bad.yaml").write_text("[", encoding="utf-8")
    assert tab(cli, "run", "bad") == ["bad"]
    cli.env["XDG_STATE_HOME"] = str(tmp_path / "none")
    assert tab(cli, "stop", "") == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_scripts_come_from_llmtp(cli: Cli, name: str) -> None:
    said = cli("--version", env={"_LLMTP_COMPLETE": f"source_{name}"}).stdout
    assert f"_LLMTP_COMPLETE=complete_{name}" in said
    assert said == script(cli.program, name)


@pytest.mark.shells
def test_fish(cli: Cli) -> None:
    def offered(line: str) -> list[str]:
        return [one.partition("\t")[0] for one in shell(cli, "fish", "-N", "-c", FISH, line)]

    assert offered("llmtp run cr") == ["crafted"]
    assert offered("llmtp b") == ["bench", "bug-report"]
    (cli.folder / "a-model.gguf").touch()
    assert offered("llmtp run a-") == ["a-model.gguf"]
    assert offered("llmtp export --to s") == ["sh", "systemd"]


@pytest.mark.shells
def test_zsh(cli: Cli) -> None:
    """It has no way to ask what it would complete but a terminal."""
    (cli.folder / "a-model.gguf").touch()
    env = cli.env | {
        "PATH": f"{cli.program.parent}:{cli.env['PATH']}", "TERM": "dumb",
        "ZDOTDIR": str(cli.folder),
    }  # fmt: skip
    (cli.folder / ".zshrc").write_text(ZSH)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        ["zsh", "-i"], env=env, cwd=cli.folder, stdin=follower, stdout=follower,
        stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    timer = threading.Timer(WAIT_S, process.kill)
    timer.start()
    screen = ""

    def read_until(text: str) -> None:
        nonlocal screen
        while text not in screen:
            screen += os.read(leader, 1 << 16).decode("utf-8", "replace")

    try:
        read_until("ready> ")
        for typed, completed in (
            ("llmtp check cr", "check crafted"),
            ("llmtp plan a-", "plan a-model.gguf"),
            ("llmtp bug", "llmtp bug-report"),
        ):
            screen = ""
            os.write(leader, f"{typed}\t".encode())
            read_until(completed)
            assert completed in screen
            os.write(leader, b"\x15")  # the line is empty again
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        os.close(leader)
