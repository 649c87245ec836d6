"""Pairs in repositories, judged over HTTP before anything is downloaded."""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import entry, gguf, make_pair, text_entry
from fake_hub import TOKEN, FakeHub, Repo, fake_hub
from harness import Cli, Result, assert_one_clear_line
from make_crafted_pair import Shape

from llmtp.errors import UsageError
from llmtp.gguf.facts import TOKENS
from llmtp.gguf.lengths import HEAD_BYTES, StringArrays
from llmtp.gguf.reader import SkippedArray, read_header
from llmtp.hub.choose import draft_candidates, main_candidates
from llmtp.hubname import HubName, parse_hub_name

MAIN, DRAFT = "crafted-it-F32.gguf", "MTP/crafted-it-F32-MTP.gguf"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as running:
        yield running


@pytest.fixture
def alone(cli: Cli, tmp_path: Path) -> Cli:
    """llmtp with a cache of its own, so that nothing is known."""
    cli.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    return cli


def publish(hub: FakeHub, crafted: Path, name: str = "llmtp/crafted-GGUF", **kept: object) -> Repo:
    files = {MAIN: crafted / "crafted.gguf", DRAFT: crafted / "mtp-crafted.gguf"}
    hub.repos[name] = Repo(files, **kept)  # type: ignore[arg-type]  # fields of Repo
    return hub.repos[name]


def ask(cli: Cli, hub: FakeHub, *args: str | Path, token: str | None = None) -> Result:
    return cli("check", *args, env=hub.env(token))


def rules(result: Result) -> set[str]:
    return {finding["rule"] for finding in result.json["findings"]}


