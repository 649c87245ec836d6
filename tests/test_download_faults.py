"""What goes wrong with a download: a clear line, a code, and the next pull makes it whole."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from downloads import DRAFT, MAIN, MODEL, REPO, Downloads, Pair, downloads, grown_pair
from fake_hub import TOKEN, Fault
from harness import WAIT_S, Cli, Result, assert_one_clear_line, wait_until

HERE = 1_000_000
CLOSED = "http://127.0.0.1:1"


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory, crafted: Path) -> Pair:
    return grown_pair(crafted, tmp_path_factory.mktemp("small"), 3 << 20, 1 << 20)


@pytest.fixture
def there(cli: Cli, small: Pair, tmp_path: Path) -> Iterator[Downloads]:
    with downloads(cli, small, tmp_path / "hf") as running:
        yield running


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"HF_ENDPOINT": CLOSED},
         ["the Hub cannot be reached", "refused", "expected an answer of 127.0.0.1", "--offline"]),
        ({"HF_ENDPOINT": "http://no-such-host.invalid"},
         ["the Hub cannot be reached", "expected an answer of no-such-host.invalid"]),
        ({"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": CLOSED},
         ["refused", "found HTTP_PROXY set"]),
        ({"HF_ENDPOINT": "https://hub.invalid", "https_proxy": CLOSED},
         ["refused", "found https_proxy set"]),
        ({"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": "HUB"},
         ["the proxy answers 407", "found HTTP_PROXY set", "NAME:PASSWORD@HOST", "NO_PROXY"]),
        ({"HF_ENDPOINT": "https://hub.invalid", "HTTPS_PROXY": "HUB"},
         ["the proxy does not let us through", "found HTTPS_PROXY set", "NO_PROXY"]),
    ],
    ids=["network", "dns", "proxy", "proxy-tls", "proxy-407", "proxy-connect"],
)  # fmt: skip
def test_no_way_to_the_hub(there: Downloads, env: dict[str, str], words: list[str]) -> None:
    there.hub.hub_faults = [Fault(status=407)]
    env = {key: value.replace("HUB", there.hub.url) for key, value in env.items()}
    assert_one_clear_line(there.pull(**env), 5, *words)


LISTING_REFUSED = [
    (Fault(status=403), ["answers 403", "access is refused", "hf auth login"]),
    (Fault(status=401), ["answers 401", "the token is not accepted", "hf auth login"]),
    (Fault(status=500), ["answers 500", "wait some minutes, then type the command again"]),
    (Fault(status=503, retry_after="90"), ["answers 503", "wait 90 s"]),
    (Fault(status=429, retry_after="7"), ["too many requests", "wait 7 s", "hf auth login"]),
    (Fault(status=429, ratelimit='"api";r=0;t=55'), ["too many requests", "wait 55 s"]),
    (Fault(status=429), ["too many requests", "wait some minutes"]),
]


def test_the_hub_refuses_to_list(there: Downloads) -> None:
    for fault, words in LISTING_REFUSED:
        there.hub.hub_faults = [fault]
        assert_one_clear_line(there.pull(), 5, REPO, *words)
    assert there.pull().code == 0


FILE_REFUSED = [
    (403, 5, ["answers 403", "access is refused", "hf auth login"]),
    (401, 5, ["answers 401", "the token is not accepted"]),
    (404, 8, [f"the Hub does not have the file {MAIN} of {REPO} any more", "/tree/main"]),
]


def test_a_file_is_refused(there: Downloads) -> None:
    """While its header is read, and while it is downloaded; no signed address is shown."""
    for spares_headers in (False, True):  # a header that was read is remembered
        there.hub.spares_headers = spares_headers
        for status, code, words in FILE_REFUSED:
            there.hub.always = Fault(status=status, only=MAIN)
            result = there.pull()
            assert_one_clear_line(result, code, MAIN, *words)
            assert "signed" not in result.stderr
    there.hub.always = None
    assert there.pull().code == 0
    there.assert_whole()


def test_a_token_that_is_none(there: Downloads) -> None:
    result = there.pull(HF_TOKEN="hf_old")  # noqa: S106 - opens nothing
    assert_one_clear_line(result, 5, "the token is not accepted", "mend or unset HF_TOKEN")


def test_a_gated_repository_names_its_page(there: Downloads) -> None:
    there.repo.access = "gated"
    page = f"accept it on {there.hub.url}/{REPO}, then type: hf auth login"
    assert_one_clear_line(there.pull(), 5, f"{REPO} is gated", page)
    assert there.pull(HF_TOKEN=TOKEN).code == 0
    there.assert_whole()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("hf:unsloth/gemma-4-12b-it-GUF", ["there is no repository", "did you mean 'unsloth/"]),
        (f"hf:{REPO}:F32@v9", ["has no revision 'v9'", f"/{REPO}/commits"]),
        (f"hf:{REPO}:Q4_K_M", ["no GGUF model in Q4_K_M", "expected one of F32"]),
    ],
)
def test_what_is_not_there_is_named(there: Downloads, model: str, words: list[str]) -> None:
    assert_one_clear_line(there.cli("pull", model, env=there.env), 8, *words)


def listing(there: Downloads, **main: object) -> str:
    """What the Hub says of the pair, with something else about the main model."""
    siblings = []
    for name in (MAIN, DRAFT):
        size = there.repo.files[name].stat().st_size
        lfs = {"sha256": there.repo.oid(name), "pointerSize": 130, "size": size}
        file = {"rfilename": name, "size": size, "blobId": "b", "lfs": lfs}
        siblings.append(file | main if name == MAIN else file)
    return json.dumps({"id": REPO, "sha": there.repo.commit, "siblings": siblings})


def test_a_file_without_a_checksum(there: Downloads) -> None:
    there.hub.listing = listing(there, lfs=None)
    result = there.pull()
    assert_one_clear_line(
        result, 5, f"no sha256 of {MAIN}", "cannot be proved", f"hf download {REPO} {MAIN}"
    )
    assert there.asked() == there.asked(DRAFT) == []


def test_one_flipped_byte(there: Downloads) -> None:
    """The file is deleted, the other one stays, and the next pull is whole."""
    for at in (0, 2_500_000, there.pair.main.stat().st_size - 1):
        there.hub.faults = [Fault(flip_at=at, only=MAIN)]
        result = there.pull()
        assert_one_clear_line(
            result, 5, f"{MAIN} arrived damaged and was deleted", "expected sha256"
        )
        assert not there.blob().exists()
        assert there.part() == 0
        assert not (there.folder / "snapshots" / there.repo.commit / MAIN).is_symlink()
        there.assert_honest()
    assert there.pull().code == 0
    there.assert_whole()


def test_a_failure_is_an_envelope_too(there: Downloads) -> None:
    there.hub.always = Fault(flip_at=3_000_000, only=MAIN)
    result = there.pull("--json")
    assert (result.code, result.json["ok"], result.json["exit_code"]) == (5, False, 5)
    (finding,) = result.json["findings"]
    assert (finding["rule"], finding["level"]) == ("corrupt", "error")
    assert finding["fix"].startswith("type the command again")
    assert result.stderr == ""


def test_a_part_that_was_damaged_or_grew(there: Downloads) -> None:
    there.hub.faults = [Fault(drop_at=HERE, only=MAIN)]
    there.hub.always = Fault(status=403, only=MAIN)
    assert there.pull().code == 5
    part = there.folder / "blobs" / f"{there.repo.oid(MAIN)}.llmtp.incomplete"
    there.hub.always = None
    part.write_bytes(bytes(HERE))
    assert_one_clear_line(there.pull(), 5, "arrived damaged and was deleted")
    assert there.part() == 0
    part.write_bytes(bytes(there.pair.size))
    assert there.pull().code == 0
    there.assert_whole()


def test_errors_that_pass(there: Downloads) -> None:
    there.hub.faults = [
        Fault(status=500, only=MAIN),
        Fault(drop_at=HERE, only=MAIN),
        Fault(status=502, only=MAIN),
        Fault(stall_at=2 * HERE, only=MAIN),
        Fault(status=429, retry_after="1", only=MAIN),
        Fault(short=10, only=DRAFT),
        Fault(drop_at=HERE, reset=True, only=DRAFT),
    ]
    result = there.pull("--json", HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert result.code == 0, result.stdout
    there.assert_whole()
    spans = [None, None, f"bytes={HERE}-", f"bytes={HERE}-", f"bytes={2 * HERE}-"]
    assert [span for span, _ in there.asked()] == [*spans, spans[-1]]
    assert result.json["data"]["fetched_bytes"] == there.pair.size


def test_a_wait_that_is_too_long_is_left_to_the_user(there: Downloads) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=490), usegmt=True)
    for fault, words in (
        (Fault(status=429, retry_after=date), "wait 4"),
        (Fault(status=429, retry_after="500"), "wait 500 s"),
        (Fault(status=429, retry_after="9" * 400), "wait 999999 s"),
        (Fault(status=429, ratelimit='"resolvers";r=0;t=300'), "wait 300 s"),
        (Fault(status=503, retry_after="61"), "wait 61 s"),
    ):
        there.hub.faults = [fault]
        assert_one_clear_line(there.pull(), 5, words, "it goes on from there")
    assert there.pull().code == 0
    there.assert_whole()


#: What is always so behind a first part, the words, and how much is kept of the main model.
LASTING: list[tuple[Fault, str, int]] = [
    (Fault(status=503), f"the Hub answers 503 for {MAIN} of {REPO}", HERE),
    (Fault(status=416), f"the Hub answers 416 for {MAIN} of {REPO}", 0),
    (Fault(drop_at=HERE), "the Hub cannot be reached", HERE),
    (Fault(drop_at=HERE, ignore_range=True), "the Hub cannot be reached", HERE),
    (Fault(stall_at=HERE), "nothing came from the Hub for too long", HERE),
    (Fault(wrong_range=5), "makes no sense: another range than asked for", HERE),
    # As a log-in page that answers everything with 200.
    (Fault(short=1000, ignore_range=True), "makes no sense: another content, of", HERE),
]


def test_what_lasts_is_given_up_and_gone_on_with(cli: Cli, small: Pair, tmp_path: Path) -> None:
    """All at the same time, because they mostly wait."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        places = [
            stack.enter_context(downloads(cli, small, tmp_path / str(number)))
            for number in range(len(LASTING))
        ]
        for place, (fault, _, _) in zip(places, LASTING, strict=True):
            place.hub.faults = [Fault(drop_at=HERE, only=MAIN)]
            place.hub.always = Fault(**(vars(fault) | {"only": MAIN}))
        for place, (_, words, kept), result in zip(
            places, LASTING, pool.map(give_up, places), strict=True
        ):
            assert_one_clear_line(result, 5, words)
            assert len(place.asked()) <= 7
            assert place.part() == kept
            place.hub.always = None
            place.hub.ranges_asked.clear()
            assert place.pull().code == 0
            here = (f"bytes={kept}-", place.etag()) if kept else (None, None)
            assert place.asked() == [here]
            place.assert_whole()


