"""A Hub of one's own: lists repositories, redirects to another server, and serves ranges.

Real HTTP with real bytes on two loopback ports, because the token must not cross from one to the
other. They have two host names as well: huggingface_hub compares names alone, and would follow a
redirect to another port of its own host with the token. Alone it serves a folder:

    python tests/fake_hub.py FOLDER [--rate BYTES_PER_S]        # FOLDER/OWNER/REPO/**
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, quote, unquote, urlsplit

TOKEN = "hf_of-the-test"  # noqa: S105 - opens the fake Hub only
_BEARER = f"Bearer {TOKEN}"
_GATED = ("gated", "unaccepted")
HASHED_BYTES = 1 << 30
_PIECE_BYTES = 1 << 20
_MOST_PACED_BYTES = 1 << 18
_PACED_S = 0.01
#: A sender that comes so late makes up for it; after a longer rest there is no burst.
_LATE_S = 0.05
_LOOK_S = 0.02
_END_S = 10.0


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request. Offsets are absolute ones in the file."""

    #: Answer with that and no content.
    status: int | None = None
    retry_after: str | None = None
    #: What the true Hub says with a 429: `"api";r=0;t=55`.
    ratelimit: str | None = None
    #: Close the connection there; at once where the range starts behind it. Below 0: no answer.
    drop_at: int | None = None
    #: Close with a reset; how much of what was sent before arrives is then open.
    reset: bool = False
    #: Send nothing more from there on, until the client goes away or the Hub ends.
    stall_at: int | None = None
    #: Send this byte with its lowest bit flipped.
    flip_at: int | None = None
    #: Announce and send so many bytes less; a Content-Range ends earlier, of the true size.
    short: int = 0
    #: 200 with the whole file.
    ignore_range: bool = False
    #: 206 with a range, in the header and in the content, that starts so many bytes later.
    wrong_range: int = 0
    #: Another ETag, also for If-Range: what a file has that was changed in the meantime.
    etag: str | None = None
    #: End of the file's name (of the path, for the Hub); others pass it by.
    only: str | None = None

    def is_for(self, name: str) -> bool:
        return self.only is None or name.endswith(self.only)


_NO_FAULT = Fault()


@dataclass
class Repo:
    """Files by name, and how the Hub treats whoever asks for them. All of them are LFS files."""

    files: dict[str, Path]
    commit: str = "c" * 40
    #: None: for all. `gated` and `private` want the token; `unaccepted` is gated, and the owner of
    #: the token has not accepted its licence.
    access: str | None = None
    revisions: tuple[str, ...] = ("main",)
    #: By name, instead of the true ones.
    oids: dict[str, str] = field(default_factory=dict)
    #: Names of files that are there through Xet only.
    no_http: set[str] = field(default_factory=set)

    def oid(self, name: str) -> str:
        """What the Hub says is the sha256 of that file."""
        return self.oids.get(name) or oid(self.files[name])


