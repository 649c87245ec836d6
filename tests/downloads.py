"""A pair at a Hub, llmtp that fetches it, and the cache that it fetches into."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import random
import re
import struct
import subprocess
import sysconfig
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fake_hub import FakeHub, Repo, etag, fake_hub
from harness import WAIT_S, Cli, Result, Running

REPO = "a/crafted-GGUF"
MODEL = f"hf:{REPO}:F32"
MAIN, DRAFT = "crafted-it-F32.gguf", "MTP/crafted-it-F32-MTP.gguf"
_PIECE = 1 << 24


@dataclass(frozen=True)
class Pair:
    main: Path
    draft: Path

    @property
    def size(self) -> int:
        return self.main.stat().st_size + self.draft.stat().st_size


def grown_pair(crafted: Path, folder: Path, main_bytes: int, draft_bytes: int) -> Pair:
    """The crafted pair with so many random bytes behind the tensors, where nobody reads them."""
    dice = random.Random(main_bytes)
    for name, extra in (("crafted.gguf", main_bytes), ("mtp-crafted.gguf", draft_bytes)):
        with (folder / name).open("wb") as file:
            file.write((crafted / name).read_bytes())
            for start in range(0, extra, _PIECE):
                file.write(dice.randbytes(min(_PIECE, extra - start)))
    return Pair(folder / "crafted.gguf", folder / "mtp-crafted.gguf")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Downloads:
    """llmtp with an empty cache, and a Hub that has a pair for it."""

    cli: Cli
    hub: FakeHub
    pair: Pair
    home: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def repo(self) -> Repo:
        return self.hub.repos[REPO]

    @property
    def folder(self) -> Path:
        """What the cache has of the repository."""
        return self.home / "hub" / f"models--{REPO.replace('/', '--')}"

    def pull(self, *args: str, **env: str) -> Result:
        return self.cli("pull", MODEL, *args, env=self.env | env)

    @contextmanager
    def start(self, *args: str, **env: str) -> Iterator[Running]:
        with self.cli.start("pull", MODEL, *args, env=self.env | env) as running:
            yield running

    def hf(self, *files: str, **env: str) -> subprocess.Popen[str]:
        """The program of huggingface_hub, downloading into the same cache."""
        program = Path(sysconfig.get_path("scripts")) / "hf"
        quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "COLUMNS": "500",
                 "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "default"}  # fmt: skip
        return subprocess.Popen(
            [str(program), "download", REPO, *files],
            env=self.cli.env | self.env | quiet | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def asked(self, name: str = MAIN) -> list[tuple[str | None, str | None]]:
        """Range and If-Range of every request for the content of that file, not for its header."""
        return [
            (span, condition)
            for file, span, condition in self.hub.ranges_asked
            if file == name and not re.search(r"-\d", span or "")
        ]

    def part(self, name: str = MAIN) -> int:
        """How many bytes wait for the next time."""
        path = self.folder / "blobs" / f"{self.repo.oid(name)}.llmtp.incomplete"
        return path.stat().st_size if path.exists() else 0

    def etag(self, name: str = MAIN) -> str:
        return etag(self.repo.files[name])

    def blob(self, name: str = MAIN) -> Path:
        return self.folder / "blobs" / self.repo.oid(name)

    def assert_whole(self) -> None:
        """Both files under their names and commit, proved, and nothing else."""
        blobs = {self.blob(name).name for name in (MAIN, DRAFT)}
        assert {path.name for path in (self.folder / "blobs").iterdir()} == blobs
        for name, content in ((MAIN, self.pair.main), (DRAFT, self.pair.draft)):
            pointer = self.folder / "snapshots" / self.repo.commit / name
            assert pointer.is_symlink()
            assert pointer.resolve() == self.blob(name).resolve()
            assert sha256(pointer) == sha256(content)
        assert (self.folder / "refs" / "main").read_text() == self.repo.commit

    def assert_honest(self) -> None:
        """Whatever has the name of a content is that content."""
        for path in self.folder.glob("blobs/*"):
            assert "." in path.name or sha256(path) == path.name
        for path in self.folder.glob("snapshots/**/*.gguf"):
            assert sha256(path) == path.resolve().name


@contextmanager
def downloads(cli: Cli, pair: Pair, home: Path) -> Iterator[Downloads]:
    with fake_hub() as hub:
        hub.spares_headers = True
        hub.repos[REPO] = Repo({MAIN: pair.main, DRAFT: pair.draft})
        env = hub.env() | {"HF_HOME": str(home), "XDG_CACHE_HOME": str(home / "known")}
        yield Downloads(cli, hub, pair, home, env)


class Terminal:
    """A child on a terminal of its own, and all that it was sent."""

    def __init__(self, leader: int, process: subprocess.Popen[bytes]) -> None:
        self.leader, self.process, self.screen = leader, process, ""

    def wait(self, words: str) -> None:
        while words not in self.screen:
            self.screen += os.read(self.leader, 1 << 16).decode("utf-8", "replace")

    def end(self) -> int:
        """Read to the end, and its exit code."""
        with suppress(OSError):  # nobody writes any more
            while True:
                self.screen += os.read(self.leader, 1 << 16).decode("utf-8", "replace")
        return self.process.wait(WAIT_S)


@contextmanager
def terminal(cli: Cli, args: list[str], columns: int, env: dict[str, str]) -> Iterator[Terminal]:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    inherited = {k: v for k, v in cli.env.items() if k != "COLUMNS"}
    process = subprocess.Popen(
        [str(cli.program), *args], env=inherited | {"TERM": "xterm-256color"} | env,
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    timer = threading.Timer(WAIT_S, process.kill)
    timer.start()
    try:
        yield Terminal(leader, process)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        os.close(leader)
