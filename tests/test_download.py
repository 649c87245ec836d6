"""`llmtp pull`: what it leaves in the cache, who finds it, and how it goes on after any end."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from downloads import (
    DRAFT,
    MAIN,
    MODEL,
    REPO,
    Downloads,
    Pair,
    Terminal,
    downloads,
    grown_pair,
    sha256,
    terminal,
)
from fake_hub import TOKEN, Fault
from harness import WAIT_S, Cli, Result, assert_one_clear_line, http, wait_until

from llmtp.engine.llama.find import find_engine
from llmtp.ports import free_port

WRONG_TOKEN = "hf_not-the-token"  # noqa: S105 - opens nothing
#: What one kill may cost of each file: what was on its way, in buffers of the system too.
LOST_BYTES = 2 * (1 << 20)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, crafted: Path) -> Pair:
    return grown_pair(crafted, tmp_path_factory.mktemp("small"), 3 << 20, 1 << 20)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory, crafted: Path) -> Pair:
    return grown_pair(crafted, tmp_path_factory.mktemp("large"), 250 << 20, 40 << 20)


@pytest.fixture
def there(cli: Cli, small: Pair, tmp_path: Path) -> Iterator[Downloads]:
    with downloads(cli, small, tmp_path / "hf") as running:
        yield running


def test_the_cache_is_that_of_the_library(there: Downloads) -> None:
    result = there.pull("--json")
    assert result.code == 0, result.stdout
    there.assert_whole()
    source = """if True:
        import json, sys
        from huggingface_hub import scan_cache_dir, try_to_load_from_cache
        scanned = scan_cache_dir()
        (repo,) = scanned.repos
        (revision,) = repo.revisions
        print(json.dumps({
            "warnings": [str(warning) for warning in scanned.warnings],
            "repo": repo.repo_id, "refs": sorted(revision.refs), "commit": revision.commit_hash,
            "size": repo.size_on_disk,
            "found": [try_to_load_from_cache(sys.argv[1], name) for name in sys.argv[2:]],
        }))
    """
    done = subprocess.run(
        [sys.executable, "-c", source, REPO, MAIN, DRAFT],
        env=there.cli.env | there.env, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = result.json["data"]["files"]
    assert json.loads(done.stdout) == {
        "warnings": [], "repo": REPO, "refs": ["main"], "commit": "c" * 40,
        "size": there.pair.size, "found": [file["path"] for file in files],
    }  # fmt: skip


def test_what_pull_says_is_what_is_there(there: Downloads) -> None:
    data = there.pull("--json").json["data"]
    snapshot = there.folder / "snapshots" / there.repo.commit
    assert data["fetched_bytes"] == there.pair.size
    assert (data["main"], data["draft"]) == (str(snapshot / MAIN), str(snapshot / DRAFT))
    assert data["files"] == [
        {
            "repository": REPO,
            "commit": there.repo.commit,
            "file": name,
            "file_bytes": content.stat().st_size,
            "sha256": sha256(content),
            "path": str(snapshot / name),
        }
        for name, content in ((MAIN, there.pair.main), (DRAFT, there.pair.draft))
    ]
    again = there.pull()
    assert (again.code, "fetched nothing, every sha256 is right" in again.stdout) == (0, True)
    assert str(snapshot / MAIN) in again.stdout


@pytest.mark.parametrize(("revision", "refs"), [("v1", {"v1"}), ("d" * 40, set())])
def test_a_commit_is_pinned_and_recorded(there: Downloads, revision: str, refs: set[str]) -> None:
    there.repo.commit, there.repo.revisions = "d" * 40, ("main", "v1")
    result = there.cli("pull", f"{MODEL}@{revision}", "--json", env=there.env)
    assert {file["commit"] for file in result.json["data"]["files"]} == {"d" * 40}
    assert {ref.name for ref in there.folder.glob("refs/*")} == refs
    assert all(ref.read_text() == "d" * 40 for ref in there.folder.glob("refs/*"))
    there.repo.commit = "e" * 40
    offline = there.cli("pull", f"{MODEL}@{revision}", "--json", "--offline", env=there.env)
    assert {file["commit"] for file in offline.json["data"]["files"]} == {"d" * 40}


def test_hf_finds_what_we_fetched(there: Downloads) -> None:
    assert there.pull().code == 0
    sent = there.hub.sent_bytes
    for name in (MAIN, DRAFT):
        with there.hf(name, HF_HUB_OFFLINE="1") as process:
            out, err = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, err
        assert str(there.folder / "snapshots" / there.repo.commit / name) in out
    assert there.hub.sent_bytes == sent


def test_llama_cpp_finds_what_we_fetched(there: Downloads) -> None:
    assert there.pull().code == 0
    engine = find_engine(None)
    port = free_port()
    env = there.cli.env | dict(engine.env) | there.env | {"HF_ENDPOINT": "http://127.0.0.1:1"}
    command = [
        str(engine.path),
        "-hf",
        f"{REPO}:F32",
        "--offline",
        "--port",
        str(port),
        "-c",
        "512",
    ]
    log = there.home / "llama-server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: server.poll() is not None or is_healthy(port))
        assert server.poll() is None, log.read_text()[-2000:]
        _, props = http(f"http://127.0.0.1:{port}/props")
        path = Path(props["model_path"])
        assert path.resolve() == there.blob().resolve()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(WAIT_S)


def is_healthy(port: int) -> bool:
    try:
        return bool(http(f"http://127.0.0.1:{port}/health")[1]["status"] == "ok")
    except OSError:
        return False


def test_what_hf_fetched_is_used(there: Downloads) -> None:
    with there.hf(MAIN, DRAFT) as process:
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    sent = there.hub.sent_bytes
    for commit in ("c" * 40, "d" * 40):
        there.repo.commit = commit
        result = there.pull("--json")
        assert result.json["data"]["fetched_bytes"] == 0
        there.assert_whole()
    headers = 2 * 65536
    assert there.hub.sent_bytes <= sent + headers


def test_what_hf_fetched_of_a_file_without_a_plain_route_is_used(there: Downloads) -> None:
    there.repo.no_http = {MAIN}
    refused = there.pull()
    assert_one_clear_line(refused, 5, "only by a protocol of its own (Xet)",
                          f"type: hf download {REPO} {MAIN}")  # fmt: skip
    there.repo.no_http = set()
    with there.hf(MAIN) as process:
        process.communicate(timeout=WAIT_S)
    there.repo.no_http = {MAIN}
    assert there.pull().code == 0
    there.assert_whole()


def test_hundreds_of_megabytes_in_pieces(cli: Cli, large: Pair, tmp_path: Path) -> None:
    with downloads(cli, large, tmp_path / "hf") as there:
        there.hub.faults = [Fault(drop_at=150_000_000, only=MAIN),
                            Fault(drop_at=30_000_000, only=DRAFT, reset=True)]  # fmt: skip
        result = there.pull("--json")
        assert result.json["data"]["fetched_bytes"] == large.size, result.stdout
        there.assert_whole()
        assert there.asked() == [(None, None), ("bytes=150000000-", there.etag())]


def test_a_connection_that_drops_at_any_byte(there: Downloads) -> None:
    size = there.pair.main.stat().st_size
    offsets = [0, 1, 65_536, size // 2, size - 1]
    there.hub.faults = [Fault(drop_at=-1, only=MAIN)]
    there.hub.faults += [Fault(drop_at=at, only=MAIN) for at in offsets]
    result = there.pull("--json")
    assert result.code == 0, result.stdout
    there.assert_whole()
    tag = there.etag()
    assert there.asked() == [(None, None)] * 3 + [(f"bytes={at}-", tag) for at in offsets[1:]]
    assert result.json["data"]["fetched_bytes"] == there.pair.size


def test_the_next_pull_asks_for_the_rest_only(there: Downloads) -> None:
    there.hub.faults = [Fault(drop_at=2_000_000, only=MAIN)]
    there.hub.always = Fault(status=403, only=MAIN)
    assert_one_clear_line(there.pull(), 5, "access is refused")
    assert there.part() == 2_000_000
    there.hub.always = None
    there.hub.ranges_asked.clear()
    result = there.pull("--json")
    assert there.asked() == [("bytes=2000000-", there.etag())]
    assert result.json["data"]["fetched_bytes"] < there.pair.size - 2_000_000 + 1
    there.assert_whole()


@pytest.mark.parametrize(
    ("fault", "starts_anew"),
    [
        (Fault(etag='"another"', only=MAIN), True),
        (Fault(etag='W/"another"', only=MAIN), True),
        (Fault(ignore_range=True, only=MAIN), True),
        (Fault(status=416, only=MAIN), True),
        (Fault(wrong_range=5, only=MAIN), False),
        (Fault(wrong_range=-5, only=MAIN), False),
        (Fault(short=1000, only=MAIN), False),
        (Fault(short=1000, ignore_range=True, only=MAIN), False),
    ],
    ids=["etag", "weak-etag", "200", "416", "later", "earlier", "short", "short-200"],
)
def test_an_odd_answer_to_a_range(there: Downloads, fault: Fault, starts_anew: bool) -> None:
    """What arrives is right in the end, and what was here is dropped only where it must be."""
    there.hub.faults = [Fault(drop_at=2_000_000, only=MAIN), fault]
    result = there.pull("--json")
    assert result.code == 0, result.stdout
    there.assert_whole()
    assert there.asked()[:2] == [(None, None), ("bytes=2000000-", there.etag())]
    twice = 2_000_000 if starts_anew else 0
    assert result.json["data"]["fetched_bytes"] == there.pair.size + twice


@pytest.mark.soak
def test_a_kill_at_any_moment_costs_next_to_nothing(
    cli: Cli, crafted: Path, tmp_path: Path, dice: random.Random, soak: bool
) -> None:
    (tmp_path / "pair").mkdir()
    pair = grown_pair(crafted, tmp_path / "pair", 30 << 20, 10 << 20)
    with downloads(cli, pair, tmp_path / "hf") as there:
        kills = 50 if soak else 3
        there.hub.rate_per_s = 40e6
        for kill in range(1, kills + 1):
            upto = dice.uniform(kill - 1, kill) / kills * pair.size
            with there.start() as running:
                wait_until(lambda upto=upto: there.hub.sent_bytes > upto)  # type: ignore[misc]  # its default
                running.process.kill()
                running.process.wait(WAIT_S)
            there.assert_honest()
        there.hub.rate_per_s = None
        assert there.pull().code == 0
        there.assert_whole()
        headers = (kills + 1) * 2 * 65536
        assert there.hub.sent_bytes - headers <= pair.size + kills * LOST_BYTES


def test_two_at_once_download_once(there: Downloads) -> None:
    there.hub.hold_at = 1_000_000
    with there.start() as first:
        wait_until(lambda: there.hub.waiting == 2)
        with terminal(there.cli, ["pull", MODEL], 100, there.env) as second:
            second.wait("another program downloads it")
            there.hub.release()
            assert second.end() == 0
        assert "fetched nothing, every sha256 is right" in second.screen
        assert first.process.wait(WAIT_S) == 0
    assert len(there.asked()) == len(there.asked(DRAFT)) == 1
    there.assert_whole()


def test_the_one_that_waits_goes_on_where_the_other_died(there: Downloads) -> None:
    there.hub.hold_at = 1_000_000
    with there.start() as first:
        wait_until(lambda: there.part() == there.part(DRAFT) == 1_000_000)
        with there.start("--json") as second:
            first.process.kill()
            wait_until(lambda: len(there.asked()) == len(there.asked(DRAFT)) == 2)
            there.hub.release()
            assert json.loads(second.rest()[-1])["exit_code"] == 0
    assert there.asked()[1] == ("bytes=1000000-", there.etag())
    there.assert_whole()


@pytest.mark.parametrize("ours_first", [True, False])
def test_hf_and_llmtp_at_once(there: Downloads, ours_first: bool) -> None:
    """They take the same lock: one downloads, the other finds it whole."""
    there.hub.hold_at = 1_000_000
    if ours_first:
        with there.start() as ours:
            wait_until(lambda: there.hub.waiting == 2)
            with there.hf(MAIN) as hf:
                wait_until(lambda: any(path.startswith("HEAD") for path in there.hub.asked))
                there.hub.release()
                hf.communicate(timeout=WAIT_S)
            code = ours.process.wait(WAIT_S)
    else:
        with there.hf(MAIN) as hf:
            wait_until(lambda: there.hub.waiting == 1)
            with there.start() as ours:
                wait_until(lambda: there.hub.waiting == 2)
                there.hub.release()
                hf.communicate(timeout=WAIT_S)
                code = ours.process.wait(WAIT_S)
    assert (hf.returncode, code) == (0, 0)
    assert len(there.asked()) == 1
    there.assert_whole()


def test_what_is_there_is_proved(there: Downloads) -> None:
    assert there.pull().code == 0
    flip(there.blob(), -1000)
    result = there.pull("--json")
    assert result.json["data"]["fetched_bytes"] == there.pair.main.stat().st_size
    there.assert_whole()
    there.blob(DRAFT).write_bytes(b"")
    result = there.pull("--json")
    assert result.json["data"]["fetched_bytes"] == there.pair.draft.stat().st_size
    there.assert_whole()


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_offline_there_is_only_this_disk(there: Downloads) -> None:
    """By a flag, and by the variable of huggingface_hub."""

    def offline() -> tuple[Result, Result]:
        return there.pull("--offline"), there.pull(HF_HUB_OFFLINE="1")

    for nothing in offline():
        assert_one_clear_line(nothing, 8, f"nothing of {REPO} is on this disk",
                              "leave out --offline")  # fmt: skip
    assert there.hub.asked == []
    assert there.pull().code == 0
    there.hub.asked.clear()
    for whole in offline():
        assert (whole.code, "fetched nothing, every sha256 is right" in whole.stdout) == (0, True)
    flip(there.blob(), -1000)
    broken = there.pull("--offline")
    assert_one_clear_line(broken, 5, f"{MAIN} of {REPO} was damaged on this disk and is deleted")
    assert not there.blob().exists()
    assert there.hub.asked == []
    assert there.pull().code == 0
    there.assert_whole()


def test_a_token_stays_between_us_and_the_hub(there: Downloads) -> None:
    there.repo.access = "private"
    there.hub.faults = [Fault(drop_at=1_000_000)]
    result = there.pull("--json", HF_TOKEN=TOKEN)
    assert result.code == 0, result.stdout
    assert set(there.hub.tokens_at_files) == {""}
    wrong = there.pull("--json", HF_TOKEN=WRONG_TOKEN)
    assert wrong.json["findings"][0]["rule"] == "token"
    said = result.stdout + result.stderr + wrong.stdout + wrong.stderr
    kept = [path.read_bytes() for path in there.home.rglob("*") if path.is_file()]
    assert len(kept) >= 5
    for token in (TOKEN, WRONG_TOKEN, "signed=yes"):
        assert token not in said
        assert not any(token.encode() in content for content in kept)


def test_run_tells_of_its_download(there: Downloads) -> None:
    there.hub.rate_per_s = 4e6
    with there.cli.start("run", MODEL, "--json", env=there.env) as running:
        running.wait_event("ready")
        assert running.interrupt() == 130
        events = [json.loads(line) for line in running.rest()]
    names = [event["event"] for event in events]
    told = [event for event in events if event["event"] == "downloading"]
    assert len(told) > 1
    assert names.index("checked") == len(told)
    done = [event["done_bytes"] for event in told]
    assert done == sorted(done)
    assert (done[-1], told[-1]["total_bytes"]) == (there.pair.size, there.pair.size)
    assert [(f["file"], f["state"]) for f in told[-1]["files"]] == [(MAIN, "done"), (DRAFT, "done")]
    assert any(event["bytes_per_s"] and event["left_s"] for event in told)
    there.assert_whole()


def test_piped_output_is_plain_lines(there: Downloads) -> None:
    result = there.pull()
    lines = result.stderr.splitlines()
    assert "\x1b" not in result.stderr + result.stdout
    assert "\r" not in result.stderr
    assert lines[-1] == f"downloaded {MAIN} + {DRAFT.rpartition('/')[2]}, 6.8 MiB"
    assert any(
        line.startswith(f"downloading {MAIN} + ") and " of 6.8 MiB" in line for line in lines
    )


def screen_of_a_download(there: Downloads, columns: int, **env: str) -> Terminal:
    there.hub.rate_per_s = 8e6
    with terminal(there.cli, ["pull", MODEL], columns, there.env | env) as shown:
        assert shown.end() == 0
    return shown


@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_shows_one_display(there: Downloads, columns: int) -> None:
    screen = screen_of_a_download(there, columns).screen
    erased = screen.count("\x1b[2K")
    assert erased > 3, "it was not redrawn"
    drawn = screen[: screen.index("downloaded ")]
    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "\n").split("\n")
    assert max(map(len, rows)) <= columns
    for words in (" of 4.8 MiB", " of 1.9 MiB", " of 6.8 MiB", "/s", " left"):
        assert words in drawn, words


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}])
def test_colours_of_a_terminal(there: Downloads, env: dict[str, str]) -> None:
    there.hub.faults = [Fault(status=503, retry_after="1", only=MAIN)]
    screen = screen_of_a_download(there, 100, **env).screen
    assert f"the Hub answers 503 for {MAIN} of {REPO}; once more in 1 s" in screen
    assert "\x1b[2K" in screen
    colours = {"\x1b[33m"} if not env else set()
    assert set(re.findall(r"\x1b\[[349][0-9;]*m", screen)) == colours