@dataclass
class FakeHub:
    """What it serves, how it misbehaves, and what was asked of it.

    Everything may be changed while it runs.
    """

    repos: dict[str, Repo] = field(default_factory=dict)
    ranges: bool = True
    #: Statuses to answer with before anything else, for files.
    failures: list[int] = field(default_factory=list)
    #: Cut every answer of the file server short by so many bytes.
    short_by: int = 0
    listing: str | None = None  # instead of the true one
    #: Bytes per second of the file server, for all connections together.
    rate_per_s: float | None = None
    #: For GETs of the file server: each takes the first that is for it.
    faults: list[Fault] = field(default_factory=list)
    #: For those that none of `faults` is for.
    always: Fault | None = None
    #: Faults pass by ranges that have an end: so headers are read, not whole files.
    spares_headers: bool = False
    #: Statuses and what to wait, for requests of the Hub about a repository that is there.
    hub_faults: list[Fault] = field(default_factory=list)
    #: Every file stops at this offset, or where its range starts behind it, until `release`.
    hold_at: int | None = None
    url: str = ""
    files_url: str = ""
    #: Paths at the Hub, in order; those of HEAD behind that word.
    asked: list[str] = field(default_factory=list)
    #: Of GETs at the file server: name of the file, Range, If-Range.
    ranges_asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    tokens_at_files: list[str] = field(default_factory=list)
    #: Of content. Never less than what has arrived.
    sent_bytes: int = 0
    #: Answers that are held or stalled now.
    waiting: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _ending: threading.Event = field(default_factory=threading.Event, repr=False)
    _open: dict[socket.socket, threading.Thread] = field(default_factory=dict, repr=False)
    _free_at: float = 0.0

    def env(self, token: str | None = None) -> dict[str, str]:
        """What a child needs to talk to this Hub."""
        return {"HF_ENDPOINT": self.url} | ({"HF_TOKEN": token} if token else {})

    def release(self) -> None:
        """Let go on what is held, and hold no more."""
        self.hold_at = None

    def _fault(self, faults: list[Fault], name: str) -> Fault | None:
        """Take the first that is for this name."""
        with self._lock:
            for number, fault in enumerate(faults):
                if fault.is_for(name):
                    return faults.pop(number)
        return None

    def _count(self, size: int) -> None:
        with self._lock:
            self.sent_bytes += size

    def _pace(self, size: int) -> None:
        """Wait until so many bytes may be sent: connections queue for one line of that rate."""
        if self.rate_per_s is None:
            return
        with self._lock:
            now = time.monotonic()
            start = self._free_at if now - self._free_at < _LATE_S else now
            self._free_at = start + size / self.rate_per_s
            wait_s = self._free_at - now
        if wait_s > 0:
            self._ending.wait(wait_s)

    def _join(self, connection: socket.socket) -> None:
        with self._lock:
            if self._ending.is_set():
                raise ConnectionAbortedError
            self._open[connection] = threading.current_thread()

    def _leave(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(connection, None)

    def _end(self) -> None:
        with self._lock:
            self._ending.set()
            left = dict(self._open)
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left.values():
            thread.join(_END_S)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    servers = [_serve(hub, _Hub), _serve(hub, _Files)]
    hub.url, hub.files_url = (
        f"http://{host}:{server.server_port}"
        for host, server in zip(("127.0.0.1", "localhost"), servers, strict=True)
    )
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        hub._end()


_oids: dict[tuple[Path, int, int], str] = {}
_oids_lock = threading.Lock()


def oid(path: Path) -> str:
    """The sha256 of the content; over 1 GiB a name by its header: those are files of holes."""
    stat = path.stat()
    key = (path, stat.st_size, stat.st_mtime_ns)
    with _oids_lock:
        if key not in _oids:
            with path.open("rb") as file:
                if stat.st_size > HASHED_BYTES:
                    header = file.read(1 << 24)
                    _oids[key] = hashlib.sha256(header + b"%d" % stat.st_size).hexdigest()
                else:
                    _oids[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return _oids[key]


def etag(path: Path) -> str:
    """The ETag of the file server: unlike that of the Hub, it is not the sha256."""
    stat = path.stat()
    return f'"{stat.st_mtime_ns:x}-{stat.st_ino:x}-{stat.st_size:x}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    #: A head and its content are two segments, and the second would wait for an ACK.
    disable_nagle_algorithm = True
    hub: FakeHub

    def setup(self) -> None:
        super().setup()
        self.hub._join(self.connection)

    def finish(self) -> None:
        self.hub._leave(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str | None) -> None:
        """Status, headers that are not None, and the body unless it is asked for no more."""
        self.head(status, len(body), **headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, fault: Fault) -> None:
        self.answer(status, Retry_After=fault.retry_after, RateLimit=fault.ratelimit)

    def head(self, status: int, size: int, **headers: str | None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(size))
        self.end_headers()


class _Hub(_Handler):
    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.hub.asked.append(path if self.command == "GET" else f"{self.command} {path}")
        if path == "/api/whoami-v2":
            return self._owner()
        api = re.fullmatch(
            r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|refs|auth-check)(?:/(.+))?)?", parts.path
        )
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path)
        found = api or file
        name = unquote(found[1]) if found else ""
        repo = self.hub.repos.get(name)
        if found is None or repo is None:
            return self.answer(404, X_Error_Code="RepoNotFound")
        fault = self.hub._fault(self.hub.hub_faults, path)
        if fault is not None and fault.status is not None:
            return self.fail(fault.status, fault)
        if self.headers.get("Authorization", _BEARER) != _BEARER:
            return self.answer(401, X_Error_Message="Invalid credentials in Authorization header")
        is_list = api is not None and found[2] in (None, "revision")
        if repo.access == "unaccepted" and not is_list:
            return self.answer(403, X_Error_Code="GatedRepo")
        # What is gated is listed for everybody.
        open_to_all = repo.access is None or (repo.access in _GATED and is_list)
        if not open_to_all and "Authorization" not in self.headers:
            if repo.access == "gated":
                return self.answer(403, X_Error_Code="GatedRepo")
            return self.answer(401, X_Error_Code="RepoNotFound")
        if file is not None:
            return self._resolve(name, repo, unquote(file[2]), unquote(file[3]))
        if found[2] == "auth-check":
            return self._json({})
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if found[2] == "refs":
            return self._json(_refs(repo))
        if found[2] == "tree":
            revision, _, folder = (found[3] or "").partition("/")
            return self._tree(
                repo, unquote(revision), unquote(folder), _is_true(query, "recursive")
            )
        return self._list(name, repo, found[3] and unquote(found[3]), _is_true(query, "blobs"))

    do_HEAD = do_GET

    def _owner(self) -> None:
        if self.headers.get("Authorization") == _BEARER:
            return self._json({"type": "user", "name": "of-the-test"})
        return self.answer(401, X_Error_Message="Invalid credentials in Authorization header")

    def _json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def _list(self, name: str, repo: Repo, revision: str | None, with_blobs: bool) -> None:
        if revision not in (None, repo.commit, *repo.revisions):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if self.hub.listing is not None:
            return self.answer(200, self.hub.listing.encode(), Content_Type="application/json")
        siblings: list[dict[str, Any]] = [{"rfilename": file} for file in repo.files]
        if with_blobs:
            for sibling in siblings:
                blob = _blob(repo, sibling["rfilename"])
                lfs = {key: blob["lfs"][key] for key in ("size", "pointerSize")}
                sibling |= {
                    "size": blob["size"],
                    "blobId": blob["oid"],
                    "lfs": lfs | {"sha256": blob["lfs"]["oid"]},
                }
        gated = "manual" if repo.access in _GATED else False
        return self._json({"id": name, "sha": repo.commit, "gated": gated, "siblings": siblings})

    def _tree(self, repo: Repo, revision: str, folder: str, recursive: bool) -> None:
        if revision not in (repo.commit, *repo.revisions):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        start = f"{folder.strip('/')}/" if folder else ""
        below = [name for name in repo.files if name.startswith(start)]
        if start and not below:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=repo.commit)
        folders = {
            parent.as_posix(): None
            for name in below
            for parent in reversed(Path(name).parents)
            if parent.as_posix().startswith(start) and parent.as_posix() != "."
        }
        entries: list[dict[str, Any]] = [
            {"type": "directory", "oid": _git_oid("tree", name.encode()), "size": 0, "path": name}
            for name in folders
            if recursive or "/" not in name[len(start) :]
        ]
        for name in below:
            if recursive or "/" not in name[len(start) :]:
                xet = {"xetHash": _xet_hash(repo, name)} if name in repo.no_http else {}
                entries.append({"type": "file", "path": name} | _blob(repo, name) | xet)
        return self._json(entries)

    def _resolve(self, repo_name: str, repo: Repo, revision: str, name: str) -> None:
        if revision not in (repo.commit, *repo.revisions):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if name not in repo.files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=repo.commit)
        if name in repo.no_http:
            return self.answer(
                403,
                X_Repo_Commit=repo.commit,
                X_Xet_Hash=_xet_hash(repo, name),
                X_Error_Message="file is only available through Xet",
            )
        return self.answer(
            302,
            Location=f"{self.hub.files_url}/{quote(f'{repo_name}/{name}')}?signed=yes",
            X_Repo_Commit=repo.commit,
            X_Linked_Etag=f'"{repo.oid(name)}"',
            X_Linked_Size=str(repo.files[name].stat().st_size),
            ETag=f'"{repo.oid(name)}"',
            Accept_Ranges="bytes",
        )


