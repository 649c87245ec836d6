"""What is on disk, and deleting it: `llmtp list` and `llmtp rm` on caches real and hostile."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import gguf, make_pair, text_entry
from edit import U32, load
from fake_hub import FakeHub, Repo, fake_hub
from harness import WAIT_S, Cli, Result, assert_one_clear_line, wait_until
from make_crafted_pair import Shape
from mmproj import make_mmproj
from test_gguf_reader import split_part

A, B = "llmtp/crafted-GGUF", "other/copy-GGUF"
MAIN, DRAFT = "crafted-it-F32.gguf", "MTP/crafted-it-F32-MTP.gguf"
OLD, NEW = "c" * 40, "d" * 40
PART = f"{'ab' * 32}.llmtp.incomplete"
KEYS = {"repository", "commit", "file", "path", "kind", "quant", "file_bytes", "outdated",
        "pairs_with", "used_by", "used_at"}  # fmt: skip


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as running:
        yield running


@pytest.fixture
def alone(cli: Cli, hub: FakeHub, tmp_path: Path) -> Cli:
    """llmtp with an empty cache of the Hub, talking to ours."""
    cli.env |= hub.env() | {"HF_HOME": str(tmp_path / "hf")}
    return cli


def cache(cli: Cli) -> Path:
    return Path(cli.env["HF_HOME"]) / "hub"


def folder(cli: Cli, repo: str) -> Path:
    return cache(cli) / f"models--{repo.replace('/', '--')}"


def put(
    cli: Cli, repo: str, files: dict[str, Path | bytes], commit: str = OLD, ref: str | None = "main"
) -> Path:
    """Files as `hf download` leaves them; the folder of the commit."""
    place = folder(cli, repo)
    snapshot = place / "snapshots" / commit
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        blob = place / "blobs" / hashlib.sha256(data).hexdigest()
        pointer = snapshot / name
        for parent in (blob.parent, pointer.parent):
            parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    if ref:
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / ref).write_text(commit, encoding="utf-8")
    return snapshot


def put_partial(cli: Cli, repo: str) -> Path:
    part = folder(cli, repo) / "blobs" / PART
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(bytes(12345))
    part.with_suffix(".etag").write_text('"x"', encoding="ascii")
    return part


def publish(hub: FakeHub, crafted: Path, repo: str = A, **kept: Any) -> None:
    hub.repos[repo] = Repo(
        {MAIN: crafted / "crafted.gguf", DRAFT: crafted / "mtp-crafted.gguf"}, **kept
    )


def pull(cli: Cli, *args: str) -> None:
    result = cli("pull", *args)
    assert result.code == 0, result.stderr


def shelf(cli: Cli, *args: str) -> dict[str, dict[str, Any]]:
    """Files by OWNER/REPO/FILE, the last of equal ones; every listing is sound."""
    result = cli("list", *args, "--json")
    assert result.code == 0, result.stdout
    data = result.json["data"]
    assert set(data) == {"files", "total_bytes", "free_bytes"}
    assert data["free_bytes"] > 0
    assert all(set(file) == KEYS for file in data["files"])
    return {f"{file['repository']}/{file['file']}": file for file in data["files"]}


def names(cli: Cli, *args: str) -> list[str]:
    return [file["file"] for file in cli("list", *args, "--json").json["data"]["files"]]


def remove(cli: Cli, *args: str | Path) -> tuple[list[str], int]:
    """What `rm` says it deleted, and how much that freed."""
    result = cli("rm", *args, "--yes", "--json")
    assert result.code == 0, result.stdout
    data = result.json["data"]
    assert set(data) == {"removed", "freed_bytes"}
    assert all(set(file) == KEYS for file in data["removed"])
    return [file["file"] for file in data["removed"]], data["freed_bytes"]


def tree(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def without_privileges(cli: Cli, *args: str) -> Result:
    """Also root obeys the modes of folders here."""
    drop = "import ctypes, os, sys; [ctypes.CDLL(None).prctl(24, n, 0, 0, 0) for n in (1, 2)]; "
    done = subprocess.run(
        [sys.executable, "-c", f"{drop}os.execv(sys.argv[1], sys.argv[1:])", cli.program, *args],
        env=cli.env, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def answer(cli: Cli, typed: bytes, *args: str) -> Result:
    """Run on a terminal where that is typed."""
    master, slave = pty.openpty()
    os.write(master, typed)
    try:
        done = subprocess.run(
            [str(cli.program), *args],
            env=cli.env, stdin=slave, capture_output=True, text=True, timeout=WAIT_S,
        )  # fmt: skip
    finally:
        os.close(slave)
        os.close(master)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_cache(alone: Cli, there: bool) -> None:
    if there:
        cache(alone).mkdir(parents=True)
    assert shelf(alone) == {}
    assert alone("list").stdout.startswith("0 files, 0 MiB (0 unused) in ")
    assert remove(alone, "--unused") == ([], 0)
    assert_one_clear_line(alone("rm", "gemma-4-12b", "--yes"), 8, "nothing of gemma-4-12b")
    assert cache(alone).exists() is there


def test_what_was_pulled_is_listed_with_its_pair_and_its_use(
    alone: Cli, hub: FakeHub, crafted: Path
) -> None:
    publish(hub, crafted)
    pull(alone, f"hf:{A}")
    pull(alone, f"hf:{A}:F32")
    result = alone("list", "--json")
    data = result.json["data"]
    assert (result.json["command"], result.code, result.json["findings"]) == ("list", 0, [])
    main, draft = data["files"]
    sizes = [(crafted / name).stat().st_size for name in ("crafted.gguf", "mtp-crafted.gguf")]
    assert [main["file_bytes"], draft["file_bytes"]] == sizes
    assert data["total_bytes"] == sum(sizes)
    assert (main["file"], main["kind"], main["quant"]) == (MAIN, "main", "F32")
    assert (draft["file"], draft["kind"], draft["commit"]) == (DRAFT, "assistant", OLD)
    assert main["pairs_with"] == [draft["path"]]
    assert draft["pairs_with"] == [main["path"]]
    assert main["used_by"] == draft["used_by"] == [f"hf:{A}:F32", f"hf:{A}"]
    assert names(alone, "--unused") == []
    text = alone("list").stdout
    for words in (f"hf:{A}\n", f"used today by hf:{A}:F32, hf:{A}", f"fits {Path(DRAFT).name}"):
        assert words in text
    assert f"2 files, 2.8 MiB (0 unused) in {cache(alone)}; " in text


def test_a_drafter_of_another_repository_is_used_by_both(
    alone: Cli, hub: FakeHub, crafted: Path
) -> None:
    publish(hub, crafted)
    hub.repos[B] = Repo({MAIN: crafted / "crafted.gguf"})
    pull(alone, f"hf:{A}")
    pull(alone, f"hf:{B}", "--draft", f"hf:{A}")
    files = shelf(alone)
    assert files[f"{A}/{DRAFT}"]["used_by"] == [f"hf:{B}", f"hf:{A}"]
    assert files[f"{B}/{MAIN}"]["used_by"] == [f"hf:{B}"]
    asked = answer(alone, b"n\n", "rm", f"hf:{A}")
    assert f"{DRAFT}\n            used by hf:{B}\n" in asked.stderr
    assert f"used by hf:{A}" not in asked.stderr
    assert "delete 2 files and free 2.8 MiB? [y/N] nothing was deleted" in asked.stderr


def test_foreign_repositories_are_neither_listed_nor_deleted(alone: Cli, crafted: Path) -> None:
    qwen = gguf([text_entry("general.architecture", "qwen3")])
    put(alone, "Qwen/Qwen3-GGUF", {"qwen3-Q4_K_M.gguf": qwen, "cut.gguf": b"GGUF"})
    put(alone, "google/gemma-4-12B-it", {"model.safetensors": b"x" * 99, "config.json": b"{}"})
    for kind in ("datasets--a--b", "spaces--a--b"):
        (cache(alone) / kind / "snapshots" / OLD).mkdir(parents=True)
        shutil.copy(crafted / "crafted.gguf", cache(alone) / kind / "snapshots" / OLD)
    put(alone, A, {MAIN: crafted / "crafted.gguf", "README.md": b"hello"})
    before = tree(cache(alone))
    assert names(alone) == [MAIN]
    assert_one_clear_line(alone("rm", "hf:Qwen/Qwen3-GGUF", "--yes"), 8, "nothing of")
    assert tree(cache(alone)) == before
    assert remove(alone, "--unused")[0] == [MAIN]
    left = before - tree(cache(alone))
    assert {Path(path).name for path in left if ".locks" not in path} == {
        MAIN, hashlib.sha256((crafted / "crafted.gguf").read_bytes()).hexdigest(),
    }  # fmt: skip


def test_a_repository_goes_as_a_whole_and_comes_back(
    alone: Cli, hub: FakeHub, crafted: Path
) -> None:
    publish(hub, crafted)
    publish(hub, crafted, B)
    pull(alone, f"hf:{A}")
    pull(alone, f"hf:{B}")
    other = tree(folder(alone, B))
    _, freed = remove(alone, f"hf:{A}")
    assert freed == sum(path.stat().st_size for path in crafted.glob("*.gguf"))
    assert not folder(alone, A).exists()
    assert tree(folder(alone, B)) == other
    assert {file["repository"] for file in shelf(alone).values()} == {B}
    pull(alone, f"hf:{A}")
    assert shelf(alone)[f"{A}/{MAIN}"]["used_by"] == [f"hf:{A}"]


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        ([f"hf:{A}"], [MAIN, "x-BF16.gguf", DRAFT]),
        ([f"hf:{A}:F32"], [MAIN, DRAFT]),
        ([f"hf:{A}:bf16"], ["x-BF16.gguf"]),
        ([f"hf:{A}@main"], [MAIN, "x-BF16.gguf", DRAFT]),
        ([f"hf:{A}@{OLD}"], [MAIN, "x-BF16.gguf", DRAFT]),
        ([MAIN], [MAIN]),
        ([DRAFT], [DRAFT]),
        ([Path(DRAFT).name, MAIN, MAIN], [MAIN, DRAFT]),
        (["mine"], ["x-BF16.gguf", DRAFT]),
        (["yours"], [MAIN, DRAFT]),
        (["MINE"], ["x-BF16.gguf", DRAFT]),
    ],
    ids=str,
)
def test_what_can_be_named(alone: Cli, crafted: Path, what: list[str], gone: list[str]) -> None:
    source = f'sources: [{{repository: {A}, main: "x-*", draft: "MTP/*", quants: [BF16]}}]\n'
    (alone.profiles / "mine.yaml").write_text(source, encoding="utf-8")
    (alone.profiles / "yours.yaml").write_text(f"main: hf:{A}:F32\n", encoding="utf-8")
    put(alone, A, {MAIN: crafted / "crafted.gguf", DRAFT: crafted / "mtp-crafted.gguf",
                   "x-BF16.gguf": crafted / "crafted.gguf"})  # fmt: skip
    assert sorted(remove(alone, *what)[0]) == sorted(gone)
    assert sorted([*names(alone), *gone]) == sorted([MAIN, "x-BF16.gguf", DRAFT])


@pytest.mark.parametrize("form", ["absolute", "relative", "linked"])
def test_a_file_is_named_by_its_path(alone: Cli, crafted: Path, tmp_path: Path, form: str) -> None:
    path = put(alone, A, {MAIN: crafted / "crafted.gguf"}) / MAIN
    (tmp_path / "link").symlink_to(path.parent)
    forms = {"absolute": path, "relative": path.relative_to(tmp_path),
             "linked": tmp_path / "link" / MAIN}  # fmt: skip
    assert remove(alone, forms[form])[0] == [MAIN]


def test_a_model_is_named_as_it_was_used(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    """What it used last goes, and not all that the profile speaks of."""
    source = f'sources: [{{repository: {A}, main: "*it-*", draft: "MTP/*", quants: [F32, BF16]}}]\n'
    (alone.profiles / "mine.yaml").write_text(source, encoding="utf-8")
    publish(hub, crafted)
    pull(alone, "mine")
    put(alone, A, {"it-BF16.gguf": crafted / "crafted.gguf"})
    assert shelf(alone)[f"{A}/{MAIN}"]["used_by"] == ["mine"]
    removed, freed = remove(alone, "mine")
    assert removed == [MAIN, DRAFT]
    assert freed == (crafted / "mtp-crafted.gguf").stat().st_size, (
        "the other name needs the content"
    )
    assert names(alone) == ["it-BF16.gguf"]


def test_an_unknown_name_has_near_ones(alone: Cli, crafted: Path) -> None:
    put(alone, A, {MAIN: crafted / "crafted.gguf"})
    for wrong, near in (("crafted-it-F31.gguf", repr(MAIN)),
                        ("hf:llmtp/crafted-GGUFF", f"'hf:{A}'"), (A, f"'hf:{A}'"),
                        (f"hf:{A}@{NEW}", "hf:"), ("", "llmtp list"),
                        ("z" * 5000, "llmtp list")):  # fmt: skip
        assert_one_clear_line(alone("rm", MAIN, wrong, "--yes"), 8, "nothing of", near)
    assert names(alone) == [MAIN]


@pytest.mark.parametrize("args", [[], [MAIN, "--unused"], [MAIN], ["--unused"], [MAIN, "--json"]])
def test_what_is_not_confirmed_stays(alone: Cli, crafted: Path, args: list[str]) -> None:
    put(alone, A, {MAIN: crafted / "crafted.gguf"})
    before = tree(cache(alone))
    result = alone("rm", *args, stdin="y\n")
    assert result.code == 2
    if "--json" in args:
        assert result.json["findings"][0]["rule"] == "confirm"
    else:
        assert_one_clear_line(result, 2, "→")
    assert tree(cache(alone)) == before


@pytest.mark.parametrize("typed", [b"n\n", b"\n", b"\x04", b"no, y\n", b"\xff\n"])
def test_only_a_yes_deletes(alone: Cli, crafted: Path, typed: bytes) -> None:
    put(alone, A, {MAIN: crafted / "crafted.gguf"})
    result = answer(alone, typed, "rm", MAIN)
    assert (result.code, result.stdout) == (0, ""), result.stderr
    assert "delete 1 file and free 1.8 MiB? [y/N] nothing was deleted" in result.stderr
    assert names(alone) == [MAIN]


@pytest.mark.parametrize("typed", [b"y\n", b" YES \n"])
def test_a_yes_deletes(alone: Cli, crafted: Path, typed: bytes) -> None:
    put(alone, A, {MAIN: crafted / "crafted.gguf"})
    result = answer(alone, typed, "rm", MAIN)
    assert (result.code, result.stdout) == (0, "freed 1.8 MiB\n"), result.stderr
    assert not folder(alone, A).exists()


def test_commits_share_contents(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    """Counted once, deleted with the last name; the commit that was left behind is unused."""
    publish(hub, crafted)
    pull(alone, f"hf:{A}")
    hub.repos[A].commit = NEW
    pull(alone, f"hf:{A}")
    files = alone("list", "--json").json["data"]
    assert files["total_bytes"] == sum(path.stat().st_size for path in crafted.glob("*.gguf"))
    state = [(file["commit"], file["outdated"], file["used_by"]) for file in files["files"]]
    assert state == 2 * [(OLD, True, []), (NEW, False, [f"hf:{A}"])]
    asked = answer(alone, b"n\n", "rm", "--unused")
    assert "delete 2 files and free 0 MiB?" in asked.stderr
    assert remove(alone, "--unused") == ([MAIN, DRAFT], 0)
    assert not (folder(alone, A) / "snapshots" / OLD).exists()
    assert alone("check", f"hf:{A}").code == 0
    assert {file["commit"] for file in shelf(alone).values()} == {NEW}


def test_two_commits_at_once(alone: Cli, crafted: Path) -> None:
    for commit in (OLD, NEW):
        put(alone, A, {MAIN: crafted / "crafted.gguf"}, commit)
    assert remove(alone, MAIN) == ([MAIN, MAIN], (crafted / "crafted.gguf").stat().st_size)
    assert not folder(alone, A).exists()


def test_one_content_under_two_names(alone: Cli, crafted: Path) -> None:
    snapshot = put(
        alone, A, {MAIN: crafted / "crafted.gguf", "copy-it.gguf": crafted / "crafted.gguf"}
    )
    assert remove(alone, MAIN) == ([MAIN], 0)
    assert (snapshot / "copy-it.gguf").stat().st_size == (crafted / "crafted.gguf").stat().st_size


def test_a_commit_that_was_asked_for_is_not_outdated(
    alone: Cli, hub: FakeHub, crafted: Path
) -> None:
    publish(hub, crafted)
    pull(alone, f"hf:{A}@{OLD}")
    assert shelf(alone)[f"{A}/{MAIN}"]["outdated"] is False
    remove(alone, f"hf:{A}@{OLD}")
    assert not folder(alone, A).exists()


def test_the_cache_of_another_program(alone: Cli, crafted: Path) -> None:
    """Without links, without refs, with a dash in the name, with links to nothing."""
    name = "a/b--c"
    snapshot = put(alone, name, {MAIN: crafted / "crafted.gguf"}, ref=None)
    (snapshot / MAIN).unlink()
    shutil.copy(crafted / "crafted.gguf", snapshot / MAIN)
    next((folder(alone, name) / "blobs").iterdir()).unlink()
    (snapshot / "gone-it.gguf").symlink_to("../../blobs/gone")
    (snapshot / "loop-it.gguf").symlink_to("loop-it.gguf")
    assert list(shelf(alone)) == [f"{name}/{MAIN}"]
    assert shelf(alone)[f"{name}/{MAIN}"]["outdated"] is False
    assert remove(alone, f"hf:{name}") == ([MAIN], (crafted / "crafted.gguf").stat().st_size)
    assert not folder(alone, name).exists()


@pytest.mark.parametrize("missing", [None, 1, 2, 3])
def test_the_parts_of_a_model_go_together(
    alone: Cli, crafted: Path, tmp_path: Path, missing: int | None
) -> None:
    first = load(crafted / "crafted.gguf")
    first.set("split.no", U32, 0)
    first.set("split.count", U32, 3)
    first.write(tmp_path / "first")
    made = [(tmp_path / "first").read_bytes(), *(split_part(n, 3, f"t{n}") for n in (1, 2))]
    parts: dict[str, Path | bytes] = {
        f"Q4_K_M/m-it-Q4_K_M-{n:05}-of-00003.gguf": part
        for n, part in enumerate(made, 1)
        if n != missing
    }
    put(alone, A, {MAIN: crafted / "crafted.gguf", **parts})
    size = sum(len(part) for n, part in enumerate(made, 1) if n != missing)
    files = shelf(alone)
    assert set(files) == {f"{A}/{MAIN}", f"{A}/{next(iter(parts))}"}
    split = files[f"{A}/{next(iter(parts))}"]
    assert (split["kind"], split["file_bytes"]) == ("broken" if missing else "main", size)
    assert remove(alone, Path(list(parts)[-1]).name) == ([split["file"]], size)
    assert not list(folder(alone, A).rglob("*of-00003*"))
    assert names(alone) == [MAIN]


@pytest.mark.parametrize("damage", [b"", b"GGUF", b"<html>", b"half"])
def test_damaged_files_are_broken(alone: Cli, crafted: Path, damage: bytes) -> None:
    content = (crafted / "crafted.gguf").read_bytes()
    cut = content[: len(content) // 2] if damage == b"half" else damage
    put(alone, A, {MAIN: cut, DRAFT: crafted / "mtp-crafted.gguf"})
    put(alone, "x/gemma-4-12b-it-GGUF", {"it-Q8_0.gguf": cut})
    put(alone, "x/other-GGUF", {"it-Q8_0.gguf": cut + b"another"})
    kinds = {name: file["kind"] for name, file in shelf(alone).items()}
    assert kinds == {f"{A}/{DRAFT}": "assistant", f"{A}/{MAIN}": "broken",
                     "x/gemma-4-12b-it-GGUF/it-Q8_0.gguf": "broken"}  # fmt: skip
    assert shelf(alone)[f"{A}/{DRAFT}"]["pairs_with"] == []
    remove(alone, "--unused")
    assert shelf(alone) == {}
    assert (folder(alone, "x/other-GGUF") / "snapshots" / OLD / "it-Q8_0.gguf").exists()


def test_a_file_that_was_damaged_after_its_use(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    """No header tells whose it was; the record of the pull does."""
    publish(hub, crafted)
    pull(alone, f"hf:{A}")
    for blob in (folder(alone, A) / "blobs").iterdir():
        blob.write_bytes(b"damaged")
    assert {file["kind"] for file in shelf(alone).values()} == {"broken"}
    assert names(alone, "--unused") == []


def test_pairs_are_those_that_fit(alone: Cli, crafted: Path, tmp_path: Path) -> None:
    wide, wide_draft = make_pair(tmp_path, Shape(width=160))
    projector = make_mmproj(tmp_path / "mm", 160)
    put(alone, A, {MAIN: crafted / "crafted.gguf", DRAFT: crafted / "mtp-crafted.gguf"})
    snapshot = put(alone, B, {"w-F32.gguf": wide, "mtp-w.gguf": wide_draft,
                              "mmproj-F16.gguf": projector})  # fmt: skip
    files = shelf(alone)
    assert files[f"{B}/w-F32.gguf"]["pairs_with"] == [str(snapshot / "mtp-w.gguf")]
    assert files[f"{B}/mtp-w.gguf"]["pairs_with"] == [str(snapshot / "w-F32.gguf")]
    assert files[f"{B}/mmproj-F16.gguf"]["kind"] == "mmproj"
    assert [file.rpartition("/")[2] for file in names(alone)] == [
        MAIN, Path(DRAFT).name, "w-F32.gguf", "mtp-w.gguf", "mmproj-F16.gguf",
    ]  # fmt: skip


def test_a_projector_of_a_newer_commit_is_listed(alone: Cli, crafted: Path, tmp_path: Path) -> None:
    put(alone, A, {MAIN: crafted / "crafted.gguf"})
    put(alone, A, {"mmproj-F16.gguf": make_mmproj(tmp_path / "mm", 128)}, NEW)
    put(alone, B, {"mmproj-F16.gguf": make_mmproj(tmp_path / "mm", 160)})
    assert set(shelf(alone)) == {f"{A}/{MAIN}", f"{A}/mmproj-F16.gguf"}


def test_unfinished_downloads_are_unused(alone: Cli, crafted: Path) -> None:
    put(alone, A, {MAIN: crafted / "crafted.gguf"})
    part = put_partial(alone, "x/y")
    foreign = part.with_name(f"{'cd' * 32}.incomplete")
    foreign.write_bytes(b"of another program")
    assert shelf(alone)[f"x/y/{PART}"] == {
        "repository": "x/y", "commit": None, "file": PART, "path": str(part), "kind": "partial",
        "quant": None, "file_bytes": 12345, "outdated": False, "pairs_with": [], "used_by": [],
        "used_at": None,
    }  # fmt: skip
    assert f"{'ab' * 6}…" in alone("list").stdout
    assert remove(alone, "hf:x/y") == ([PART], 12345)
    assert tree(folder(alone, "x/y")) == {"blobs", f"blobs/{foreign.name}"}
    assert names(alone) == [MAIN]


def test_what_is_being_downloaded_stays(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    """Also what is whole already, and where no record names it, as with other programs."""
    publish(hub, crafted)
    left = put_partial(alone, "x/y")
    hub.hold_at = 1_000_000
    with alone.start("pull", f"hf:{A}") as pulling:
        wait_until(lambda: hub.waiting == 1 and len(shelf(alone)) == 3)
        before = tree(folder(alone, A))
        refused = alone("rm", f"hf:{A}", "--yes")
        assert_one_clear_line(refused, 2, f"{A} is being downloaded at this moment", "→")
        assert tree(folder(alone, A)) == before
        assert names(alone, "--unused") == [PART]
        shutil.rmtree(alone.home / ".local" / "state" / "llmtp" / "uses")
        cleared = alone("rm", "--unused", "--yes", "--json")
        assert [file["file"] for file in cleared.json["data"]["removed"]] == [PART]
        (finding,) = cleared.json["findings"]
        assert (finding["rule"], finding["level"]) == ("in-use", "warning")
        assert (tree(folder(alone, A)), left.parent.parent.exists()) == (before, False)
        hub.release()
        assert pulling.process.wait(WAIT_S) == 0
    assert names(alone, "--unused") == []
    assert remove(alone, f"hf:{A}")[0] == [MAIN, DRAFT]


def test_an_interrupted_download_is_cleared(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    hub.hold_at = 1_000_000
    with alone.start("pull", f"hf:{A}") as pulling:
        wait_until(lambda: hub.waiting == 1 and len(shelf(alone)) == 2)
        assert pulling.interrupt() == 130
    assert names(alone, "--unused") == [], "the next pull goes on with it"
    kinds = {file["kind"]: file["file_bytes"] for file in shelf(alone).values()}
    assert kinds["partial"] <= 1_000_000
    _, freed = remove(alone, f"hf:{A}")
    assert freed == sum(kinds.values())
    assert not folder(alone, A).exists()


def test_links_out_of_the_cache_are_cut_not_followed(
    alone: Cli, crafted: Path, tmp_path: Path
) -> None:
    """A file, the folder of a commit, and a whole repository that lie elsewhere."""
    away = tmp_path / "away"
    away.mkdir()
    shutil.copy(crafted / "crafted.gguf", away / "precious.gguf")
    (folder(alone, A) / "snapshots" / OLD).mkdir(parents=True)
    (folder(alone, A) / "snapshots" / OLD / MAIN).symlink_to(away / "precious.gguf")
    moved = put(alone, B, {DRAFT: crafted / "mtp-crafted.gguf"})
    moved.rename(away / "commit")
    moved.symlink_to(away / "commit")
    # Its names led to ../../blobs, and that is another folder now.
    shutil.copytree(folder(alone, B) / "blobs", tmp_path / "blobs")
    (away / "commit" / DRAFT).unlink()
    shutil.copy(crafted / "mtp-crafted.gguf", away / "commit" / DRAFT)
    put(alone, "x/y", {MAIN: crafted / "crafted.gguf"})
    folder(alone, "x/y").rename(away / "repository")
    folder(alone, "x/y").symlink_to(away / "repository")
    before = tree(away)
    assert set(shelf(alone)) == {f"{A}/{MAIN}", f"{B}/{DRAFT}", f"x/y/{MAIN}"}
    assert alone("list", "--json").json["data"]["total_bytes"] == 0
    for what in (DRAFT, "hf:x/y"):
        assert_one_clear_line(alone("rm", what, "--yes"), 2, "lies outside of the cache", "→")
    cleared = alone("rm", "--unused", "--yes", "--json").json
    assert [finding["rule"] for finding in cleared["findings"]] == 2 * ["outside-cache"]
    assert [file["repository"] for file in cleared["data"]["removed"]] == [A]
    assert cleared["data"]["freed_bytes"] == 0
    assert tree(away) == before
    assert not folder(alone, A).exists()


def test_folders_that_are_links_are_not_emptied(alone: Cli, crafted: Path, tmp_path: Path) -> None:
    """Beside a file that goes: empty folders, refs and files behind links stay."""
    away = tmp_path / "away"
    (away / "empty").mkdir(parents=True)
    (away / "main").write_text(OLD, encoding="utf-8")
    shutil.copy(crafted / "crafted.gguf", away)
    snapshot = put(alone, A, {MAIN: crafted / "crafted.gguf"}, ref=None)
    (snapshot / "deeper").symlink_to(away)
    (folder(alone, A) / "refs").symlink_to(away)
    before = tree(away)
    assert names(alone) == [MAIN]
    remove(alone, MAIN)
    assert tree(away) == before
    assert not (snapshot / MAIN).is_symlink()
    assert not (folder(alone, A) / "blobs").exists()


def test_a_blob_of_another_repository_stays(alone: Cli, crafted: Path) -> None:
    blob = (put(alone, A, {MAIN: crafted / "crafted.gguf"}) / MAIN).resolve()
    snapshot = folder(alone, B) / "snapshots" / OLD
    snapshot.mkdir(parents=True)
    (snapshot / MAIN).symlink_to(blob)
    assert remove(alone, f"hf:{B}") == ([MAIN], 0)
    assert blob.exists()


@pytest.mark.parametrize("name", ["x\x1b[31m\n.gguf", "..gguf", "a b'$(x).gguf", "\udcff.gguf"])
def test_names_with_tricks(alone: Cli, crafted: Path, name: str) -> None:
    repository = "a\x1b]0;t\x07/..--.."
    put(alone, repository, {name: crafted / "crafted.gguf"})
    for args in (["list"], ["rm", name], ["rm", name[:-2]]):
        result = alone(*args)
        assert result.code in (0, 2, 8)
        assert "\x1b" not in result.stdout + result.stderr
        assert "\x07" not in result.stdout + result.stderr
        assert "bug" not in result.stderr
    assert remove(alone, name)[0] == [name]
    assert not folder(alone, repository).exists()


def test_refs_that_make_no_sense(alone: Cli, crafted: Path) -> None:
    put(alone, A, {MAIN: crafted / "crafted.gguf"})
    odd = {"refs/1": b"", "refs/2": b"\xff\xfe", "refs/3": b"../../..", "refs/4": b"x" * 9000}
    for name, content in odd.items():
        (folder(alone, A) / name).write_bytes(content)
    assert shelf(alone)[f"{A}/{MAIN}"]["outdated"] is False
    assert remove(alone, MAIN)[0] == [MAIN]
    assert tree(folder(alone, A)) == {"refs", *odd}


BAD_RECORDS = [
    b"", b"{", b"[]", b"7", b"null", b"{}", b"\xff", b"[" * 100_000,
    b'{"model": 7, "files": ["%s"], "at": 1}',
    b'{"model": "a string", "files": "%s", "at": 1}',
    b'{"model": "nothing", "files": [], "at": 1}',
    b'{"model": "a number", "files": ["%s", 7], "at": 1}',
    b'{"model": "an object", "files": {"%s": 1}, "at": 1}',
    b'{"model": "no time", "files": ["%s"], "at": NaN}',
    b'{"model": "endless", "files": ["%s"], "at": 1e999}',
    b'{"model": "text", "files": ["%s"], "at": "now"}',
    b'{"model": "null", "files": ["%s"], "at": null}',
    b'{"model": "missing", "files": ["%s"]}',
    b'{"model": "digits", "files": ["%s"], "at": 1' + b"0" * 400 + b"}",
]  # fmt: skip


def test_a_record_that_makes_no_sense_is_none(alone: Cli, crafted: Path) -> None:
    path = put(alone, A, {MAIN: crafted / "crafted.gguf"}) / MAIN
    uses = alone.home / ".local" / "state" / "llmtp" / "uses"
    (uses / "folder.json").mkdir(parents=True)
    os.mkfifo(uses / "pipe.json")
    for number, record in enumerate(BAD_RECORDS):
        content = record.replace(b"%s", str(path).encode())
        (uses / f"bad{number}.json").write_bytes(content)
    good = {"model": "\x1b[31m" + "m" * 300, "files": [str(path)], "at": -1e300}
    (uses / "good.json").write_text(json.dumps(good), encoding="utf-8")
    assert shelf(alone)[f"{A}/{MAIN}"]["used_by"] == [good["model"]]
    text = alone("list").stdout
    assert "mmm" in text
    assert "\x1b" not in text
    remove(alone, MAIN)
    assert not (uses / "good.json").exists()
    assert len(list(uses.glob("bad*"))) == len(BAD_RECORDS)


def test_records_that_cannot_be_kept_are_none(alone: Cli, crafted: Path) -> None:
    put(alone, A, {MAIN: crafted / "crafted.gguf"})
    state = alone.home / ".local" / "state" / "llmtp"
    state.mkdir(parents=True)
    (state / "uses").write_text("a file", encoding="utf-8")
    assert shelf(alone)[f"{A}/{MAIN}"]["used_by"] == []
    assert remove(alone, MAIN)[0] == [MAIN]


def test_local_files_are_no_part_of_the_cache(alone: Cli, crafted: Path, tmp_path: Path) -> None:
    """A run from a path outside is remembered, and so is what it took from the cache."""
    assert alone("run", "crafted", "--ask", "x").code == 0
    assert shelf(alone) == {}
    shutil.copy(crafted / "crafted.gguf", tmp_path / "mine.gguf")
    put(alone, A, {DRAFT: crafted / "mtp-crafted.gguf"})
    link = tmp_path / "link.gguf"
    link.symlink_to(put(alone, B, {MAIN: crafted / "crafted.gguf"}) / MAIN)
    assert alone("run", "mine.gguf", "--ask", "x").code == 0
    assert alone("run", link, "--ask", "x", "--draft", "off").code == 0
    files = shelf(alone)
    assert files[f"{A}/{DRAFT}"]["used_by"] == ["mine.gguf"]
    assert files[f"{B}/{MAIN}"]["used_by"] == [str(link)]
    assert_one_clear_line(alone("rm", "mine.gguf", "--yes"), 8, "is in the cache")
    assert_one_clear_line(alone("rm", "crafted", "--yes"), 8, "is in the cache")
    assert set(files) == set(shelf(alone))


def test_another_way_to_the_same_cache(
    alone: Cli, hub: FakeHub, crafted: Path, tmp_path: Path
) -> None:
    publish(hub, crafted)
    pull(alone, f"hf:{A}")
    (tmp_path / "way").symlink_to(tmp_path / "hf")
    alone.env["HF_HOME"] = str(tmp_path / "way")
    assert names(alone, "--unused") == []
    assert remove(alone, f"hf:{A}")[0] == [MAIN, DRAFT]
    assert tree(tmp_path / "hf" / "hub") - {".locks"} == {
        path for path in tree(cache(alone)) if path.startswith(".locks/")
    }


def test_without_its_main_file_a_model_needs_the_rest_no_more(
    alone: Cli, hub: FakeHub, crafted: Path
) -> None:
    publish(hub, crafted)
    pull(alone, f"hf:{A}")
    remove(alone, DRAFT)
    assert shelf(alone)[f"{A}/{MAIN}"]["used_by"] == [f"hf:{A}"]
    pull(alone, f"hf:{A}")
    remove(alone, MAIN)
    assert names(alone, "--unused") == [DRAFT]


def test_a_cache_that_may_not_be_written(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    pull(alone, f"hf:{A}")
    before = tree(cache(alone))
    folders = [path for path in [*cache(alone).rglob("*"), cache(alone)] if path.is_dir()]
    for path in folders:
        path.chmod(0o555)
    try:
        assert "used today" in without_privileges(alone, "list").stdout
        for args in (["--yes", MAIN], ["--yes", f"hf:{A}"]):
            result = without_privileges(alone, "rm", *args)
            assert_one_clear_line(result, 5, "cannot be written: Permission denied", "→")
    finally:
        for path in folders:
            path.chmod(0o755)
    assert tree(cache(alone)) == before
    assert names(alone, "--unused") == []


def test_a_cache_that_may_not_be_read(alone: Cli, crafted: Path) -> None:
    put(alone, A, {MAIN: crafted / "crafted.gguf"})
    for mode in (0o000, 0o444):
        cache(alone).chmod(mode)
        try:
            result = without_privileges(alone, "list")
        finally:
            cache(alone).chmod(0o755)
        assert_one_clear_line(result, 5, "hub cannot be read", "→")


@pytest.mark.parametrize("columns", ["60", "100", "140"])
def test_listings_fit(alone: Cli, hub: FakeHub, crafted: Path, columns: str) -> None:
    long = "unsloth/" + "gemma-4-26B-A4B-it-qat-" * 3 + "GGUF"
    publish(hub, crafted, long)
    pull(alone, f"hf:{long}:F32")
    put_partial(alone, long)
    *lines, last = alone("list", env={"COLUMNS": columns}).stdout.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert last.startswith("3 files, 2.8 MiB (1 unused) in ")
    assert "\x1b" not in "".join(lines)
    styled = alone("list", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout
    assert set(re.findall(r"\x1b\[(\d+)m", styled)) == {"0", "1", "2"}, "bold and dim only"


def test_a_list_of_many_loads_nothing_of_the_network(alone: Cli, crafted: Path) -> None:
    for number in range(30):
        put(
            alone,
            f"a/b{number}",
            {MAIN: crafted / "crafted.gguf", DRAFT: crafted / "mtp-crafted.gguf"},
        )
    for args, extra in ((["list"], set()), (["rm", f"{MAIN}", "--yes"], {"filelock"})):
        code = (
            f"import sys, json; from llmtp.cli.app import run; code = run({args!r}); "
            "print(json.dumps([code, *sys.modules]))"
        )
        printed = subprocess.run(
            [sys.executable, "-c", code], env=alone.env, capture_output=True, text=True
        )
        exit_code, *loaded = json.loads(printed.stdout.splitlines()[-1])
        assert (exit_code, printed.stderr if args == ["list"] else "") == (0, "")
        heavy = {"httpx", "huggingface_hub", "filelock", "psutil", "pynvml", "pydantic"}
        assert heavy & set(loaded) == extra
    assert len(names(alone)) == 30
