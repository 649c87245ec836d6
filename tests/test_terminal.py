"""Terminals, pipes and streams as they come, and names and values from outside."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import make_pair
from harness import WAIT_S, Cli, Result, assert_one_clear_line

ESCAPES = "a\nb\x1b[31mred\x1b]0;title\x07"


def shell(cli: Cli, line: str, **env: str) -> Result:
    """Run `llmtp ...` inside a shell line, for its redirections; the code is llmtp's own."""
    done = subprocess.run(
        ["bash", "-c", f"llmtp() {{ '{cli.program}' \"$@\"; }}; {line}"],
        env=cli.env | env, cwd=cli.folder, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("llmtp check crafted --json >&-", 0),
        ("llmtp ps >&-", 0),
        ("llmtp check nope 2>&-", 8),
        ("llmtp check crafted --json | true; exit ${PIPESTATUS[0]}", 0),
        ("llmtp plan crafted | head -1; exit ${PIPESTATUS[0]}", 0),
        ("llmtp --help | true; exit ${PIPESTATUS[0]}", 0),
        ("llmtp run crafted --json | head -1; exit ${PIPESTATUS[0]}", 0),
        ("llmtp run crafted --ask - <&-", 2),
        ("llmtp check crafted >/dev/full", 2),
        ("llmtp --help >/dev/full", 2),
        ("llmtp check crafted --json >/dev/full", 2),
        ("llmtp run crafted --ask x >/dev/full", 2),
    ],
)
def test_streams_that_are_closed_or_full(cli: Cli, line: str, code: int) -> None:
    result = shell(cli, line)
    assert result.code == code, result.stderr
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr
    assert "ResourceWarning" not in result.stderr
    assert ("stdout cannot be written" in result.stderr) == ("/dev/full" in line)


def test_an_ascii_terminal_gets_question_marks_not_a_crash(cli: Cli) -> None:
    result = cli("plan", "crafted", env={"PYTHONIOENCODING": "ascii"})
    assert result.code == 0
    assert result.stdout.isascii()
    assert "all layers on the CPU" in result.stdout


def test_names_of_files_bring_no_escapes_to_the_terminal(cli: Cli, tmp_path: Path) -> None:
    main, draft = make_pair(tmp_path)
    evil = main.rename(tmp_path / f"{ESCAPES}.gguf")
    commands: list[list[str | Path]] = [["check", evil, draft], ["plan", evil, "--draft", draft],
                    ["run", evil, "--draft", draft, "--ask", "x"],
                    ["check", draft, evil], ["check", evil, evil],
                    ["run", evil, "--draft", draft, "--dry-run"]]  # fmt: skip
    for command in commands:
        result = cli(*command)
        assert "\x1b" not in result.stdout + result.stderr
        assert "\x07" not in result.stdout + result.stderr
    line = result.stdout.strip()
    helped = subprocess.run(
        ["bash", "-c", f'set -- {line}; printf %s "$*"'], capture_output=True, text=True
    )
    assert str(evil) in helped.stdout


@pytest.mark.parametrize("columns", ["40", "60", "200"])
def test_tables_fit(cli: Cli, columns: str) -> None:
    lines = cli("check", "crafted", env={"COLUMNS": columns}).stdout.splitlines()
    assert max(map(len, lines)) <= max(int(columns), 60)


def test_colours_only_where_they_are_wanted(cli: Cli) -> None:
    assert "\x1b[" not in cli("check", "nope").stderr
    assert "\x1b[31m" in cli("check", "nope", env={"FORCE_COLOR": "1"}).stderr
    both = cli("check", "nope", env={"FORCE_COLOR": "1", "NO_COLOR": "1"})
    assert "\x1b[" not in both.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["check", "a" * 5000], 8),
        (["check", "a" * 5000 + ".gguf"], 8),
        (["check", "~nosuchuser/x.gguf"], 8),
        (["check", ""], 2),
        (["plan", "crafted", "--engine", "a" * 5000], 9),
        (["plan", "crafted", "--engine", "~nosuchuser/x"], 9),
        (["plan", "crafted", "--n-max", "²"], 2),
        (["plan", "crafted", "--n-max", "9" * 5000], 2),
        (["plan", "crafted", "--ctx", "9" * 5000], 2),
        (["plan", "crafted", "--margin", "9" * 400], 2),
        (["plan", "crafted", "--vram", ""], 2),
        (["plan", "crafted", "--kv-type", "q4_0"], 2),
        (["run", "crafted", "--ask", "x", "--temp", "nan"], 2),
        (["run", "crafted", "--ask", "x", "--host", "127.0.0.1:80"], 2),
        (["run", "crafted", "--ask", "x", "--host", ""], 2),
        (["run", "crafted", "--ask", "x", "--", "--version"], 2),
        (["check", "crafted", "off"], 2),
        (["check"], 2),
        (["nope"], 2),
    ],
    ids=lambda value: str(value)[:60],
)
def test_odd_values_are_one_line_with_a_fix(cli: Cli, arguments: list[str], code: int) -> None:
    result = cli(*arguments)
    assert_one_clear_line(result, code, "→")
    assert len(result.stderr) < 1500


@pytest.mark.parametrize(
    "content",
    ["n_max: 2024-99-99\n", f"n_max: {'9' * 5000}\n", f"main: {'[' * 3000}\n", "main: a\nmain: b\n",
     'main: "a\\0b.gguf"\n', "main: ~nosuchuser/x.gguf\n"],
    ids=["date", "digits", "deep", "twice", "null", "user"],
)  # fmt: skip
def test_odd_profiles_are_one_line(cli: Cli, content: str) -> None:
    (cli.profiles / "odd.yaml").write_text(content, encoding="utf-8")
    result = cli("check", "odd")
    assert result.code in (2, 8)
    assert_one_clear_line(result, result.code, "→")