def give_up(there: Downloads) -> Result:
    return there.pull(HF_HUB_DOWNLOAD_TIMEOUT="1")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_ends_a_stalled_download(there: Downloads, signum: int, code: int) -> None:
    there.hub.always = Fault(stall_at=HERE)
    with there.start(HF_HUB_DOWNLOAD_TIMEOUT="600") as running:
        wait_until(lambda: there.hub.waiting == 2 and there.part(DRAFT) == there.part() == HERE)
        assert running.interrupt(signum) == code
        assert not any("Traceback" in line or "Exception" in line for line in running.rest())
    there.hub.always = None
    there.hub.ranges_asked.clear()
    assert there.pull().code == 0
    assert there.asked() == [(f"bytes={HERE}-", there.etag())]
    there.assert_whole()


def test_a_disk_without_room_is_known_before(there: Downloads) -> None:
    size = 10**15
    lfs = {"sha256": there.repo.oid(MAIN), "size": size, "pointerSize": 130}
    there.hub.listing = listing(there, size=size, lfs=lfs)
    result = there.pull()
    assert_one_clear_line(result, 5, f"has no room for {MAIN} and {DRAFT}", "expected 909",
                          "llmtp list --unused", "llmtp rm --unused")  # fmt: skip
    assert there.asked() == there.asked(DRAFT) == []


def test_a_disk_that_fills(there: Downloads) -> None:
    """The system lets no file of the child grow further, as a full disk would."""
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 6000; exec "$0" "$@"', str(there.cli.program), "pull", MODEL],
        env=there.cli.env | there.env, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    result = Result(done.returncode, done.stdout, done.stderr)
    assert_one_clear_line(result, 5, "cannot be written: File too large", "free)", "make room")
    kept = there.part()
    assert 3_000_000 < kept < there.pair.main.stat().st_size
    there.assert_honest()
    there.hub.ranges_asked.clear()
    assert there.pull().code == 0
    assert there.asked() == [(f"bytes={kept}-", there.etag())]
    there.assert_whole()


@pytest.mark.parametrize("place", ["file", "file/hub"])
def test_a_cache_that_cannot_be_written(there: Downloads, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("no folder")
    result = there.pull(HF_HUB_CACHE=str(tmp_path / place))
    assert_one_clear_line(result, 5, "cannot be written", "set LLMTP_CACHE")
    assert "make room" not in result.stderr
    assert there.asked() == there.asked(DRAFT) == []
