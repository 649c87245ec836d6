"""What was read once: remembered while the file is the same, and never trusted further."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from edit import U32, edit
from harness import Cli

from llmtp.gguf.model import ModelFacts
from llmtp.hub.local import load_facts


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "llmtp" / "headers"


def settle(path: Path) -> None:
    """Date a file back: what changed a moment ago is not remembered."""
    os.utime(path, (1_700_000_000, 1_700_000_000))


def hollow_copy(source: Path, target: Path) -> None:
    """Copy a header, and leave the rest a hole."""
    with source.open("rb") as header, target.open("wb") as file:
        file.write(header.read(1 << 24))
        file.truncate(source.stat().st_size)


def test_facts_survive_being_remembered(cache: Path, real_size: list[Path]) -> None:
    for path in real_size:
        read = load_facts(path)
        assert isinstance(read, ModelFacts)
        assert load_facts(path) == read
    assert len(list(cache.iterdir())) == 2
    assert cache.stat().st_mode & 0o777 == 0o700


def test_a_remembered_header_is_not_read(cli: Cli, real_size: list[Path], tmp_path: Path) -> None:
    """Once it is known, the content may even be gone: path, size, time and inode tell."""
    copy = tmp_path / "copy.gguf"
    hollow_copy(real_size[1], copy)
    settle(copy)
    first = cli("check", real_size[0], copy, "--json").json["data"]
    with copy.open("r+b") as file:
        file.write(b"XXXX")
    settle(copy)
    assert cli("check", real_size[0], copy, "--json").json["data"] == first


@pytest.mark.parametrize("change", ["time", "size", "inode"])
def test_another_file_is_read_again(
    cli: Cli, real_size: list[Path], tmp_path: Path, change: str
) -> None:
    copy = tmp_path / "copy.gguf"
    hollow_copy(real_size[1], copy)
    settle(copy)
    assert cli("check", real_size[0], copy).code == 0
    if change == "time":
        os.utime(copy)
    elif change == "size":
        with copy.open("ab") as file:
            file.write(b"\0")
        settle(copy)
    else:
        copy.rename(tmp_path / "old.gguf")
        hollow_copy(tmp_path / "old.gguf", copy)
        settle(copy)
    with copy.open("r+b") as file:
        stat = copy.stat()
        file.write(b"XXXX")
        file.flush()
        os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cli("check", real_size[0], copy).code == 5


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"version": "0", "identity": "", "facts": {}}',
        "\0",
        None,
        "a list as text",
    ],
)
def test_a_damaged_record_is_as_good_as_none(
    cache: Path, real_size: list[Path], record: str | None
) -> None:
    read = load_facts(real_size[1])
    (file,) = cache.iterdir()
    whole = json.loads(file.read_text())
    if record is None:
        whole["facts"]["text"]["n_layers"] = {"not": "a number"}
        del whole["facts"]["text"]["width"]
        record = json.dumps(whole)
    elif record == "a list as text":
        whole["facts"]["text"] = ["no", "mapping"]
        record = json.dumps(whole)
    file.write_text(record)
    assert load_facts(real_size[1]) == read
    assert json.loads(file.read_text())["facts"]["text"]["width"] == read.shape.width


def test_a_cache_that_cannot_be_written_is_none(
    cli: Cli, real_size: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = cli("check", *real_size, env={"XDG_CACHE_HOME": str(tmp_path / "file")})
    assert (result.code, result.stderr) == (0, "")


def test_small_and_fresh_files_are_not_remembered(
    cache: Path, crafted: Path, real_size: list[Path], tmp_path: Path
) -> None:
    load_facts(crafted / "crafted.gguf")
    copy = tmp_path / "copy.gguf"
    hollow_copy(real_size[1], copy)
    soon = time.time() + 60  # as fresh as can be, however long it is read
    os.utime(copy, (soon, soon))
    load_facts(copy)
    assert not cache.exists()


def test_a_change_behind_the_clock_is_seen(cli: Cli, crafted: Path, tmp_path: Path) -> None:
    """A small file is always read: nothing can be stale."""
    copy = tmp_path / "crafted.gguf"
    shutil.copyfile(crafted / "crafted.gguf", copy)
    assert cli("check", copy, crafted / "mtp-crafted.gguf").code == 0
    edit(copy, lambda parts: parts.set("gemma4.attention.sliding_window", U32, 64))
    assert "sliding window" in cli("check", copy, crafted / "mtp-crafted.gguf").stderr
