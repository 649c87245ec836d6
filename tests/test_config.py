"""Defaults: who sets them, who goes before whom, and what is said of a wrong one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, Repo, fake_hub
from harness import Cli, Result, assert_one_clear_line
from make_real_size import make_real_size_pair

SETTINGS = ["engine", "host", "cache", "margin", "quant"]


def write(cli: Cli, text: str) -> Path:
    """The user's config.yaml."""
    file = cli.profiles.with_name("config.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def shown(cli: Cli, **env: str) -> dict[str, dict[str, Any]]:
    """The settings of `config show`, by name."""
    result = cli("config", "show", "--json", env=env)
    assert result.code == 0, result.stdout
    rows = result.json["data"]["settings"]
    assert [row["name"] for row in rows] == SETTINGS
    return {row["name"]: row for row in rows}


def said(row: dict[str, Any]) -> tuple[str | None, str]:
    return row["value"], row["origin"]


def test_without_a_file_everything_is_the_default(cli: Cli) -> None:
    rows = shown(cli)
    for name in ("host", "margin", "quant"):
        assert said(rows[name]) == (None, "default")
    assert rows["host"]["default"] == "127.0.0.1"
    assert rows["cache"]["variable"] == "LLMTP_CACHE"
    text = cli("config").stdout
    assert text.splitlines()[-1].endswith("config.yaml (not there: all settings are optional)")


def test_each_value_comes_from_where_it_says(cli: Cli, tmp_path: Path) -> None:
    file = write(
        cli, f"# mine\nhost: 127.0.0.2\nmargin: 512MiB\ncache: {tmp_path}/models\nquant: Q6_K\n"
    )
    rows = shown(cli, LLMTP_QUANT="Q8_0")
    assert said(rows["host"]) == ("127.0.0.2", f"{file}:2")
    assert said(rows["margin"]) == ("512MiB", f"{file}:3")
    assert said(rows["cache"]) == (f"{tmp_path}/models", f"{file}:4")
    assert said(rows["quant"]) == ("Q8_0", "LLMTP_QUANT")
    wide = {"LLMTP_QUANT": "Q8_0", "COLUMNS": "200"}
    lines = cli("config", env=wide).stdout.splitlines()
    assert [line.split()[-1] for line in lines[1:5]] == [
        "config.yaml:2", "config.yaml:4", "config.yaml:3", "LLMTP_QUANT",
    ]  # fmt: skip
    assert cli("config", "path").stdout == f"{file}\n"
    valid = cli("config", "validate", "--json").json["data"]
    assert set(valid["settings"]) == {"host", "margin", "cache", "quant"}


def test_the_cache_of_huggingface_hub_is_named_by_its_variable(cli: Cli, tmp_path: Path) -> None:
    cache = shown(cli, HF_HUB_CACHE=str(tmp_path))["cache"]
    assert said(cache) == (str(tmp_path), "HF_HUB_CACHE")
    cache = shown(cli, HF_HOME=str(tmp_path))["cache"]
    assert said(cache) == (f"{tmp_path}/hub", "HF_HOME")


def test_a_flag_goes_before_a_variable_and_that_before_the_file(cli: Cli) -> None:
    def host(*words: str, **env: str) -> str:
        argv = cli("run", "crafted", "--dry-run", "--json", *words, env=env).json["data"]["argv"]
        return str(argv[argv.index("--host") + 1])

    assert host() == "127.0.0.1"
    write(cli, "host: 127.0.0.2\n")
    assert host() == "127.0.0.2"
    assert host(LLMTP_HOST="127.0.0.3") == "127.0.0.3"
    assert host("--host", "127.0.0.4", LLMTP_HOST="127.0.0.3") == "127.0.0.4"


def test_a_margin_is_left_free(cli: Cli) -> None:
    def margin(*words: str, **env: str) -> int:
        args = ("plan", "crafted", "--vram", "4GiB", "--json", *words)
        return int(cli(*args, env=env).json["data"]["margin_bytes"])

    assert margin() == 256 << 20
    write(cli, "margin: 300MiB\n")
    assert margin() == 300 << 20
    assert margin(LLMTP_MARGIN="1GiB") == 1 << 30
    assert margin("--margin", "2GiB", LLMTP_MARGIN="1GiB") == 2 << 30


def test_the_cache_is_where_it_is_said_to_be(cli: Cli, tmp_path: Path) -> None:
    def place(**env: str) -> str:
        return cli("list", env=env).stdout.splitlines()[-1]

    write(cli, f"cache: {tmp_path}/one\n")
    assert f" in {tmp_path}/one;" in place(HF_HUB_CACHE=str(tmp_path / "hf"))
    assert f" in {tmp_path}/two;" in place(LLMTP_CACHE=f"{tmp_path}/two")
    write(cli, "cache: ~/models\n")
    assert f" in {cli.home}/models;" in place()


def test_a_host_for_others_needs_a_key_wherever_it_comes_from(cli: Cli) -> None:
    write(cli, "host: 0.0.0.0\n")
    result = cli("run", "crafted", "--ask", "x")
    assert_one_clear_line(result, 2, "0.0.0.0 lets other machines in", "--make-key")


READERS = [["config"], ["config", "validate"], ["plan", "crafted"], ["list"]]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("hots: x\n", 1, ["hots: unknown field; did you mean 'host'?", "one of cache, engine"]),
        ("host: 127.0.0.1\nhost: 127.0.0.2\n", 2, ["is there twice"]),
        ("host: example.com\n", 1, ["host: is 'example.com'", "an IP address"]),
        ("\nmargin: much\n", 2, ["margin: is 'much'", "a size such as 512MiB"]),
        ("margin: 512\n", 1, ["margin: is int", "a size such as 512MiB"]),
        ("cache: models\n", 1, ["cache: is 'models'", "an absolute path"]),
        ("quant: 'Q8 0'\n", 1, ["quant: is 'Q8 0'", "a quant such as"]),
        ("quant: [Q8_0]\n", 1, ["quant: is list", "a quant such as"]),
        ("engine: ''\n", 1, ["engine: is ''", "a program or its path"]),
        ("host: &a 127.0.0.1\ncache: *a\n", 2, ["there are no aliases here"]),
        ("host: !!python/object:os.system x\n", 1, ["means nothing here"]),
        ("- host\n", 1, ["is list"]),
    ],
)
def test_a_wrong_file_is_one_clear_line_for_every_command(
    cli: Cli, text: str, line: int, words: list[str], soak: bool
) -> None:
    write(cli, text)
    for command in READERS if soak or text == "hots: x\n" else READERS[:1]:
        assert_one_clear_line(cli(*command), 2, f"config.yaml:{line}: ", *words)