def _is_true(query: dict[str, str], key: str) -> bool:
    return query.get(key, "").lower() in ("true", "1")


def _git_oid(kind: str, content: bytes) -> str:
    named = b"%s %d\0%s" % (kind.encode(), len(content), content)
    return hashlib.sha1(named, usedforsecurity=False).hexdigest()


def _xet_hash(repo: Repo, name: str) -> str:
    return hashlib.sha256(f"xet {repo.oid(name)}".encode()).hexdigest()


def _blob(repo: Repo, name: str) -> dict[str, Any]:
    """A file as an entry of a tree: in git there is a pointer, which names the content."""
    sha256, size = repo.oid(name), repo.files[name].stat().st_size
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return {
        "oid": _git_oid("blob", pointer.encode()),
        "size": size,
        "lfs": {"oid": sha256, "size": size, "pointerSize": len(pointer)},
    }


def _refs(repo: Repo) -> dict[str, list[dict[str, str]]]:
    def all_of(start: str, names: list[str]) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"{start}{name}", "targetCommit": repo.commit} for name in names
        ]

    return {
        "branches": all_of("refs/heads/", [r for r in repo.revisions if not r.startswith("refs/")]),
        "converts": [],
        "tags": [],
        "pullRequests": all_of("", [r for r in repo.revisions if r.startswith("refs/")]),
    }