def test_files_that_never_end_are_not_read(cli: Cli, tmp_path: Path) -> None:
    pipe = tmp_path / "mtp-pipe.gguf"
    subprocess.run(["mkfifo", str(pipe)], check=True)
    for path in (pipe, Path("/dev/zero"), Path("/dev/null")):
        assert_one_clear_line(cli("check", path), 5, "not a regular file")
    assert_one_clear_line(
        cli("run", "crafted", "--ask", "x", "--api-key-file", "/dev/zero"), 2, "is not a file"
    )
    main, _ = make_pair(tmp_path)
    assert cli("check", main).code == 0


def test_bad_neighbours_do_not_hide_the_right_drafter(cli: Cli, tmp_path: Path) -> None:
    main, draft = make_pair(tmp_path)
    right = draft.rename(tmp_path / "mtp-z.gguf")
    (tmp_path / "mtp-a.gguf").write_bytes(right.read_bytes()[:1000])
    (tmp_path / "mtp-b.gguf").mkdir()
    (tmp_path / "mtp-c.gguf").symlink_to(tmp_path / "nothing")
    assert cli("check", main, "--json").json["data"]["draft"]["path"] == str(right)
    right.unlink()
    assert_one_clear_line(cli("check", main), 8, "mtp-a.gguf, mtp-b.gguf, mtp-c.gguf", "--draft")


def test_a_link_to_a_main_model_finds_the_drafter_of_its_target(cli: Cli, tmp_path: Path) -> None:
    main, _ = make_pair(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.gguf"
    link.symlink_to(main)
    assert cli("check", link).code == 0


def test_a_key_that_cannot_be_written(cli: Cli) -> None:
    result = cli("run", "crafted", "--ask", "x", "--make-key", env={"XDG_STATE_HOME": "/proc"})
    assert_one_clear_line(result, 2, "--make-key cannot write")


TABLES = [
    ["check", "demo"], ["plan", "demo"], ["plan", "gemma-4-31b", "--vram", "24GiB", "--offline"],
    ["doctor"], ["profiles"], ["profiles", "show", "gemma-4-12b"], ["config"], ["ps"],
    ["top", "--once"],
]  # fmt: skip


COLOUR = re.compile(r"\x1b\[[0-9;]*[349][0-7]m")
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def assert_fits(printed: str, command: list[str], columns: int) -> None:
    """Nothing that is aligned is wider. Sentences are left to the terminal to fold, and what is to
    be copied, as paths are; in a pipe ps keeps a line for each server."""
    lines = [line for line in printed.splitlines() if "/" not in line and line[:1] != "•"]
    rows = [line for line in lines if re.search(r"\S {2,}\S", line)]
    rows = [line for line in rows if not re.match(r"  (pass|warn|fail)  [\w-]+: ", line)]
    if command != ["ps"]:
        assert lines
        assert max(map(len, rows), default=0) <= columns, max(rows, key=len)


@pytest.fixture(params=TABLES, ids=" ".join)
def table(cli: Cli, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """A command that prints one, and a server for those that look at servers."""
    command: list[str] = request.param
    looks = command[0] in ("ps", "top")
    assert not looks or cli("run", "crafted", "-dq").code == 0
    yield command
    assert not looks or cli("stop", "-q").code == 0


def test_tables_in_terminals_of_every_kind(cli: Cli, table: list[str]) -> None:
    """Of any width, with colours only where they are wanted, and the same words in ASCII."""
    plain = cli(*table, env={"COLUMNS": "80"})
    assert "\x1b" not in plain.stdout
    assert_fits(plain.stdout, table, 80)
    forced = cli(*table, env={"COLUMNS": "200", "FORCE_COLOR": "1"}).stdout
    if table[0] in ("check", "plan", "doctor", "top"):
        assert COLOUR.search(forced)
    assert_fits(STYLE.sub("", forced), table, 200)
    narrow = {"COLUMNS": "40", "FORCE_COLOR": "1", "NO_COLOR": "1"}
    refused = cli(*table, env=narrow).stdout
    assert not COLOUR.search(refused)
    assert_fits(STYLE.sub("", refused), table, 40)
    ascii = cli(*table, env={"COLUMNS": "80", "PYTHONIOENCODING": "ascii"})
    assert (ascii.stdout + ascii.stderr).isascii()
    assert ascii.stdout.count("?") == plain.stdout.count("?")


@pytest.mark.parametrize("columns", ["0", "", "x", "9" * 5000])
def test_a_terminal_that_does_not_say_its_width_is_told_all(cli: Cli, columns: str) -> None:
    result = cli("plan", "demo", env={"COLUMNS": columns})
    assert "nothing is given up" in result.stdout
    assert cli("config", env={"COLUMNS": columns}).stdout.startswith("engine ")


def test_an_ascii_terminal_shows_bars_arrows_and_dots(cli: Cli) -> None:
    plain = {"PYTHONIOENCODING": "ascii"}
    assert "-> type the name" in cli("check", "nope", env=plain).stderr
    plan = cli("plan", "demo", env=plain).stdout
    assert re.search(r"^RAM  [#%+:x/.]{20,}$", plan, re.MULTILINE)
    assert "\n* nothing is given up" in plan


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "utf-16"])
def test_every_encoding_gets_what_it_has(cli: Cli, encoding: str) -> None:
    done = subprocess.run(
        [str(cli.program), "plan", "demo"], env=cli.env | {"PYTHONIOENCODING": encoding},
        cwd=cli.folder, capture_output=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0
    assert "nothing is given up" in done.stdout.decode(encoding)