@pytest.mark.parametrize(
    ("name", "value"),
    [("HOST", "example.com"), ("MARGIN", "much"), ("CACHE", "models"), ("QUANT", "Q8 0")],
)
def test_a_wrong_variable_is_one_clear_line(cli: Cli, name: str, value: str) -> None:
    result = cli("config", env={f"LLMTP_{name}": value})
    assert_one_clear_line(result, 2, f"LLMTP_{name} {value!r}", f"unset LLMTP_{name}")


def test_a_file_that_is_none_is_not_waited_for(cli: Cli) -> None:
    file = cli.profiles.with_name("config.yaml")
    os.mkfifo(file)
    for command in (["config"], ["check", "crafted"]):
        assert_one_clear_line(cli(*command), 2, "config.yaml is no file", "ls -ld")
    file.unlink()
    file.mkdir()
    assert_one_clear_line(cli("config"), 2, "config.yaml is no file")


def test_doctor_tells_of_both_and_goes_on(cli: Cli) -> None:
    write(cli, "hots: x\n")
    env = {"LLMTP_CACHE": "models", "LLMTP_MARGN": "1GiB"}
    checks = {one["id"]: one for one in cli("doctor", "--json", env=env).json["data"]["checks"]}
    assert "did you mean 'host'" in checks["config"]["summary"]
    assert (checks["variable"]["status"], checks["variable"]["fix"]) == (
        "fail",
        "unset LLMTP_CACHE",
    )
    assert "did you mean 'LLMTP_MARGIN'" in checks["unknown-variable"]["summary"]
    assert {"disk", "cache", "engine"} <= set(checks)


@pytest.fixture(scope="module")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The 12B's shape in two types, with holes for weights."""
    folder = tmp_path_factory.mktemp("hollow")
    made = {}
    for quant in ("Q8_0", "Q4_K"):
        (folder / quant).mkdir()
        made[quant] = make_real_size_pair(folder / quant, 0, quant, quant, whole=False)
    return made


