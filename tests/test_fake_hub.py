"""The fake Hub does what the true one does, and each of its faults what its name says."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fake_hub import TOKEN, FakeHub, Fault, Repo, fake_hub, oid
from harness import WAIT_S, wait_until

SIZE = 3_000_000
MODEL, OTHER = "m.gguf", "MTP/a b.gguf"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as running:
        yield running


@pytest.fixture
def content(hub: FakeHub, tmp_path: Path) -> bytes:
    """What m.gguf of a/b has."""
    content = random.Random(5).randbytes(SIZE)
    (tmp_path / "model").write_bytes(content)
    (tmp_path / "other").write_bytes(b"other")
    hub.repos["a/b"] = Repo({MODEL: tmp_path / "model", OTHER: tmp_path / "other"})
    return content


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=WAIT_S) as client:
        yield client


@dataclass(frozen=True)
class Got:
    status: int
    headers: httpx.Headers
    content: bytes
    error: type[Exception] | None

    @property
    def range(self) -> str | None:
        return str(self.headers["Content-Range"]) if "Content-Range" in self.headers else None


@pytest.fixture
def get(hub: FakeHub, http: httpx.Client) -> Callable[..., Got]:
    """Fetch a file of a/b by way of the Hub: what came, also where it broke off."""

    def fetch(asked: str | None = None, name: str = MODEL, if_range: str | None = None) -> Got:
        headers = {"Range": asked, "If-Range": if_range}
        kept = {key: value for key, value in headers.items() if value is not None}
        with http.stream(
            "GET", f"{hub.url}/a/b/resolve/main/{name}", headers=kept, follow_redirects=True
        ) as answer:
            pieces: list[bytes] = []
            try:
                pieces.extend(answer.iter_raw())
            except httpx.TransportError as error:
                return Got(answer.status_code, answer.headers, b"".join(pieces), type(error))
            return Got(answer.status_code, answer.headers, b"".join(pieces), None)

    return fetch


def test_listings_name_the_true_content(hub: FakeHub, content: bytes, http: httpx.Client) -> None:
    url = f"{hub.url}/api/models/a/b"
    assert http.get(url).json() == {
        "id": "a/b",
        "sha": "c" * 40,
        "gated": False,
        "siblings": [{"rfilename": MODEL}, {"rfilename": OTHER}],
    }
    sha256 = hashlib.sha256(content).hexdigest()
    for path in ("", "/revision/main", f"/revision/{'c' * 40}"):
        sibling = http.get(url + path, params={"blobs": True}).json()["siblings"][0]
        assert (sibling["size"], sibling["lfs"]["size"]) == (SIZE, SIZE)
        assert sibling["lfs"]["sha256"] == sha256
    missing = http.get(f"{url}/revision/v2")
    assert (missing.status_code, missing.headers["X-Error-Code"]) == (404, "RevisionNotFound")


def test_an_oid_follows_the_content_or_lies(hub: FakeHub, content: bytes, tmp_path: Path) -> None:
    repo = hub.repos["a/b"]
    assert repo.oid(MODEL) == hashlib.sha256(content).hexdigest()
    (tmp_path / "model").write_bytes(b"changed")
    assert repo.oid(MODEL) == hashlib.sha256(b"changed").hexdigest()
    repo.oids[MODEL] = "0" * 64
    assert repo.oid(MODEL) == "0" * 64


def test_a_file_of_holes_is_named_by_its_header(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.write(b"header")
        file.truncate((1 << 30) + 1)
    header = b"header".ljust(1 << 24, b"\0")
    assert oid(tmp_path / "holes") == hashlib.sha256(header + b"1073741825").hexdigest()


@pytest.mark.usefixtures("content")
def test_a_tree_is_listed_by_folder(hub: FakeHub, http: httpx.Client) -> None:
    url = f"{hub.url}/api/models/a/b/tree/main"

    def names(path: str, recursive: bool) -> list[tuple[str, str]]:
        entries = http.get(url + path, params={"recursive": recursive}).json()
        return [(entry["type"], entry["path"]) for entry in entries]

    assert names("", False) == [("directory", "MTP"), ("file", MODEL)]
    assert names("", True) == [("directory", "MTP"), ("file", MODEL), ("file", OTHER)]
    assert names("/MTP", False) == [("file", OTHER)]
    entry = http.get(f"{url}/MTP").json()[0]
    sha256 = hashlib.sha256(b"other").hexdigest()
    assert entry["lfs"] == {"oid": sha256, "size": 5, "pointerSize": 126}
    assert len(entry["oid"]) == 40
    for path, code in (("main/no", "EntryNotFound"), ("v2", "RevisionNotFound")):
        missing = http.get(f"{hub.url}/api/models/a/b/tree/{path}")
        assert (missing.status_code, missing.headers["X-Error-Code"]) == (404, code)


@pytest.mark.usefixtures("content")
def test_refs_name_their_commit(hub: FakeHub, http: httpx.Client) -> None:
    hub.repos["a/b"].revisions = ("main", "refs/pr/3")
    refs = http.get(f"{hub.url}/api/models/a/b/refs").json()
    assert refs["branches"] == [
        {"name": "main", "ref": "refs/heads/main", "targetCommit": "c" * 40}
    ]
    assert [ref["name"] for ref in refs["pullRequests"]] == ["refs/pr/3"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("revision", ["main", "c" * 40, "refs%2Fpr%2F3"])
def test_resolve_leads_to_the_other_server(
    hub: FakeHub, content: bytes, http: httpx.Client, method: str, revision: str
) -> None:
    hub.repos["a/b"].revisions = ("main", "refs/pr/3")
    answer = http.request(method, f"{hub.url}/a/b/resolve/{revision}/{MODEL}")
    sha256 = hashlib.sha256(content).hexdigest()
    assert (answer.status_code, answer.content) == (302, b"")
    assert answer.headers["X-Repo-Commit"] == "c" * 40
    assert answer.headers["X-Linked-Etag"] == answer.headers["ETag"] == f'"{sha256}"'
    assert answer.headers["X-Linked-Size"] == str(SIZE)
    here, there = urlsplit(hub.url), urlsplit(answer.headers["Location"])
    assert here.hostname != there.hostname
    assert here.port != there.port
    assert there.query
    path = f"/a/b/resolve/{revision.replace('%2F', '/')}/{MODEL}"
    assert hub.asked == [path if method == "GET" else f"HEAD {path}"]
    assert http.head(answer.headers["Location"]).headers["Content-Length"] == str(SIZE)
    assert (hub.sent_bytes, hub.ranges_asked) == (0, [])


@pytest.mark.usefixtures("content")
@pytest.mark.parametrize(
    ("path", "code"),
    [("a/b/resolve/main/no", "EntryNotFound"), (f"a/b/resolve/v2/{MODEL}", "RevisionNotFound"),
     (f"a/c/resolve/main/{MODEL}", "RepoNotFound"), ("nonsense", "RepoNotFound")],
)  # fmt: skip
def test_what_is_not_there(hub: FakeHub, http: httpx.Client, path: str, code: str) -> None:
    answer = http.get(f"{hub.url}/{path}")
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, code)
    assert http.get(f"{hub.files_url}/{path}").status_code == 404


@pytest.mark.usefixtures("content")
def test_a_file_that_is_only_there_through_xet(hub: FakeHub, http: httpx.Client) -> None:
    hub.repos["a/b"].no_http.add(MODEL)
    answer = http.get(f"{hub.url}/a/b/resolve/main/{MODEL}")
    assert answer.status_code == 403
    assert len(bytes.fromhex(answer.headers["X-Xet-Hash"])) == 32
    assert answer.headers["X-Error-Message"] == "file is only available through Xet"
    assert http.get(f"{hub.url}/a/b/resolve/main/{OTHER}").status_code == 302


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=2999999-", SIZE - 1, SIZE),
     ("bytes=5-", 5, SIZE), ("bytes=7-99999999", 7, SIZE), ("bytes=-3", SIZE - 3, SIZE)],
)  # fmt: skip
def test_ranges(
    hub: FakeHub, content: bytes, get: Callable[..., Got], asked: str, start: int, end: int
) -> None:
    got = get(asked)
    assert (got.status, got.content == content[start:end]) == (206, True)
    assert got.range == f"bytes {start}-{end - 1}/{SIZE}"
    assert got.headers["Content-Length"] == str(end - start)
    assert hub.sent_bytes == end - start
    assert hub.ranges_asked == [(MODEL, asked, None)]


@pytest.mark.parametrize("asked", [None, "bytes=9-8", "bytes=1-2,4-5", "bytes=-", "lines=1-2"])
def test_the_whole_file_where_no_range_is_asked(
    content: bytes, get: Callable[..., Got], asked: str | None
) -> None:
    got = get(asked)
    assert (got.status, got.range, got.content == content) == (200, None, True)
    assert got.headers["Accept-Ranges"] == "bytes"
    assert got.headers["ETag"].startswith('"')


@pytest.mark.usefixtures("content")
def test_a_range_behind_the_end(hub: FakeHub, get: Callable[..., Got]) -> None:
    got = get(f"bytes={SIZE}-")
    assert (got.status, got.range, got.content) == (416, f"bytes */{SIZE}", b"")
    assert hub.sent_bytes == 0


def test_a_server_without_ranges(hub: FakeHub, content: bytes, get: Callable[..., Got]) -> None:
    hub.ranges = False
    got = get("bytes=10-19")
    assert (got.status, got.range, got.content == content) == (200, None, True)
    assert got.headers["Accept-Ranges"] == "none"


def test_a_range_is_only_sent_of_the_file_that_is_meant(
    hub: FakeHub, content: bytes, get: Callable[..., Got], tmp_path: Path
) -> None:
    tag = get("bytes=0-0").headers["ETag"]
    assert get("bytes=10-19", if_range=tag).content == content[10:20]
    assert get("bytes=10-19", if_range='"another"').content == content
    assert get("bytes=10-19", if_range=f"W/{tag}").status == 200
    hub.faults = [Fault(etag='"changed"')]
    assert get("bytes=10-19", if_range=tag).headers["ETag"] == '"changed"'
    assert [seen[2] for seen in hub.ranges_asked[-2:]] == [f"W/{tag}", tag]
    (tmp_path / "model").write_bytes(b"x")
    os.utime(tmp_path / "model", (1, 1))
    changed = get("bytes=0-0", if_range=tag)
    assert (changed.status, changed.content) == (200, b"x")
    assert changed.headers["ETag"] != tag


@pytest.mark.usefixtures("content")
def test_connections_are_kept(hub: FakeHub, http: httpx.Client) -> None:
    ports = set()
    hub.faults = [Fault(only="m.gguf", status=503), Fault(short=7)]
    for asked in ("bytes=0-9", "bytes=5-9999", f"bytes={SIZE}-", "bytes=0-99"):
        answer = http.get(f"{hub.files_url}/a/b/{MODEL}", headers={"Range": asked})
        ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(ports) == 1


def test_the_token_of_a_private_repository_stays(
    hub: FakeHub, content: bytes, http: httpx.Client
) -> None:
    hub.repos["a/b"].access = "private"
    url = f"{hub.url}/a/b/resolve/main/{MODEL}"
    assert http.get(url).status_code == 401
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert http.get(url, headers=headers, follow_redirects=True).content == content
    assert hub.tokens_at_files == [""]


@pytest.mark.parametrize(
    ("asked", "arrives"), [(None, 70_000), ("bytes=60000-", 10_000), ("bytes=70001-", 0)]
)
def test_a_dropped_connection(
    hub: FakeHub, content: bytes, get: Callable[..., Got], asked: str | None, arrives: int
) -> None:
    hub.faults = [Fault(drop_at=70_000)]
    got = get(asked)
    assert got.error is httpx.RemoteProtocolError
    assert got.content == content[70_000 - arrives : 70_000]
    assert hub.sent_bytes == arrives
    assert get(asked).error is None


def test_a_drop_behind_the_range_drops_nothing(hub: FakeHub, get: Callable[..., Got]) -> None:
    hub.repos["a/b"] = Repo({MODEL: Path(__file__)})
    hub.faults = [Fault(drop_at=100)]
    assert (get("bytes=0-99").error, hub.faults) == (None, [])


@pytest.mark.usefixtures("content")
def test_a_reset_and_no_answer_at_all(hub: FakeHub, get: Callable[..., Got]) -> None:
    hub.faults = [Fault(drop_at=2_000_000, reset=True), Fault(drop_at=-1)]
    reset = get()
    assert reset.error is httpx.ReadError
    assert len(reset.content) <= 2_000_000
    with pytest.raises(httpx.RemoteProtocolError):
        get()


def test_a_stall_lasts_until_the_client_goes(
    hub: FakeHub, content: bytes, http: httpx.Client
) -> None:
    hub.faults = [Fault(stall_at=1000)]
    with http.stream("GET", f"{hub.files_url}/a/b/{MODEL}") as answer:
        pieces = answer.iter_raw(1000)
        assert next(pieces) == content[:1000]
        wait_until(lambda: hub.waiting == 1)
        assert hub.sent_bytes == 1000
    wait_until(lambda: hub.waiting == 0)
    assert hub.sent_bytes == 1000


def test_the_end_of_the_hub_is_the_end_of_a_stall(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    with ThreadPoolExecutor() as pool, httpx.Client(trust_env=False, timeout=WAIT_S) as http:
        with fake_hub() as hub:
            hub.repos["a/b"] = Repo({"f": tmp_path / "f"})
            hub.always = Fault(stall_at=3)
            asked = pool.submit(http.get, f"{hub.files_url}/a/b/f")
            wait_until(lambda: hub.waiting == 1)
        with pytest.raises(httpx.RemoteProtocolError):
            asked.result(WAIT_S)
    assert hub.waiting == 0


@pytest.mark.parametrize("at", [0, 5, 2_500_000, SIZE - 1])
def test_a_flipped_bit(hub: FakeHub, content: bytes, get: Callable[..., Got], at: int) -> None:
    hub.faults = [Fault(flip_at=at)]
    got = get()
    assert (got.error, len(got.content)) == (None, SIZE)
    assert [n for n in (0, 5, 2_500_000, SIZE - 1) if got.content[n] != content[n]] == [at]
    assert got.content[at] == content[at] ^ 1
    assert got.content[:at] + content[at : at + 1] + got.content[at + 1 :] == content


def test_answers_that_look_whole(hub: FakeHub, content: bytes, get: Callable[..., Got]) -> None:
    hub.always = Fault(short=10)
    whole, part = get(), get("bytes=100-199")
    assert (whole.status, whole.error, whole.content == content[:-10]) == (200, None, True)
    assert (part.error, part.content == content[100:190]) == (None, True)
    assert (part.headers["Content-Length"], part.range) == ("90", f"bytes 100-189/{SIZE}")
    hub.always, hub.short_by = None, 10
    cut = get("bytes=100-199")
    assert (cut.headers["Content-Length"], cut.content == content[100:190]) == ("100", True)
    assert cut.error is httpx.RemoteProtocolError


def test_other_ranges_than_asked(hub: FakeHub, content: bytes, get: Callable[..., Got]) -> None:
    hub.faults = [Fault(ignore_range=True), Fault(wrong_range=5), Fault(wrong_range=-200)]
    ignored, later, earlier = get("bytes=100-199"), get("bytes=100-199"), get("bytes=100-199")
    assert (ignored.status, ignored.range, ignored.content == content) == (200, None, True)
    assert (later.range, later.content == content[105:200]) == (f"bytes 105-199/{SIZE}", True)
    assert (earlier.range, earlier.content == content[:200]) == (f"bytes 0-199/{SIZE}", True)


@pytest.mark.usefixtures("content")
def test_faults_come_in_order_each_for_its_file(hub: FakeHub, get: Callable[..., Got]) -> None:
    hub.faults = [
        Fault(status=503, only="b.gguf"),
        Fault(status=429, retry_after="3"),
        Fault(status=500, only="m.gguf"),
    ]
    hub.always = Fault(status=502, only="m.gguf")
    first = get()
    assert (first.status, first.headers["Retry-After"], first.content) == (429, "3", b"")
    assert [get().status, get().status] == [500, 502]
    assert hub.faults == [Fault(status=503, only="b.gguf")]
    assert [get(name=OTHER).status, get(name=OTHER).status] == [503, 200]
    hub.failures = [504]
    assert [get(name=OTHER).status, get(name=OTHER).status] == [504, 200]
    assert hub.sent_bytes == 10


@pytest.mark.usefixtures("content")
def test_faults_of_the_hub(hub: FakeHub, http: httpx.Client) -> None:
    hub.hub_faults = [Fault(status=503, only=MODEL), Fault(status=429, retry_after="7")]
    listing, file = f"{hub.url}/api/models/a/b", f"{hub.url}/a/b/resolve/main/{MODEL}"
    busy = http.get(listing)
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "7")
    assert [http.get(listing).status_code, http.head(file).status_code] == [200, 503]
    assert [http.get(file).status_code, hub.hub_faults] == [302, []]


def test_two_clients_are_held_at_one_place(hub: FakeHub, content: bytes) -> None:
    hub.hold_at = 1_000_000
    with ThreadPoolExecutor() as pool, httpx.Client(trust_env=False, timeout=WAIT_S) as http:
        url = f"{hub.files_url}/a/b/{MODEL}"
        before = http.get(url, headers={"Range": "bytes=0-999999"})
        assert (before.content == content[:1_000_000], hub.waiting) == (True, 0)
        asked = ["bytes=0-", "bytes=2000000-"]
        got = [pool.submit(http.get, url, headers={"Range": text}) for text in asked]
        wait_until(lambda: hub.waiting == 2)
        assert hub.sent_bytes == 2_000_000
        assert not any(answer.done() for answer in got)
        hub.release()
        assert got[0].result(WAIT_S).content == content
        assert got[1].result(WAIT_S).content == content[2_000_000:]
    wait_until(lambda: hub.waiting == 0)
    assert hub.sent_bytes == 5_000_000


def test_the_rate_holds_for_all_connections_together(hub: FakeHub, content: bytes) -> None:
    hub.rate_per_s = 2 * SIZE / 0.5
    start = time.monotonic()
    with ThreadPoolExecutor() as pool, httpx.Client(trust_env=False, timeout=WAIT_S) as http:
        url = f"{hub.files_url}/a/b/{MODEL}"
        got = [pool.submit(http.get, url) for _ in range(2)]
        assert all(answer.result(WAIT_S).content == content for answer in got)
    assert time.monotonic() - start > 0.9 * 0.5
    assert hub.sent_bytes == 2 * SIZE


def test_many_clients_at_once_are_counted_right(hub: FakeHub, content: bytes) -> None:
    hub.faults = [Fault(status=503)] * 20
    with ThreadPoolExecutor(16) as pool, httpx.Client(trust_env=False, timeout=WAIT_S) as http:
        url = f"{hub.files_url}/a/b/{MODEL}"
        asked = [{"Range": f"bytes={at}-{at + 9999}"} for at in range(0, 1_000_000, 10_000)]
        got = list(pool.map(lambda headers: http.get(url, headers=headers), asked))
    sent = [answer.content for answer in got if answer.status_code == 206]
    assert (len(sent), len(hub.ranges_asked), hub.faults) == (80, 100, [])
    assert hub.sent_bytes == 800_000
    assert all(piece in content for piece in sent)


def test_a_client_that_goes_away_is_no_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the middle of hundreds of MB, or reading nothing more until the Hub ends."""
    size = 300 << 20
    with (tmp_path / "f").open("wb") as file:
        file.truncate(size)
    with httpx.Client(trust_env=False, timeout=WAIT_S) as http:
        with fake_hub() as hub:
            hub.repos["a/b"] = Repo({"f": tmp_path / "f"})
            url = f"{hub.files_url}/a/b/f"
            with http.stream("GET", url) as whole:
                assert sum(map(len, whole.iter_raw())) == hub.sent_bytes == size
            for _ in range(5):
                with http.stream("GET", url) as answer:
                    next(answer.iter_raw(1000))
            unread = http.send(http.build_request("GET", url), stream=True)
        assert size < hub.sent_bytes < 5 * size
        unread.close()
    assert capfd.readouterr().err == ""
    wait_until(lambda: not any("process_request" in t.name for t in threading.enumerate()))