class _Files(_Handler):
    def do_HEAD(self) -> None:
        self.hub.tokens_at_files.append(self.headers.get("Authorization") or "")
        found = self._find()
        if found is None:
            return self.answer(404)
        _, path = found
        units = "bytes" if self.hub.ranges else "none"
        return self.head(200, path.stat().st_size, ETag=etag(path), Accept_Ranges=units)

    def do_GET(self) -> None:
        hub = self.hub
        found = self._find()
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        with hub._lock:
            hub.tokens_at_files.append(self.headers.get("Authorization") or "")
            if found is not None:
                hub.ranges_asked.append((found[0], asked, condition))
            failure = hub.failures.pop(0) if hub.failures else None
        if failure is not None:
            return self.answer(failure)
        if found is None:
            return self.answer(404)
        name, path = found
        fault = _NO_FAULT
        if not (hub.spares_headers and re.search(r"-\d", asked or "")):
            always = hub.always if hub.always and hub.always.is_for(name) else _NO_FAULT
            fault = hub._fault(hub.faults, name) or always
        if fault.status is not None:
            return self.fail(fault.status, fault)
        if fault.drop_at is not None and fault.drop_at < 0:
            return self._drop(fault.reset)
        with path.open("rb") as file:
            return self._send(file, path, fault, asked, condition)

    def _find(self) -> tuple[str, Path] | None:
        parts = unquote(urlsplit(self.path).path).lstrip("/").split("/", 2)
        repo = self.hub.repos.get("/".join(parts[:2]))
        path = repo.files.get(parts[-1]) if repo else None
        return (parts[-1], path) if path else None

    def _send(
        self, file: BinaryIO, path: Path, fault: Fault, asked: str | None, condition: str | None
    ) -> None:
        size = os.fstat(file.fileno()).st_size
        tag = fault.etag or etag(path)
        span = _span(asked or "", size) if self.hub.ranges and not fault.ignore_range else None
        if condition is not None and condition != tag:
            span = None
        if span is not None and span[0] >= span[1]:
            return self.answer(416, Content_Range=f"bytes */{size}", ETag=tag)
        start, end = span or (0, size)
        if fault.wrong_range:
            start = max(min(start + fault.wrong_range, end - 1), 0)
        end = max(end - fault.short, start)
        partial = span is not None or bool(fault.wrong_range)
        self.head(
            206 if partial else 200,
            end - start,
            Content_Range=f"bytes {start}-{end - 1}/{size}" if partial else None,
            ETag=tag,
            Accept_Ranges="bytes" if self.hub.ranges else "none",
            Content_Type="application/octet-stream",
        )
        if self.hub.short_by:
            cut = Fault(drop_at=max(end - self.hub.short_by, start), flip_at=fault.flip_at)
            return self._content(file, start, end, cut)
        return self._content(file, start, end, fault)

    def _content(self, file: BinaryIO, start: int, end: int, fault: Fault) -> None:
        at = start
        while at < end:
            if fault.drop_at is not None and at >= fault.drop_at:
                return self._drop(fault.reset)
            if fault.stall_at is not None and at >= fault.stall_at:
                self._wait(lambda: False)
                return self._drop()
            hold = self.hub.hold_at
            if hold is not None and at >= hold:
                if not self._wait(partial(self._is_free, at)):
                    return self._drop()
                continue
            flip = fault.flip_at
            stops = [fault.drop_at, fault.stall_at, hold, flip, flip + 1 if flip is not None else 0]
            rate = self.hub.rate_per_s
            if rate:  # what waits in the system is sent for us and not yet received
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_PACED_BYTES)
            piece = min(int(rate * _PACED_S) + 1, _MOST_PACED_BYTES) if rate else _PIECE_BYTES
            upto = min([at + piece, end, *(stop for stop in stops if stop and stop > at)])
            self.hub._pace(upto - at)
            if not self._piece(file, at, upto, flipped=at == flip):
                return self._drop()
            at = upto
        return None

    def _piece(self, file: BinaryIO, at: int, upto: int, flipped: bool) -> bool:
        """Send from there to there; whether all of it went."""
        self.hub._count(upto - at)
        try:
            while at < upto and not self.hub._ending.is_set():
                if flipped:
                    file.seek(at)
                    sent = self.connection.send(bytes([file.read(1)[0] ^ 1]))
                else:
                    sent = os.sendfile(self.connection.fileno(), file.fileno(), at, upto - at)
                if sent == 0:
                    break
                at += sent
        except ConnectionError:
            return False  # whoever asked has read enough
        finally:
            self.hub._count(at - upto)
        return at == upto

    def _is_free(self, at: int) -> bool:
        hold = self.hub.hold_at
        return hold is None or at < hold

    def _wait(self, is_over: Callable[[], bool]) -> bool:
        """Stand still until it is over, the client is gone or the Hub ends; is it over?"""
        with self.hub._lock:
            self.hub.waiting += 1
        try:
            while not is_over():
                gone = select.select([self.connection], [], [], _LOOK_S)[0]
                if gone or self.hub._ending.is_set():
                    return False
            return True
        finally:
            with self.hub._lock:
                self.hub.waiting -= 1

    def _drop(self, reset: bool = False) -> None:
        self.close_connection = True
        if reset:
            now = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
            self.hub._leave(self.connection)
            self.rfile.close()
            self.connection.close()


