"""`llmtp export`: what is written runs, wherever it is read."""

from __future__ import annotations

import configparser
import contextlib
import itertools
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from fake_hub import Repo, fake_hub
from harness import WAIT_S, Cli, assert_one_clear_line, chat, engine_that, http, wait_until

from llmtp.ports import free_port

FORMATS = ["sh", "systemd", "llama-swap", "preset-ini"]
ODD = 'it\'s 100% of $HOME "x" \\ é'


def export(cli: Cli, to: str, *words: str | Path, model: str | Path = "crafted") -> str:
    """The file; what is said on stderr is what to do with it."""
    result = cli("export", model, "--to", to, *words)
    assert result.code == 0, result.stderr
    assert result.stderr.startswith(("save it as ", "info: ")), result.stderr
    return result.stdout


@contextlib.contextmanager
def serving(cli: Cli, argv: Sequence[str], url: str, env: Mapping[str, str] = {}) -> Iterator[None]:
    """The command runs, until the block has ended, and answers at the URL."""
    with (cli.folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            argv,
            env=cli.env | dict(env),
            cwd=cli.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def is_ready() -> bool:
        assert process.poll() is None, (cli.folder / "server.log").read_text("utf-8", "replace")
        try:
            return bool(http(f"{url}/health")[1]["status"] == "ok")
        except OSError:
            return False

    try:
        wait_until(is_ready)
        yield
    finally:
        process.terminate()
        process.wait(WAIT_S)


def assert_drafts(url: str, **options: str) -> None:
    """An answer comes, and drafts stand in it."""
    answer = chat(url, max_tokens=24, **options)
    assert answer["choices"][0]["message"]["content"]
    assert answer["timings"]["draft_n"] > 0


@pytest.fixture
def odd(cli: Cli, crafted: Path) -> Path:
    """The main file of the pair in a folder with every character that somebody quotes."""
    folder = cli.folder / ODD
    shutil.copytree(crafted, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return folder / "crafted.gguf"


def test_the_script_is_the_server(cli: Cli, odd: Path) -> None:
    port = free_port()
    script = cli.folder / "serve.sh"
    text = export(cli, "sh", "--port", str(port), "--n-max", "2", model=odd)
    script.write_text(text, encoding="utf-8")
    argv = ["sh", str(script), "--alias", "mine"]
    with serving(cli, argv, f"http://127.0.0.1:{port}"):
        assert_drafts(f"http://127.0.0.1:{port}")
        _, models = http(f"http://127.0.0.1:{port}/v1/models")
        assert models["data"][0]["id"] == "mine"


def test_the_router_of_llama_server_drafts_with_the_preset(cli: Cli) -> None:
    """Without its spec-type the router would load the drafter and never use it."""
    port = free_port()
    text = export(cli, "preset-ini", "--n-max", "2")
    assert "\nspec-type = draft-mtp\n" in text
    file = cli.folder / "preset.ini"
    file.write_text(text, encoding="utf-8")
    parsed = configparser.ConfigParser(delimiters=("=",), comment_prefixes=(";",))
    parsed.optionxform = str  # type: ignore[assignment, method-assign]  # as it is documented
    parsed.read_string(text)
    assert parsed.sections() == ["crafted"]
    assert not {"port", "host", "verbosity"} & set(parsed["crafted"])
    line = next(one[2:] for one in text.splitlines() if "--models-preset" in one)
    argv = [*shlex.split(line), "--port", str(port)]
    with serving(cli, argv, f"http://127.0.0.1:{port}"):
        assert_drafts(f"http://127.0.0.1:{port}", model="crafted")


def test_the_entry_of_llama_swap_is_yaml_and_its_command_serves(cli: Cli, odd: Path) -> None:
    """llama-swap puts a port into the command, and splits it as a shell does."""
    text = export(cli, "llama-swap", "--n-max", "2", model=odd)
    whole = yaml.safe_load(text)
    assert list(whole) == ["models"]
    (entry,) = whole["models"].values()
    assert set(entry) <= {"cmd", "env"}
    port = free_port()
    argv = shlex.split(entry["cmd"].replace("${PORT}", str(port)))
    assert argv.count("--port") == argv.count("--host") == 1
    env = dict(one.split("=", 1) for one in entry.get("env", []))
    with serving(cli, argv, f"http://127.0.0.1:{port}", env):
        assert_drafts(f"http://127.0.0.1:{port}")


def unit_words(line: str) -> list[str]:
    """A line of a unit as systemd reads it (systemd.syntax, systemd.service)."""
    words = re.findall(r'"((?:\\.|[^"\\])*)"|(\S+)', line)
    read = (re.sub(r"\\(.)", r"\1", quoted or bare) for quoted, bare in words)
    return [word.replace("%%", "%").replace("$$", "$") for word in read]


def test_the_unit_starts_what_the_plan_says(cli: Cli, odd: Path) -> None:
    port = free_port()
    text = export(cli, "systemd", "--port", str(port), "--n-max", "2", model=odd)
    joined = text.replace("\\\n", "")
    fields = dict(line.split("=", 1) for line in joined.splitlines() if re.match(r"\w+=", line))
    assert (fields["Restart"], fields["WantedBy"]) == ("on-failure", "default.target")
    argv = unit_words(fields["ExecStart"])
    assert str(odd) in argv
    lines = [line.split("=", 1)[1] for line in joined.splitlines() if line[:12] == "Environment="]
    env = dict(word.split("=", 1) for line in lines for word in unit_words(line))
    assert env == cli("export", odd, "--to", "systemd", "--json").json["data"]["env"]
    with serving(cli, argv, f"http://127.0.0.1:{port}", env):
        assert_drafts(f"http://127.0.0.1:{port}")


@pytest.mark.systemd
@pytest.mark.parametrize("name", ["crafted", ODD])
def test_systemd_has_nothing_to_say_about_the_unit(cli: Cli, odd: Path, name: str) -> None:
    model = odd if name == ODD else "crafted"
    file = cli.folder / "llmtp-crafted.service"
    file.write_text(export(cli, "systemd", "--n-max", "2", model=model), encoding="utf-8")
    argv = ["systemd-analyze", "--user", "verify", str(file)]
    env = cli.env | {"XDG_RUNTIME_DIR": str(cli.folder)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=WAIT_S)
    ours = [line for line in done.stderr.splitlines() if "llmtp" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.parametrize("to", FORMATS)
def test_variables_that_the_engine_reads_as_flags_are_kept_from_it(cli: Cli, to: str) -> None:
    """And no file asks for a log that nobody reads."""
    result = cli("export", "crafted", "--to", to, env={"LLAMA_ARG_CTX_SIZE": "1"})
    unset = {
        "sh": "\nunset LLAMA_ARG_CTX_SIZE\n",
        "systemd": "\nUnsetEnvironment=LLAMA_ARG_CTX_SIZE\n",
        "llama-swap": "      env -uLLAMA_ARG_CTX_SIZE /",
        "preset-ini": "; env -u LLAMA_ARG_CTX_SIZE ",
    }
    assert unset[to] in result.stdout
    assert "verbosity" not in result.stdout


CONTROLS = ["\n", "\x1b", "\x85"]


@pytest.mark.soak
def test_a_name_with_control_characters_is_refused(cli: Cli, crafted: Path, soak: bool) -> None:
    """Each character and each format; in the long run each with each."""
    every = list(itertools.product(FORMATS, CONTROLS))
    for to, control in every if soak else zip(FORMATS, itertools.cycle(CONTROLS)):
        folder = cli.folder / f"a{control}b"
        if not folder.exists():
            shutil.copytree(crafted, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        result = cli("export", folder / "crafted.gguf", "--to", to)
        assert_one_clear_line(result, 2, "no file of settings can hold", "rename the file")


@pytest.mark.parametrize(
    ("to", "name", "word"),
    [
        ("preset-ini", "a;b", "no ; or #"),
        ("preset-ini", "a#b", "no ; or #"),
        ("llama-swap", "a${PORT}b", "for a macro"),
    ],
)
def test_a_name_that_the_format_has_no_form_for_is_refused(
    cli: Cli, crafted: Path, to: str, name: str, word: str
) -> None:
    folder = cli.folder / name
    shutil.copytree(crafted, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    result = cli("export", folder / "crafted.gguf", "--to", to)
    assert_one_clear_line(result, 2, word, "rename")


@pytest.mark.parametrize("to", ["llama-swap", "preset-ini"])
@pytest.mark.parametrize("option", ["--host", "--port", "--api-key-file"])
def test_who_has_its_own_address_takes_none(cli: Cli, to: str, option: str) -> None:
    value = {"--host": "127.0.0.1", "--port": "8081", "--api-key-file": "key"}[option]
    result = cli("export", "crafted", "--to", to, option, value)
    assert_one_clear_line(result, 2, f"{option} does not go with --to {to}", "leave it out")


def test_a_wider_host_needs_a_key_here_too(cli: Cli) -> None:
    result = cli("export", "crafted", "--to", "sh", "--host", "0.0.0.0")
    assert_one_clear_line(result, 2, "lets other machines in")


def test_flags_for_the_engine_come_along(cli: Cli) -> None:
    words = ("--", "--alias", "a b", "--no-warmup")
    text = export(cli, "preset-ini", *words)
    assert "\nalias = a b\nno-warmup = true\n" in text
    line = export(cli, "sh", *words).replace("\\\n", "")
    assert shlex.split(line, comments=True)[-4:-1] == ["--alias", "a b", "--no-warmup"]


def test_the_json_has_the_same_text(cli: Cli) -> None:
    body = cli("export", "crafted", "--to", "sh", "--json").json
    assert set(body["data"]) == {"to", "name", "text", "argv", "env"}
    assert body["data"]["text"] == cli("export", "crafted", "--to", "sh", "-q").stdout


def test_without_a_format_it_says_which_there_are(cli: Cli) -> None:
    result = cli("export", "crafted")
    assert_one_clear_line(result, 2, "--to")
    result = cli("export", "crafted", "--to", "docker")
    assert_one_clear_line(result, 2, *FORMATS)


def test_paths_that_were_typed_from_here_hold_anywhere(cli: Cli, crafted: Path) -> None:
    shutil.copytree(crafted, cli.folder / "pair", ignore=shutil.ignore_patterns("*.py", "__*"))
    engine_that(cli.folder)
    words = ("export", "pair/crafted.gguf", "--draft", "pair/mtp-crafted.gguf", "--to")
    for to in ("sh", "systemd", "llama-swap"):
        data = cli(*words, to, "--engine", "./bent/llama-server", "--json").json["data"]
        for file in ("pair/crafted.gguf", "pair/mtp-crafted.gguf", "bent/llama-server"):
            assert f"{cli.folder}/{file}" in data["argv"], to
            assert f"{cli.folder}/{file}" in data["text"], to


def test_what_is_not_here_is_named_as_it_is_pulled(cli: Cli, tmp_path: Path, crafted: Path) -> None:
    with fake_hub() as hub:
        hub.repos = {"a/b-GGUF": Repo({"m-Q8_0.gguf": crafted / "crafted.gguf"})}
        env = hub.env() | {"HF_HOME": str(tmp_path / "hf")}
        words = ("export", "hf:a/b-GGUF", "--to", "sh", "--quant", "Q8_0", "--draft", "off")
        result = cli(*words, env=env)
    assert "warning: the files are not on this disk yet" in result.stderr
    assert "llmtp pull hf:a/b-GGUF --quant Q8_0 --draft off" in result.stderr


def test_a_name_beyond_the_plane_of_most_letters_is_yaml(cli: Cli, crafted: Path) -> None:
    folder = cli.folder / "one"
    shutil.copytree(crafted, folder, ignore=shutil.ignore_patterns("*.py", "__*"))
    (folder / "crafted.gguf").rename(folder / "😀.gguf")
    text = export(cli, "llama-swap", model=folder / "😀.gguf")
    assert list(yaml.safe_load(text)["models"]) == ["😀"]
    refused = cli("export", folder / "😀.gguf", "--to", "sh", env={"PYTHONIOENCODING": "ascii"})
    assert_one_clear_line(refused, 2, "stdout cannot hold", "PYTHONIOENCODING=utf-8")
    assert refused.stdout == ""


def test_a_backslash_at_the_end_of_a_name_takes_in_no_line(cli: Cli, crafted: Path) -> None:
    folder = cli.folder / "one"
    shutil.copytree(crafted, folder, ignore=shutil.ignore_patterns("*.py", "__*"))
    (folder / "crafted.gguf").rename(folder / "a\\.gguf")
    text = export(cli, "systemd", model=folder / "a\\.gguf")
    assert "\nDescription=llama-server with a/\n" in text


@pytest.mark.parametrize("name", ["*", "default"])
def test_sections_that_mean_something_to_the_router_are_refused(
    cli: Cli, crafted: Path, name: str
) -> None:
    folder = cli.folder / "one"
    shutil.copytree(crafted, folder, ignore=shutil.ignore_patterns("*.py", "__*"))
    (folder / "crafted.gguf").rename(folder / f"{name}.gguf")
    result = cli("export", folder / f"{name}.gguf", "--to", "preset-ini")
    assert_one_clear_line(result, 2, "has no form for", "none of *, default")


def test_a_flag_that_comes_twice_is_lost_in_no_preset(cli: Cli) -> None:
    words = ("--", "--lora", "a.gguf", "--lora", "b.gguf")
    result = cli("export", "crafted", "--to", "preset-ini", *words)
    assert "a preset file has no form for --lora b.gguf" in result.stderr
    assert (result.code, result.stdout) == (2, "")


def test_only_names_that_the_engine_reads_are_taken_away(cli: Cli) -> None:
    odd = {"LLAMA_ARG_X;touch pwned": "1", "LLAMA_ARG_Y\nz": "1", "LLAMA_ARG_PORT": "1"}
    text = cli("export", "crafted", "--to", "sh", env=odd).stdout
    assert "\nunset LLAMA_ARG_PORT\n" in text
    assert "touch" not in text


def test_a_wide_host_is_laid_to_who_named_it(cli: Cli) -> None:
    result = cli("export", "crafted", "--to", "sh", env={"LLMTP_HOST": "0.0.0.0"})
    assert_one_clear_line(result, 2, "LLMTP_HOST 0.0.0.0 lets other machines in", "--api-key-file")


@pytest.mark.parametrize("to", FORMATS)
def test_a_name_like_an_option_is_a_file(cli: Cli, crafted: Path, to: str) -> None:
    shutil.copy(crafted / "crafted.gguf", cli.folder / "-x.gguf")
    words = ("export", "./-x.gguf", "--draft", "off", "--to", to)
    text = cli(*words).stdout
    assert f"{cli.folder}/-x.gguf" in text
    assert "true" not in text.replace("metrics = true", "").replace("credentials = true", "")


def test_what_is_no_flag_goes_to_no_engine(cli: Cli) -> None:
    for command in (["export", "crafted", "--to", "sh"], ["run", "crafted", "--dry-run"]):
        result = cli(*command, "--", "bogus")
        assert_one_clear_line(result, 2, "'bogus' is no flag of llama-server", "leave out bogus")