def child_env(hub: FakeHub, tmp_path: Path, token: str | None = None) -> dict[str, str]:
    """A home of its own, and no word to any other server."""
    return hub.env(token) | {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }


@pytest.mark.parametrize("access", [None, "private"])
def test_hf_downloads_from_it(
    hub: FakeHub, content: bytes, tmp_path: Path, access: str | None
) -> None:
    """The true client: it resumes at a multiple of 10 MiB, and its token stays at the Hub."""
    content *= 4
    (tmp_path / "model").write_bytes(content)
    hub.repos["a/b"].access = access
    hub.faults = [Fault(drop_at=11_000_000, only=MODEL)]
    program = Path(sysconfig.get_path("scripts")) / "hf"
    done = subprocess.run(
        [str(program), "download", "a/b", MODEL, OTHER],
        env=child_env(hub, tmp_path, TOKEN if access else None),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "hf" / "hub" / "models--a--b" / "snapshots" / ("c" * 40)
    assert (folder / MODEL).read_bytes() == content
    assert (folder / OTHER).read_bytes() == b"other"
    assert (folder / MODEL).resolve().name == hashlib.sha256(content).hexdigest()
    assert (MODEL, "bytes=10485760-", None) in hub.ranges_asked
    assert set(hub.tokens_at_files) == {""}


@pytest.mark.usefixtures("content")
def test_the_library_understands_its_listings(hub: FakeHub, tmp_path: Path) -> None:
    """In a child, because the library reads its environment once."""
    source = """if True:
        import json
        from huggingface_hub import HfApi
        api = HfApi()
        info = api.model_info("a/b", files_metadata=True)
        tree = api.list_repo_tree("a/b", "MTP", recursive=True, revision=info.sha)
        refs = api.list_repo_refs("a/b", include_pull_requests=True)
        print(json.dumps([
            [(file.rfilename, file.size, file.lfs.sha256) for file in info.siblings],
            [(file.path, file.size, file.lfs.sha256) for file in tree],
            [ref.target_commit for ref in refs.branches],
        ]))
    """
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=child_env(hub, tmp_path),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    listed, tree, commits = json.loads(done.stdout)
    repo = hub.repos["a/b"]
    assert listed == [[MODEL, SIZE, repo.oid(MODEL)], [OTHER, 5, repo.oid(OTHER)]]
    assert (tree, commits) == (listed[1:], ["c" * 40])


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_alone_it_serves_a_folder(tmp_path: Path, http: httpx.Client, end: int) -> None:
    (tmp_path / "a" / "b" / "MTP").mkdir(parents=True)
    (tmp_path / "a" / "b" / MODEL).write_bytes(b"model")
    (tmp_path / "a" / "b" / OTHER).write_bytes(b"other")
    program = Path(__file__).with_name("fake_hub.py")
    with subprocess.Popen(
        [sys.executable, str(program), str(tmp_path), "--rate", "1e6"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            siblings = http.get(f"{url}/api/models/a/b").json()["siblings"]
            assert {file["rfilename"] for file in siblings} == {MODEL, OTHER}
            got = http.get(f"{url}/a/b/resolve/main/{OTHER}", follow_redirects=True)
            assert got.content == b"other"
            process.send_signal(end)
            assert process.communicate(timeout=WAIT_S) == ("", "")
            assert process.returncode == 0
        finally:
            process.kill()