def _span(asked: str, size: int) -> tuple[int, int] | None:
    """The one range that is asked for, None for the whole file; an empty one has no bytes here."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(size - int(match[2]), 0), size
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return None
    return start, min(int(match[2]) + 1, size) if match[2] else size


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that went away is none
            super().handle_error(request, client_address)


def _serve(hub: FakeHub, handler: type[_Handler]) -> ThreadingHTTPServer:
    server = _Server(("127.0.0.1", 0), type(handler.__name__, (handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, args=(_LOOK_S,), daemon=True).start()
    return server


def repos_in(folder: Path) -> dict[str, Repo]:
    """FOLDER/OWNER/REPO/** as it is now."""
    repos: dict[str, Repo] = {}
    for path in sorted(folder.resolve().glob("*/*/**/*")):
        if path.is_file():
            owner, name, *file = path.relative_to(folder.resolve()).parts
            repos.setdefault(f"{owner}/{name}", Repo({})).files["/".join(file)] = path
    return repos


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve FOLDER/OWNER/REPO/** as a Hub.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, metavar="BYTES_PER_S")
    args = parser.parse_args()
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with fake_hub() as hub:
        hub.repos, hub.rate_per_s = repos_in(args.folder), args.rate
        sys.stdout.write(f"{hub.url}\n")
        sys.stdout.flush()
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