def test_a_pair_is_judged_by_pieces_of_its_headers(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    result = ask(alone, hub, "hf:llmtp/crafted-GGUF:F32", "--json")
    data = result.json["data"]
    assert (result.code, data["compatible"]) == (0, True), result.stdout
    assert data["main"]["path"] == f"hf:llmtp/crafted-GGUF@{'c' * 40}/{MAIN}"
    assert data["draft"]["path"].endswith(DRAFT)
    assert result.json["findings"] == []
    size = (crafted / "crafted.gguf").stat().st_size
    assert 0 < data["fetched_bytes"] == hub.sent_bytes < size / 4
    assert hub.asked == [
        "/api/models/llmtp/crafted-GGUF",
        f"/llmtp/crafted-GGUF/resolve/{'c' * 40}/{MAIN}",
        f"/llmtp/crafted-GGUF/resolve/{'c' * 40}/{DRAFT}",
    ]


def test_a_tokenizer_that_was_met_is_not_fetched_again(
    alone: Cli, hub: FakeHub, real_size: list[Path]
) -> None:
    """7 GB are judged by one tokenizer and some KB; with a tokenizer that is known, by KB alone."""
    hub.repos["a/b"] = Repo({"gemma-4-12b-it-Q4_K_M.gguf": real_size[0],
                             "mtp-gemma-4-12b-it.gguf": real_size[1]})  # fmt: skip
    result = ask(alone, hub, "hf:a/b", "--json")
    assert result.json["data"]["compatible"] is True, result.stdout
    assert rules(result) == {"vocabulary-unread"}
    header_bytes = 15 << 20
    assert hub.sent_bytes == result.json["data"]["fetched_bytes"] < header_bytes + (300 << 10)


def test_jumping_over_known_arrays_reads_some_kilobytes(real_size: list[Path]) -> None:
    known = StringArrays()
    with CountingFile(real_size[0]) as counted:
        walked = read_header(counted, counted.size, "main", known)
        assert counted.read_bytes > 10 << 20
        counted.start_again()
        jumped = read_header(counted, counted.size, "main", known)
        assert counted.read_bytes < 200 << 10
    assert jumped.tensors == walked.tensors
    assert jumped.data_offset == walked.data_offset
    for key, value in walked.metadata.items():
        if isinstance(value, SkippedArray):
            assert jumped.metadata[key].count == value.count, key
        else:
            assert jumped.metadata[key] == value, key


@pytest.mark.parametrize("wrong", [-9, -8, -1, 1, 8, 4096, 1 << 40])
def test_a_wrong_memory_of_a_length_does_no_harm(real_size: list[Path], wrong: int) -> None:
    misled = Misled(wrong)
    with CountingFile(real_size[1]) as file:
        honest = read_header(file, file.size, "draft")
        file.start_again()
        assert read_header(file, file.size, "draft", misled) == honest
    assert misled.answered


class Misled(StringArrays):
    """Remembers every array as longer or shorter than it is."""

    def __init__(self, wrong: int) -> None:
        super().__init__()
        self.wrong = wrong
        self.answered = 0

    def length(self, count: int, head: bytes) -> int | None:
        if count < 1000 or len(head) < HEAD_BYTES:
            return None
        self.answered += 1
        return 2_000_000 + self.wrong


class CountingFile(io.FileIO):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.size = path.stat().st_size
        self.read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.read_bytes += len(piece or b"")
        return piece or b""

    def start_again(self) -> None:
        self.seek(0)
        self.read_bytes = 0


def test_a_server_without_ranges_is_read_along(
    alone: Cli, hub: FakeHub, real_size: list[Path]
) -> None:
    hub.ranges = False
    hub.repos["a/b"] = Repo({"main-it.gguf": real_size[1], "mtp-it.gguf": real_size[1]})
    result = ask(alone, hub, "hf:a/b", "--json")
    assert (result.code, rules(result)) == (3, {"main-is-drafter"})
    assert result.json["data"]["fetched_bytes"] < 20 << 20


def test_the_same_content_elsewhere_is_known(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    publish(hub, crafted, "other/copy-GGUF")
    first = ask(alone, hub, "hf:llmtp/crafted-GGUF", "--json").json["data"]
    sent = hub.sent_bytes
    again = ask(alone, hub, "hf:other/copy-GGUF", "--json").json["data"]
    assert (hub.sent_bytes, again["fetched_bytes"]) == (sent, 0)
    assert again["main"]["path"].startswith("hf:other/copy-GGUF@")
    assert again["main"]["quant"] == first["main"]["quant"]


def test_the_token_goes_to_the_hub_and_no_further(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted, access="private")
    without = ask(alone, hub, "hf:llmtp/crafted-GGUF")
    assert_one_clear_line(without, 8, "there is no repository llmtp/crafted-GGUF, or it is private")
    result = ask(alone, hub, "hf:llmtp/crafted-GGUF", "--json", token=TOKEN)
    assert result.code == 0, result.stdout
    assert set(hub.tokens_at_files) == {""}
    assert TOKEN not in result.stdout + result.stderr


def test_a_gated_repository_says_what_to_do(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted, access="gated")
    assert_one_clear_line(ask(alone, hub, "hf:llmtp/crafted-GGUF"), 5, "is gated", "hf auth login")
    assert ask(alone, hub, "hf:llmtp/crafted-GGUF", token=TOKEN).code == 0


def test_a_revision_is_pinned_to_its_commit(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted, commit="d" * 40, revisions=("main", "v1", "refs/pr/3"))
    for revision in ("v1", "refs/pr/3", "d" * 40):
        result = ask(alone, hub, f"hf:llmtp/crafted-GGUF:F32@{revision}", "--json")
        assert f"@{'d' * 40}/" in result.json["data"]["main"]["path"], result.stdout
    assert_one_clear_line(ask(alone, hub, "hf:llmtp/crafted-GGUF@v2"), 8, "has no revision 'v2'")


def test_a_drafter_of_another_repository(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    hub.repos["a/main"] = Repo({MAIN: crafted / "crafted.gguf"})
    hub.repos["b/draft"] = Repo({"assistant.gguf": crafted / "mtp-crafted.gguf"})
    alone_ = ask(alone, hub, "hf:a/main")
    assert_one_clear_line(alone_, 8, "there is no drafter for crafted-it-F32.gguf in hf:a/main@")
    assert ask(alone, hub, "hf:a/main", "hf:b/draft").code == 0
    assert ask(alone, hub, crafted / "crafted.gguf", "hf:b/draft").code == 0
    assert ask(alone, hub, "hf:a/main", crafted / "mtp-crafted.gguf").code == 0
    swapped = ask(alone, hub, "hf:b/draft", "hf:a/main", "--json")
    assert (swapped.code, rules(swapped)) == (3, {"pair-swapped"})
    drafter = ask(alone, hub, "hf:b/draft", "--json")
    assert (drafter.code, rules(drafter)) == (3, {"main-is-drafter"})


def test_a_wrong_drafter_in_the_repository_is_passed_over(
    alone: Cli, hub: FakeHub, crafted: Path, tmp_path: Path
) -> None:
    _, wrong = make_pair(tmp_path, draft=Shape(width=160))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(wrong.read_bytes()[:5000])
    repo = publish(hub, crafted)
    repo.files |= {"mtp-other.gguf": wrong, "mtp-broken.gguf": broken}
    assert (
        ask(alone, hub, "hf:llmtp/crafted-GGUF", "--json")
        .json["data"]["draft"]["path"]
        .endswith(DRAFT)
    )
    del repo.files[DRAFT]
    left = ask(alone, hub, "hf:llmtp/crafted-GGUF")
    assert_one_clear_line(left, 8, "mtp-other.gguf", "mtp-broken.gguf", "which it is not")


def test_an_unknown_quant_shows_the_known_ones(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    result = ask(alone, hub, "hf:llmtp/crafted-GGUF:Q4_K_M")
    assert_one_clear_line(
        result,
        8,
        "no GGUF model in Q4_K_M",
        "expected one of F32)",
        "for example: hf:llmtp/crafted-GGUF:F32",
    )


def test_a_repository_without_gguf(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    hub.repos["google/gemma"] = Repo({"model.safetensors": crafted / "crafted.gguf"})
    result = ask(alone, hub, "hf:google/gemma")
    assert_one_clear_line(result, 8, "there is no GGUF model in", "repository of a GGUF release")


def test_split_models_are_read_part_by_part(alone: Cli, hub: FakeHub, tmp_path: Path) -> None:
    from test_gguf_reader import split_part

    names = [f"Q4_K_M/m-it-Q4_K_M-{part:05}-of-00002.gguf" for part in (1, 2)]
    for number, name in enumerate(names):
        (tmp_path / Path(name).name).write_bytes(split_part(number, 2, f"t{number}"))
    hub.repos["a/b"] = Repo({name: tmp_path / Path(name).name for name in names})
    result = ask(alone, hub, "hf:a/b:Q4_K_M", "--json")
    assert rules(result) == {"main-kind"}, result.stdout
    assert len([path for path in hub.asked if "resolve" in path]) == 2
    del hub.repos["a/b"].files[names[1]]
    assert_one_clear_line(ask(alone, hub, "hf:a/b:Q4_K_M"), 8, "there is no file", names[1])


def test_a_profile_may_name_repositories(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    (alone.profiles / "mine.yaml").write_text("main: hf:llmtp/crafted-GGUF:F32\n", encoding="utf-8")
    assert ask(alone, hub, "mine").code == 0
    assert alone("plan", "mine", env=hub.env()).code == 0
    (alone.profiles / "mine.yaml").write_text("main: hf:nonsense\n", encoding="utf-8")
    assert_one_clear_line(ask(alone, hub, "mine"), 2, "mine.yaml:1: main: ", "OWNER/REPO")


def test_a_truncated_upload_is_named(
    alone: Cli, hub: FakeHub, crafted: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes((crafted / "crafted.gguf").read_bytes()[:-100])
    hub.repos["a/b"] = Repo({MAIN: cut})
    assert_one_clear_line(ask(alone, hub, "hf:a/b"), 5, "is truncated", "100 bytes are missing")


def test_a_failing_server_is_no_bad_file(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    hub.failures = [503]
    assert_one_clear_line(ask(alone, hub, "hf:llmtp/crafted-GGUF"), 5, "the Hub answers 503")
    hub.short_by = 10
    assert_one_clear_line(ask(alone, hub, "hf:llmtp/crafted-GGUF"), 5, "the Hub cannot be reached")


@pytest.mark.parametrize(
    "listing",
    ["[]", "{", '{"id": "a/b"}', '{"id": "a/b", "sha": 5, "siblings": [{}]}',
     '{"id": "a/b", "sha": "x", "siblings": [{"rfilename": 7}]}', "null"],
)  # fmt: skip
def test_a_nonsensical_listing_is_one_clear_line(
    alone: Cli, hub: FakeHub, crafted: Path, listing: str
) -> None:
    publish(hub, crafted)
    hub.listing = listing
    assert_one_clear_line(ask(alone, hub, "hf:llmtp/crafted-GGUF"), 5, "makes no sense")


def test_names_with_tricks_are_not_looked_at(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    names = ["../../etc/it.gguf", "/etc/it.gguf", "a//it.gguf", "\x1b[31mit.gguf", "..\\it.gguf"]
    siblings = [{"rfilename": name, "size": 9, "blobId": "x"} for name in names]
    hub.listing = json.dumps({"id": "a/b", "sha": "c" * 40, "siblings": siblings})
    result = ask(alone, hub, "hf:llmtp/crafted-GGUF")
    assert_one_clear_line(result, 8, "there is no GGUF model")
    assert not [path for path in hub.asked if "resolve" in path]


def test_another_tokenizer_in_a_repository_warns(alone: Cli, hub: FakeHub, tmp_path: Path) -> None:
    """Small token lists are read whole, and compared where they lie."""
    main, draft = make_pair(tmp_path)
    content = draft.read_bytes()
    draft.write_bytes(content.replace(b"<0x41>", b"<0x4X>"))
    hub.repos["a/b"] = Repo({"m-it.gguf": main, "mtp-it.gguf": draft})
    for args in (["hf:a/b"], [main, "hf:a/b"]):
        result = ask(alone, hub, *args, "--json")
        assert (result.code, rules(result)) == (0, {"vocabulary-tokens"}), result.stdout


def test_files_without_an_id_are_not_remembered(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    files = hub.repos["llmtp/crafted-GGUF"].files.items()
    siblings = [{"rfilename": name, "size": path.stat().st_size} for name, path in files]
    hub.listing = json.dumps({"id": "a/b", "sha": "c" * 40, "siblings": siblings})
    for _ in range(2):
        data = ask(alone, hub, "hf:llmtp/crafted-GGUF", "--json").json["data"]
        assert data["fetched_bytes"] > 0
        assert (data["main"]["kind"], data["draft"]["kind"]) == ("main", "assistant")


def test_an_endless_header_is_not_read_to_its_end(alone: Cli, hub: FakeHub, tmp_path: Path) -> None:
    endless = tmp_path / "endless.gguf"
    words = struct.pack("<IQ", 8, 1 << 16) + (struct.pack("<Q", 1 << 22) + bytes(1 << 22)) * 24
    endless.write_bytes(gguf([entry(TOKENS, 9, words)]))
    hub.repos["a/b"] = Repo({"m-it.gguf": endless})
    assert_one_clear_line(ask(alone, hub, "hf:a/b"), 5, "takes more than 64 MiB")
    assert hub.sent_bytes < 80 << 20


@pytest.mark.parametrize("sha", ["\x1b[2J", "main", "", "c" * 39, "../../x"])
def test_a_commit_that_is_none(alone: Cli, hub: FakeHub, crafted: Path, sha: str) -> None:
    publish(hub, crafted)
    hub.listing = json.dumps({"id": "a/b", "sha": sha, "siblings": []})
    result = ask(alone, hub, "hf:llmtp/crafted-GGUF")
    assert_one_clear_line(result, 5, "makes no sense")
    assert "\x1b" not in result.stderr


def test_a_malformed_token_stays_secret(alone: Cli, hub: FakeHub, crafted: Path) -> None:
    publish(hub, crafted)
    malformed = "hf_sec\x0cret"
    result = ask(alone, hub, "hf:llmtp/crafted-GGUF", token=malformed)
    assert_one_clear_line(result, 5, "the token has characters that no request can carry")
    assert "hf_sec" not in result.stderr


@pytest.mark.parametrize("endpoint", ["http://x:port", "http://[bad", "ftp://x", "nonsense"])
def test_a_malformed_endpoint_is_one_clear_line(alone: Cli, endpoint: str) -> None:
    result = alone("check", "hf:a/b", env={"HF_ENDPOINT": endpoint})
    assert_one_clear_line(result, 2, "HF_ENDPOINT is")


def test_offline_and_unreachable(alone: Cli, hub: FakeHub) -> None:
    offline = alone("check", "hf:a/b", env=hub.env() | {"HF_HUB_OFFLINE": "1"})
    assert_one_clear_line(offline, 8, "nothing of a/b is on this disk", "HF_HUB_OFFLINE")
    nobody = alone("check", "hf:a/b", env={"HF_ENDPOINT": "http://127.0.0.1:1"})
    assert_one_clear_line(nobody, 5, "the Hub cannot be reached", "HF_ENDPOINT")


def test_a_file_that_is_no_gguf_is_named(alone: Cli, hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"PK\x03\x04" + bytes(400))
    hub.repos["a/b"] = Repo({"m-it.gguf": tmp_path / "m"})
    assert_one_clear_line(ask(alone, hub, "hf:a/b"), 5, "is a ZIP archive")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:a/b", HubName("a", "b")),
        ("hf:a/b:Q4_K_M", HubName("a", "b", "Q4_K_M")),
        ("hf:a/b-1.5:UD-Q4_K_XL@refs/pr/1", HubName("a", "b-1.5", "UD-Q4_K_XL", "refs/pr/1")),
        ("hf:a/b@main", HubName("a", "b", None, "main")),
    ],
)
def test_references_are_taken_apart(text: str, name: HubName) -> None:
    assert parse_hub_name(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:a", "hf:a/b/c", "hf:a/..", "hf:../b", "hf:a/b@../x", "hf:a/b:Q4 K", "hf:a/b\n",
     "hf:a/b:", "hf:a/b@", "hf:a/\x1b[31m"],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_hub_name(text)
    assert caught.value.findings[0].message.isprintable()


UNSLOTH = ["gemma-4-12b-it-BF16.gguf", "gemma-4-12b-it-Q4_0.gguf", "gemma-4-12b-it-Q4_K_M.gguf",
           "gemma-4-12b-it-Q4_K_S.gguf", "gemma-4-12b-it-Q8_0.gguf", "README.md",
           "gemma-4-12b-it-UD-Q4_K_XL.gguf", "mmproj-BF16.gguf", "imatrix_unsloth.gguf",
           "BF16/gemma-4-12b-it-F32-00001-of-00002.gguf",
           "BF16/gemma-4-12b-it-F32-00002-of-00002.gguf"]  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "best"),
    [
        (None, "gemma-4-12b-it-Q8_0.gguf"),
        ("Q4_K_M", "gemma-4-12b-it-Q4_K_M.gguf"),
        ("q8_0", "gemma-4-12b-it-Q8_0.gguf"),
        ("Q4_K_XL", "gemma-4-12b-it-UD-Q4_K_XL.gguf"),
        ("UD-Q4_K_XL", "gemma-4-12b-it-UD-Q4_K_XL.gguf"),
        ("Q4_0", "gemma-4-12b-it-Q4_0.gguf"),
        ("F32", "BF16/gemma-4-12b-it-F32-00001-of-00002.gguf"),
    ],
)
def test_the_main_model_is_chosen_by_its_quant(quant: str | None, best: str) -> None:
    names = [*UNSLOTH, "mtp-gemma-4-12b-it.gguf", "MTP/gemma-4-12B-it-MTP-Q8_0.gguf"]
    assert main_candidates(names, quant)[0] == best
    assert main_candidates(names, "Q4_K") == []
    assert main_candidates(["a-it-imatrix-Q4_K_M.gguf"], "Q4_K_M") == ["a-it-imatrix-Q4_K_M.gguf"]
    assert main_candidates(["a-fp16.gguf", "a-Q8_0.gguf"], None)[0] == "a-Q8_0.gguf"
    assert main_candidates(["gemma-4-31B_q4_0-it.gguf"], "Q4_0") == ["gemma-4-31B_q4_0-it.gguf"]


@pytest.mark.parametrize(
    "name",
    [
        "mtp-gemma-4-12b-it.gguf",
        "MTP/mtp-gemma-4-E2B-it-Q8_0.gguf",
        "MTP/gemma-4-E2B-it-Q8_0-MTP.gguf",
        "MTP/gemma-4-12B-it-MTP-Q8_0.gguf",
        "gemma-4-12B-it-qat-assistant-MTP-Q8_0.gguf",
        "gemma-4-12B-it-assistant-Q8_0.gguf",
        "gemma-4-E2B-it-assist-F16.gguf",
    ],
)
def test_every_way_to_name_a_drafter_is_known(name: str) -> None:
    assert draft_candidates([*UNSLOTH, name], None) == [name]
    assert name not in main_candidates([*UNSLOTH, name], None)


def test_the_more_exact_drafter_comes_first() -> None:
    names = [f"MTP/gemma-4-12B-it-{quant}-MTP.gguf" for quant in ("BF16", "F16", "Q4_0", "Q8_0")]
    order = draft_candidates([*names, "mtp-gemma-4-12B-it.gguf"], None)
    assert [re.sub(r".*it-?|-?MTP|\.gguf", "", name) for name in order] == [
        "Q8_0", "", "BF16", "F16", "Q4_0",
    ]  # fmt: skip


def test_a_name_in_a_header_reaches_nobody_raw(alone: Cli, hub: FakeHub, tmp_path: Path) -> None:
    evil = tmp_path / "evil.gguf"
    evil.write_bytes(gguf([text_entry("general.architecture", "\x1b]0;owned\x07" + "x" * 9000)]))
    hub.repos["a/b"] = Repo({"m-it.gguf": evil})
    for args in ([], ["--json"]):
        result = ask(alone, hub, "hf:a/b", *args)
        assert result.code == 3
        assert "\x1b" not in result.stdout + result.stderr
        assert "\\u001b" not in result.stdout
        assert len(result.stdout + result.stderr) < 3000