@pytest.fixture
def hub(cli: Cli, hollow: dict[str, list[Path]], tmp_path: Path) -> Iterator[FakeHub]:
    """A release in two quants, and llmtp that asks there."""
    files = {
        "gemma-4-12b-it-Q8_0.gguf": hollow["Q8_0"][0],
        "gemma-4-12b-it-Q4_K_M.gguf": hollow["Q4_K"][0],
        "mtp-gemma-4-12b-it.gguf": hollow["Q8_0"][1],
    }
    with fake_hub() as running:
        running.repos = {"unsloth/gemma-4-12b-it-GGUF": Repo(files)}
        cli.env |= running.env() | {"HF_HOME": str(tmp_path / "hf")}
        yield running


@pytest.mark.usefixtures("hub")
def test_a_preferred_quant_is_taken_where_it_is_and_fits(cli: Cli) -> None:
    def plan(vram: str, *words: str) -> tuple[str, list[dict[str, Any]]]:
        args = ("plan", "gemma-4-12b", "--vram", vram, "--json", *words)
        body = cli(*args).json
        return Path(body["data"]["main"]).name[len("gemma-4-12b-it-") :], body["findings"]

    assert plan("24GiB") == ("Q8_0.gguf", [])
    write(cli, "quant: Q4_K_M\n")
    assert plan("24GiB") == ("Q4_K_M.gguf", [])
    assert plan("24GiB", "--quant", "Q8_0") == ("Q8_0.gguf", [])
    assert plan("24GiB", "--quant", "auto") == ("Q8_0.gguf", [])
    write(cli, "quant: Q5_K_M\n")
    name, (finding,) = plan("24GiB")
    assert (name, finding["rule"], finding["level"]) == ("Q8_0.gguf", "quant-passed-over", "info")
    assert "Q5_K_M is not used: there is no Q5_K_M of gemma-4-12b" in finding["message"]
    assert finding["fix"] == "see who prefers it: llmtp config show"
    write(cli, "quant: Q8_0\n")
    name, findings = plan("9500MiB")
    assert (name, findings[0]["rule"]) == ("Q4_K_M.gguf", "quant-passed-over")
    assert "the CPU" in findings[0]["message"]


@pytest.mark.usefixtures("hub")
def test_a_preference_hides_nothing_of_the_plan(cli: Cli) -> None:
    write(cli, "quant: Q4_K_M\n")
    data = cli("plan", "gemma-4-12b", "--vram", "24GiB", "--json").json["data"]
    rows = [(one["quant"], one["chosen"]) for one in data["alternatives"]]
    assert rows == [("Q8_0", False), ("Q4_K_M", True)]
    assert data["why"][0] == "Q4_K_M is preferred"


@pytest.mark.usefixtures("hub")
def test_check_takes_the_same_file_as_run(cli: Cli) -> None:
    write(cli, "quant: Q4_K_M\n")
    main = cli("check", "gemma-4-12b", "--json").json["data"]["main"]["path"]
    assert main.endswith("gemma-4-12b-it-Q4_K_M.gguf")
    write(cli, "quant: Q2_K\n")
    main = cli("check", "gemma-4-12b", "--json").json["data"]["main"]["path"]
    assert main.endswith("gemma-4-12b-it-Q8_0.gguf")


def test_a_preferred_quant_says_nothing_of_a_file(cli: Cli, crafted: Path) -> None:
    write(cli, "quant: Q4_K_M\n")
    for model in ("crafted", "demo", str(crafted / "crafted.gguf")):
        body = cli("plan", model, "--json").json
        assert body["exit_code"] == 0
        assert "quant-passed-over" not in {one["rule"] for one in body["findings"]}


def test_a_folder_that_is_hidden_from_us_is_one_clear_line(cli: Cli) -> None:
    """As sudo leaves it. Root may look anywhere, so that the child is somebody else."""
    folder = cli.profiles.parent
    folder.chmod(0)
    try:
        for command in (["config"], ["profiles"], ["list"], ["run", "demo", "--dry-run"]):
            done = subprocess.run(
                ["unshare", "--user", "--map-user=1000", str(cli.program), *command],
                env=cli.env, cwd=cli.folder, capture_output=True, text=True,
            )  # fmt: skip
            result = Result(done.returncode, done.stdout, done.stderr)
            assert_one_clear_line(result, 2, f"{folder} cannot be read", "sudo chown -R")
    finally:
        folder.chmod(0o700)
