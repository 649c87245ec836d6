"""Every mistake gets one clear line, its own exit code, and leaves nothing running."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from builders import gguf, make_huge_main, tensor, text_entry
from harness import Cli, Result, assert_one_clear_line


def assert_refused(cli: Cli, code: int, words: str, *args: str | Path) -> None:
    """`run` and its JSON form fail alike."""
    assert_one_clear_line(cli("run", *args, "--ask", "x"), code, words)
    last = cli("run", *args, "--json").lines[-1]
    assert (last["event"], last["exit_code"]) == ("exit", code)
    assert words in str(last["findings"])


def test_swapped(cli: Cli, crafted: Path) -> None:
    """One answer has a JSON form of its own."""
    args = (crafted / "mtp-crafted.gguf", "--draft", crafted / "crafted.gguf")
    assert_refused(cli, 3, "swapped", *args)
    body = cli("run", *args, "--ask", "x", "--json").json
    assert (body["exit_code"], body["ok"], body["command"]) == (3, False, "run")
    assert "swapped" in str(body["findings"])


def test_a_drafter_alone(cli: Cli, crafted: Path) -> None:
    assert_refused(cli, 3, "is an MTP drafter", crafted / "mtp-crafted.gguf")


def test_a_main_model_as_drafter(cli: Cli, crafted: Path) -> None:
    assert_refused(
        cli, 3, "is a main model", crafted / "crafted.gguf", "--draft", crafted / "crafted.gguf"
    )


def test_another_architecture(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(
        gguf([text_entry("general.architecture", "qwen3")], [tensor("t", (8,))], data=bytes(32))
    )
    assert_refused(cli, 3, "is a qwen3 model", tmp_path / "m.gguf")


def test_a_safetensors_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert_refused(cli, 3, "safetensors", tmp_path / "model")


def test_a_missing_file(cli: Cli, crafted: Path) -> None:
    assert_refused(cli, 8, "did you mean 'crafted.gguf'", crafted / "craftd.gguf")


def test_a_missing_drafter(cli: Cli, crafted: Path) -> None:
    assert_refused(cli, 8, "there is no file", "crafted", "--draft", crafted / "none.gguf")


def test_no_drafter_anywhere(cli: Cli, crafted: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.gguf"
    alone.write_bytes((crafted / "crafted.gguf").read_bytes())
    assert_refused(cli, 8, "--draft off", alone)
    assert cli("run", alone, "--draft", "off", "--ask", "x").code == 0


def test_an_empty_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    assert_refused(cli, 5, "is empty", tmp_path / "m.gguf")


def test_a_truncated_file(cli: Cli, crafted: Path, tmp_path: Path) -> None:
    whole = (crafted / "crafted.gguf").read_bytes()
    for share in (3, 2):
        (tmp_path / "m.gguf").write_bytes(whole[: len(whole) // share])
        assert_refused(cli, 5, "bytes are missing", tmp_path / "m.gguf")


def test_no_gguf_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"\x1b[31mPK zip")
    assert_refused(cli, 5, "not a GGUF file", tmp_path / "m.gguf")


def test_a_directory(cli: Cli, tmp_path: Path) -> None:
    assert_refused(cli, 5, "is a directory", tmp_path)


def test_an_unknown_profile_offers_near_names(cli: Cli) -> None:
    assert_refused(cli, 8, "did you mean 'demo'", "dmeo")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("main: x.gguf\ndarft: y.gguf\n", "bad.yaml:2: darft: unknown field; did you mean 'draft'"),
        ("main: x.gguf\n\nn_max: 99\n", "bad.yaml:3: n_max: is '99'"),
        ("main: x.gguf\nn_max: yes\n", "bad.yaml:2: n_max"),
        ("main: [x\n", "bad.yaml:2: not valid YAML"),
        ("draft: y.gguf\n", "bad.yaml:1: main: is missing"),
        ("- main\n", "bad.yaml:1: is list"),
        ("main: !!python/object/apply:os.system [ls]\n", "bad.yaml:1: not valid YAML"),
    ],
)
def test_an_invalid_profile_names_file_line_and_field(cli: Cli, content: str, words: str) -> None:
    (cli.profiles / "bad.yaml").write_text(content, encoding="utf-8")
    assert_one_clear_line(cli("run", "bad", "--ask", "x"), 2, words)


def test_an_invalid_config_names_file_line_and_field(cli: Cli) -> None:
    cli.env.pop("LLMTP_ENGINE", None)
    file = cli.profiles.with_name("config.yaml")
    file.write_text("# mine\nengin: x\n", encoding="utf-8")
    assert_refused(cli, 2, "config.yaml:2: engin: unknown field; did you mean 'engine'", "crafted")


def test_a_taken_port(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert_refused(cli, 2, "is taken", "crafted", "--port", str(taken.getsockname()[1]))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_an_open_host_needs_a_key(cli: Cli, host: str) -> None:
    assert_refused(cli, 2, "there is no key", "crafted", "--host", host)


def test_a_key_file_that_is_none(cli: Cli, tmp_path: Path) -> None:
    assert_refused(cli, 2, "is not a file", "crafted", "--api-key-file", tmp_path / "none")
    for content in ("# only a comment\n", "abc\r\n", " abc\n", "k\u00e9y\n"):
        (tmp_path / "key").write_text(content, newline="")
        result = cli("run", "crafted", "--ask", "x", "--api-key-file", tmp_path / "key")
        assert_one_clear_line(result, 2, "has no key")


@pytest.mark.parametrize("engine", ["/nowhere/llama-server", "/etc/passwd", "no-such-program"])
def test_an_engine_that_is_no_program(cli: Cli, engine: str) -> None:
    assert_refused(cli, 9, "is not an executable program", "crafted", "--engine", engine)


def test_an_engine_that_is_another_program(cli: Cli) -> None:
    assert_refused(cli, 9, "is not a llama-server", "crafted", "--engine", "/bin/ls")


def test_a_model_that_is_larger_than_memory(cli: Cli, tmp_path: Path) -> None:
    huge = tmp_path / "huge.gguf"
    make_huge_main(huge, 4 << 40)
    assert_refused(cli, 4, "TiB are missing", huge, "--draft", "off")


def test_a_margin_that_nothing_can_keep(cli: Cli) -> None:
    assert_refused(cli, 4, "are missing", "crafted", "--margin", "900TiB")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--ctx", "many"),
        ("--ctx", "0"),
        ("--ctx", "9999999"),
        ("--n-max", "17"),
        ("--n-max", "-1"),
        ("--margin", "much"),
        ("--parallel", "0"),
        ("--kv-type", "q9"),
        ("--port", "70000"),
        ("--temp", "-1"),
    ],
)
def test_impossible_values(cli: Cli, option: str, value: str) -> None:
    result = cli("run", "crafted", "--ask", "x", option, value, "--json")
    assert (result.code, result.json["exit_code"]) == (2, 2)
    assert result.stderr == ""


def test_questions_that_are_none(cli: Cli) -> None:
    assert_one_clear_line(cli("run", "crafted", "--ask", " "), 2, "nothing to ask")
    assert_one_clear_line(cli("run", "crafted", "--ask", "-", stdin=""), 2, "nothing to ask")


def test_a_prompt_that_does_not_fit(cli: Cli) -> None:
    result = cli("run", "crafted", "--ask", "-", "--ctx", "256", stdin="many words " * 500)
    assert_one_clear_line(result, 2, "refuses the prompt")


def test_words_that_nobody_asked_for(cli: Cli) -> None:
    assert_one_clear_line(cli("run", "crafted", "surplus"), 2, "unexpected argument 'surplus'")
    both = cli("run", "crafted", "surplus", "--", "-t", "1")
    assert_one_clear_line(both, 2, "unexpected argument 'surplus'")


def test_hub_references_say_what_to_do(cli: Cli) -> None:
    assert_refused(cli, 8, "llmtp pull", "hf:owner/repo:Q4_K_M", "--offline")


def test_a_mistyped_command_is_near_another(cli: Cli) -> None:
    assert_one_clear_line(cli("runn"), 2, "no command 'runn'; did you mean 'run'", "llmtp --help")
    assert_one_clear_line(cli("xyzzy"), 2, "No such command 'xyzzy'")


def test_completion_that_cannot_be_installed_is_one_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    shells = {"HOME": str(tmp_path / "file"), "SHELL": "/bin/bash"}
    done = subprocess.run(
        ["bash", "-c", f"{cli.program} --install-completion; exit $?"], env=cli.env | shells,
        capture_output=True, text=True,
    )  # fmt: skip
    result = Result(done.returncode, done.stdout, done.stderr)
    assert_one_clear_line(result, 2, "completion cannot be installed", "--show-completion")


def test_a_question_of_any_bytes_is_asked(cli: Cli) -> None:
    done = subprocess.run(
        [os.fsencode(cli.program), b"run", b"crafted", b"--ask", b"\xff?", b"-q"],
        env=cli.env, cwd=cli.folder, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
