"""A Hub of one's own: lists repositories, redirects to another server, and serves ranges.

Real HTTP with real bytes on two loopback ports, because the token must not cross from one to the
other.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of-the-test"  # noqa: S105 - opens the fake Hub only


@dataclass
class Repo:
    """Files by name, and how the Hub treats whoever asks for them."""

    files: dict[str, Path]
    commit: str = "c" * 40
    #: None: for all. `gated` and `private` want the token.
    access: str | None = None
    revisions: tuple[str, ...] = ("main",)


@dataclass
class FakeHub:
    repos: dict[str, Repo] = field(default_factory=dict)
    ranges: bool = True
    #: Statuses to answer with before anything else, for files.
    failures: list[int] = field(default_factory=list)
    #: Cut every answer of the file server short by so many bytes.
    short_by: int = 0
    listing: str | None = None  # instead of the true one
    url: str = ""
    files_url: str = ""
    asked: list[str] = field(default_factory=list)
    tokens_at_files: list[str] = field(default_factory=list)
    sent_bytes: int = 0

    def env(self, token: str | None = None) -> dict[str, str]:
        """What a child needs to talk to this Hub."""
        return {"HF_ENDPOINT": self.url} | ({"HF_TOKEN": token} if token else {})


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    servers = [_serve(hub, _Hub), _serve(hub, _Files)]
    hub.url, hub.files_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def oid(path: Path) -> str:
    """A name of the content: of its header, since some files are gigabytes of holes."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(1 << 24) + b"%d" % path.stat().st_size).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Hub(_Handler):
    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        listing = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = listing or file
        repo = self.hub.repos.get(found[1]) if found else None
        if found is None or repo is None:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if repo.access and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            if repo.access == "gated":
                return self.answer(403, X_Error_Code="GatedRepo")
            return self.answer(401, X_Error_Code="RepoNotFound")
        if listing is not None:
            return self._list(found[1], repo, listing[3])
        if found[2] != repo.commit or found[3] not in repo.files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        return self.answer(302, Location=f"{self.hub.files_url}/{found[1]}/{found[3]}?signed=yes")

    def _list(self, name: str, repo: Repo, revision: str | None) -> None:
        if revision not in (None, repo.commit, *repo.revisions):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        siblings = [
            {
                "rfilename": file,
                "size": path.stat().st_size,
                "lfs": {"size": path.stat().st_size, "sha256": oid(path), "pointerSize": 130},
            }
            for file, path in repo.files.items()
        ]
        body = {"id": name, "sha": repo.commit, "siblings": siblings}
        return self.answer(200, (self.hub.listing or json.dumps(body)).encode())


class _Files(_Handler):
    def do_GET(self) -> None:
        self.hub.tokens_at_files.append(self.headers.get("Authorization") or "")
        if self.hub.failures:
            return self.answer(self.hub.failures.pop(0))
        owner, repo, name = unquote(urlsplit(self.path).path).lstrip("/").split("/", 2)
        path = self.hub.repos[f"{owner}/{repo}"].files[name]
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2]) + 1) if asked and self.hub.ranges else (0, None)
        with path.open("rb") as file:
            file.seek(start)
            body = file.read(-1 if end is None else end - start)
        size = path.stat().st_size
        self.send_response(200 if end is None else 206)
        self.send_header("Content-Length", str(len(body)))
        if end is not None:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{size}")
        self.end_headers()
        sent = body[: len(body) - self.hub.short_by]
        try:
            for at in range(0, len(sent), 1 << 16):
                self.wfile.write(sent[at : at + (1 << 16)])
                self.hub.sent_bytes += len(sent[at : at + (1 << 16)])
        except ConnectionError:
            return None  # whoever asked has read enough
        if self.hub.short_by:
            self.close_connection = True
        return None


def _serve(hub: FakeHub, handler: type[_Handler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type(handler.__name__, (handler,), {"hub": hub}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
