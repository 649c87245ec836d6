"""The vision projector: only when it is asked for, and only one that fits."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import pytest
from fake_hub import Repo, fake_hub
from harness import Cli, assert_one_clear_line, chat, http
from mmproj import make_mmproj

WIDTH = 128


@pytest.fixture(scope="module")
def projector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mmproj(tmp_path_factory.mktemp("mmproj") / "mmproj-F16.gguf", WIDTH)


def png(width: int, height: int) -> str:
    """A grey image as a data address."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + b"\x80" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    return "data:image/png;base64," + base64.b64encode(content + chunk(b"IEND", b"")).decode()


def test_a_server_sees_and_still_drafts(cli: Cli, projector: Path) -> None:
    with cli.start("run", "crafted", "--mmproj", projector, "--json") as running:
        planned = running.wait_event("planned")
        url = running.wait_event("ready")["url"]
        assert running.wait_event("mtp")["active"] is True
        assert http(f"{url}/props")[1]["modalities"]["vision"] is True
        image = {"type": "image_url", "image_url": {"url": png(64, 48)}}
        question = [{"type": "text", "text": "what is it?"}, image]
        body = {"messages": [{"role": "user", "content": question}]}
        _, answer = http(f"{url}/v1/chat/completions", body)
        assert answer["timings"]["draft_n_accepted"] > 0
        assert chat(url)["timings"]["draft_n_accepted"] > 0
        assert running.interrupt() == 130
    assert planned["mmproj"] == str(projector)
    assert planned["host"]["mmproj_bytes"] > projector.stat().st_size * 0.9


def test_without_it_the_plan_has_none(cli: Cli, projector: Path) -> None:
    without = cli("plan", "crafted", "--json").json["data"]
    assert (without["mmproj"], without["host"]["mmproj_bytes"]) == (None, 0)
    assert "--mmproj" not in without["argv"]
    card = ["--vram", "8GiB", "--backend", "cuda", "--json"]
    plain = cli("plan", "crafted", *card).json["data"]["devices"][0]
    seeing = cli("plan", "crafted", "--mmproj", projector, *card).json["data"]["devices"][0]
    assert seeing["used_bytes"] - plain["used_bytes"] == seeing["mmproj_bytes"] > 0
    assert "mmproj" in cli("plan", "crafted", "--mmproj", projector).stdout
    assert "mmproj" not in cli("plan", "crafted").stdout


def test_one_that_does_not_fit_is_refused(cli: Cli, crafted: Path, tmp_path: Path) -> None:
    """The engine loads both models before it finds that out."""
    wrong = make_mmproj(tmp_path / "mmproj-wrong.gguf", 3840)
    refused = cli("run", "crafted", "--mmproj", wrong, "--ask", "hi")
    assert_one_clear_line(refused, 3, "made for another model: Gemma 4 12B", "hidden size 128")
    draft = cli("plan", "crafted", "--mmproj", crafted / "mtp-crafted.gguf")
    assert_one_clear_line(draft, 3, "is no vision projector")
    missing = cli("plan", "crafted", "--mmproj", tmp_path / "nowhere.gguf")
    assert_one_clear_line(missing, 8, "there is no file")


def test_auto_takes_the_one_that_lies_near(
    cli: Cli, crafted: Path, projector: Path, tmp_path: Path
) -> None:
    main = tmp_path / "m-it.gguf"
    main.write_bytes((crafted / "crafted.gguf").read_bytes())
    (tmp_path / "mtp.gguf").write_bytes((crafted / "mtp-crafted.gguf").read_bytes())
    none = cli("plan", main, "--mmproj", "auto")
    assert_one_clear_line(none, 8, "there is no vision projector near", "--mmproj PATH")
    near = tmp_path / "mmproj-F16.gguf"
    near.write_bytes(projector.read_bytes())
    data = cli("plan", main, "--mmproj", "auto", "--json").json["data"]
    assert data["mmproj"] == str(near)
    assert data["argv"][data["argv"].index("--mmproj") + 1] == str(near)


def test_auto_fetches_the_one_of_the_repository(
    cli: Cli, crafted: Path, projector: Path, tmp_path: Path
) -> None:
    files = {"m-it-Q8_0.gguf": crafted / "crafted.gguf",
             "mtp-m-it.gguf": crafted / "mtp-crafted.gguf",
             "mmproj-F32.gguf": projector, "mmproj-F16.gguf": projector}  # fmt: skip
    with fake_hub() as hub:
        hub.repos["a/b"] = Repo(files)
        cli.env |= hub.env() | {"HF_HOME": str(tmp_path / "hf")}
        assert cli("pull", "hf:a/b:Q8_0").code == 0
        assert not [path for path in hub.asked if "mmproj" in path]
        pulled = cli("pull", "hf:a/b:Q8_0", "--mmproj", "auto", "--json").json
        assert Path(pulled["data"]["mmproj"]).name == "mmproj-F16.gguf"
        del files["mmproj-F16.gguf"], files["mmproj-F32.gguf"]
    offline = cli("run", "hf:a/b:Q8_0", "--mmproj", "auto", "--offline", "--ask", "hi")
    assert (offline.code, "MTP is on" in offline.stdout) == (0, True), offline.stderr
