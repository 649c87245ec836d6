"""What is half on this disk, damaged, hidden or oddly named, and what the next command does."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from downloads import REPO, Downloads, Pair, downloads, grown_pair, sha256, terminal
from fake_hub import Repo
from harness import Cli, assert_one_clear_line, wait_until
from test_shelf import without_privileges

#: The drafter's name carries the quant of the main model, too.
MAIN, DRAFT = "big-it-Q8_0.gguf", "MTP/big-it-MTP-Q8_0.gguf"
MODEL = f"hf:{REPO}:Q8_0"
HERE = 2_000_000


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, crafted: Path) -> Pair:
    return grown_pair(crafted, tmp_path_factory.mktemp("half"), 3 << 20, 100_000)


@pytest.fixture
def there(cli: Cli, small: Pair, tmp_path: Path) -> Iterator[Downloads]:
    with downloads(cli, small, tmp_path / "hf") as running:
        running.hub.repos[REPO] = Repo({MAIN: small.main, DRAFT: small.draft})
        yield running


@contextmanager
def interrupted(there: Downloads, *command: str) -> Iterator[str]:
    """A download that Ctrl-C ended when only the drafter was whole; what was said on stderr."""
    there.hub.hold_at = HERE
    with terminal(there.cli, list(command), 100, there.env) as running:
        wait_until(lambda: there.hub.waiting == 1 and len(pointers(there)) == 1)
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 130
    there.hub.release()
    there.hub.hold_at = None
    yield running.screen


def pointers(there: Downloads) -> list[Path]:
    return sorted(there.folder.glob(f"snapshots/{there.repo.commit}/**/*.gguf"))


def answer(there: Downloads, model: str, *args: str) -> str | None:
    """The file that answered, or None where there was no answer."""
    result = there.cli("run", model, "--ask", "x", "--json", *args, env=there.env)
    plan = there.cli("plan", model, "--offline", "--json", env=there.env)
    return str(plan.json["data"]["main"]) if result.code == 0 else None


@pytest.mark.parametrize("command", ["pull", "run"])
def test_an_interrupted_download_is_gone_on_with(there: Downloads, command: str) -> None:
    args = [command, MODEL, *(["--ask", "x"] if command == "run" else [])]
    with interrupted(there, *args) as said:
        assert " MiB are kept: the same command goes on from there" in said
    for again in (["check", MODEL], ["plan", MODEL]):
        assert there.cli(*again, env=there.env).code == 0
    offline = there.cli("run", MODEL, "--offline", "--ask", "x", env=there.env)
    assert_one_clear_line(offline, 8, "on this disk", "llmtp pull")
    assert answer(there, MODEL) is not None


def test_an_interrupted_update_leaves_the_old_pair_in_use(there: Downloads, tmp_path: Path) -> None:
    model = f"hf:{REPO}"
    assert there.cli("pull", model, env=there.env).code == 0
    old = there.repo.commit
    newer = {}
    for name, content in there.repo.files.items():
        newer[name] = tmp_path / Path(name).name
        newer[name].write_bytes(content.read_bytes() + b"newer")
    there.hub.repos[REPO] = Repo(newer, commit="d" * 40)
    with interrupted(there, "pull", model):
        pass
    unused = there.cli("list", "--unused", "--json", env=there.env).json["data"]["files"]
    assert unused == [], "neither the old pair nor what has come of the new one"
    used = answer(there, model, "--offline")
    assert used is not None
    assert old in used
    listed = there.cli("list", env=there.env).stdout
    assert "outdated commit dddddddd" in listed
    assert there.cli("pull", model, env=there.env).code == 0
    assert "d" * 40 in str(answer(there, model))


def test_only_a_drafter_here_is_no_main_model(there: Downloads) -> None:
    with interrupted(there, "pull", f"hf:{REPO}"):
        pass
    (there.folder / "refs").mkdir()
    (there.folder / "refs" / "main").write_text(there.repo.commit)  # as hf does at its first file
    for model in (f"hf:{REPO}", MODEL):
        result = there.cli("check", model, "--offline", env=there.env)
        assert_one_clear_line(result, 8, "a main model", "is not on this disk", "llmtp pull")


def test_a_copy_under_the_name_is_not_trusted(there: Downloads) -> None:
    assert there.cli("pull", MODEL, env=there.env).code == 0
    pointer = there.folder / "snapshots" / there.repo.commit / MAIN
    for change in ("damaged", "short", "foreign"):
        content = bytearray(pointer.read_bytes())
        pointer.unlink()
        if change == "damaged":
            content[2_000_000] ^= 1
            pointer.write_bytes(content)
        elif change == "short":
            pointer.write_bytes(content[:HERE])
        else:
            pointer.symlink_to(there.pair.draft)
        assert there.cli("pull", MODEL, env=there.env).code == 0, change
        assert pointer.is_symlink(), change
        assert sha256(pointer) == sha256(there.pair.main), change


def test_a_cache_without_links_is_used(there: Downloads) -> None:
    """As file systems without links have it: files under their names, and no blobs."""
    assert there.cli("pull", MODEL, env=there.env).code == 0
    for pointer in pointers(there):
        content = pointer.read_bytes()
        pointer.unlink()
        pointer.write_bytes(content)
    shutil.rmtree(there.folder / "blobs")
    again = there.cli("pull", MODEL, "--json", env=there.env)
    assert again.json["data"]["fetched_bytes"] == 0
    assert [sha256(p) for p in pointers(there)] == [sha256(there.pair.draft),
                                                   sha256(there.pair.main)]  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize(("quant", "by_flag"), [("8", True), ("it", False), ("gguf", True),
                                                ("big", False)])  # fmt: skip
def test_a_quant_is_no_word_of_the_name(
    there: Downloads, quant: str, by_flag: bool, soak: bool
) -> None:
    """Wherever it is named; in the long run each in both places."""
    for flag in (True, False) if soak else (by_flag,):
        args = [f"hf:{REPO}", "--quant", quant] if flag else [f"hf:{REPO}:{quant}"]
        result = there.cli("check", *args, env=there.env)
        assert_one_clear_line(result, 8, f"no GGUF model in {quant}", "expected one of Q8_0")


def test_words_are_understood_in_any_capitalisation(there: Downloads) -> None:
    for args in ([MODEL, "--quant", "q8_0"], [MODEL, "--draft", "OFF"], [MODEL, "--quant", "Auto"]):
        assert there.cli("plan", *args, env=there.env).code == 0


def test_ask_tells_of_the_download_on_stderr(there: Downloads) -> None:
    result = there.cli("run", MODEL, "--ask", "x", env=there.env)
    assert result.code == 0
    assert "5.9 MiB to download" in result.stderr
    assert f"downloaded {MAIN} + {Path(DRAFT).name}" in result.stderr
    assert "download" not in result.stdout


def test_what_was_here_is_checked_not_downloaded(there: Downloads) -> None:
    assert there.cli("pull", MODEL, env=there.env).code == 0
    again = there.cli("pull", MODEL, env=there.env).stderr
    assert f"checked {MAIN}" in again
    assert "download" not in again


def test_a_shared_drafter_stays_with_the_model_that_needs_it(there: Downloads) -> None:
    there.repo.files["big-it-Q4_K_M.gguf"] = there.pair.main
    other = f"hf:{REPO}:Q4_K_M"
    for model in (MODEL, other):
        assert there.cli("pull", model, env=there.env).code == 0
    first = there.cli("rm", MODEL, "--yes", "--json", env=there.env).json["data"]
    assert [file["file"] for file in first["removed"]] == [MAIN]
    assert answer(there, other, "--offline") is not None
    last = there.cli("rm", other, "--yes", "--json", env=there.env).json["data"]
    assert {file["file"] for file in last["removed"]} == {"big-it-Q4_K_M.gguf", DRAFT}


def test_a_cache_that_only_can_be_read_is_proved(there: Downloads) -> None:
    assert there.cli("pull", MODEL, env=there.env).code == 0
    for folder in [there.folder.parent, *there.folder.parent.rglob("*")]:
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o555)
    there.cli.env |= there.env
    result = without_privileges(there.cli, "pull", MODEL, "--offline")
    assert (result.code, "every sha256 is right" in result.stdout) == (0, True), result.stderr


def test_a_hidden_repository_hides_nothing_else(there: Downloads) -> None:
    assert there.cli("pull", MODEL, env=there.env).code == 0
    hidden = there.folder.parent / "models--some--body"
    hidden.mkdir(mode=0)
    there.cli.env |= there.env
    listed = without_privileges(there.cli, "list")
    assert (listed.code, MAIN in listed.stdout) == (0, True)
    for args in (["pull", "hf:some/body"], ["check", MODEL], ["rm", "hf:some/body", "--yes"]):
        result = without_privileges(there.cli, *args)
        assert result.code in (0, 5, 8)
        assert "bug" not in result.stderr


@pytest.mark.soak
@pytest.mark.parametrize("form", ["hidden", "file", "nowhere", "long"])
def test_a_cache_that_is_none(there: Downloads, tmp_path: Path, form: str, soak: bool) -> None:
    place = tmp_path / ("x" * 300 if form == "long" else form)
    if form == "hidden":
        place.mkdir(mode=0)
    elif form == "file":
        place.write_text("no folder")
    elif form == "nowhere":
        place.symlink_to(tmp_path / "unplugged")
    there.cli.env |= there.env | {"HF_HUB_CACHE": str(place)}
    commands = (["pull", MODEL], ["list"], ["check", MODEL, "--offline"])
    for args in commands if soak or form == "hidden" else commands[:1]:
        result = without_privileges(there.cli, *args)
        if form == "long" and args[0] != "pull":
            assert result.code in (0, 8)  # nothing is there
        else:
            assert_one_clear_line(result, 5, "LLMTP_CACHE")


def test_names_that_no_file_system_takes_are_not_looked_at(there: Downloads) -> None:
    there.repo.files[f"{'long-' * 60}Q8_0.gguf"] = there.pair.main
    result = there.cli("pull", f"hf:{REPO}", "--json", env=there.env)
    assert [file["file"] for file in result.json["data"]["files"]] == [MAIN, DRAFT]


def test_a_drafter_is_found_in_any_capitalisation(cli: Cli, small: Pair, tmp_path: Path) -> None:
    shutil.copy(small.main, tmp_path / "M-q8_0.GGUF")
    shutil.copy(small.draft, tmp_path / "MTP-m.Gguf")
    result = cli("check", tmp_path / "M-q8_0.GGUF", "--json")
    assert result.json["data"]["draft"]["path"].endswith("MTP-m.Gguf")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["pul"], ["no command 'pul'; did you mean 'pull'", "see llmtp --help"]),
        (["profiles", "show"], ["NAME", "see llmtp profiles show --help"]),
        (["run", "gemma-4-12b:q4_k_m"], ["no profile", "gemma-4-12b --quant Q4_K_M"]),
        (["run", "unsloth/gemma-4-12b-it-GGUF"], ["no file", "hf:unsloth/gemma-4-12b-it-GGUF"]),
        (["run", "crafted", "--draft", ""], ["--draft is empty"]),
    ],
    ids=lambda value: " ".join(value),
)  # fmt: skip
def test_the_next_command_exists(cli: Cli, args: list[str], words: list[str]) -> None:
    result = cli(*args)
    assert_one_clear_line(result, result.code, *words)
    assert result.code in (2, 8)
