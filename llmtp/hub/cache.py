"""The Hugging Face cache on this disk: `hf` and llama.cpp find what we put there, we what they did.

models--OWNER--REPO/
├── blobs/SHA256                      the content
│         SHA256.llmtp.incomplete     what we have of it so far
├── refs/REVISION                     a text: the commit that it was when it was fetched
└── snapshots/COMMIT/FILE             a link to its blob
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from llmtp import paths
from llmtp.config import hub_cache
from llmtp.errors import DownloadError
from llmtp.hub.files import HubFile, Repository
from llmtp.hubname import HubName
from llmtp.text import clean

PARTIAL = ".llmtp.incomplete"
#: How the Hub names the content of a file that is in git itself, which takes no large ones.
GIT, MOST_GIT_BYTES = "git:", 64 << 20
MODELS = "models--"
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_REF_BYTES = 100


def repository_folder(repo_id: str) -> Path:
    """All that is here of a repository."""
    return hub_cache() / (MODELS + repo_id.replace("/", "--"))


def blob_path(repo_id: str, sha256: str) -> Path:
    """A whole content, whatever it is called."""
    return repository_folder(repo_id) / "blobs" / sha256


def partial_path(repo_id: str, sha256: str) -> Path:
    """The part of a content that has arrived."""
    return repository_folder(repo_id) / "blobs" / f"{sha256}{PARTIAL}"


def lock_path(repo_id: str, sha256: str) -> Path:
    """The lock of huggingface_hub for that blob: `hf download` waits for us, and we for it."""
    folder = repository_folder(repo_id)
    return folder.parent / ".locks" / folder.name / f"{sha256}.lock"


def snapshot_path(repository: Repository, name: str) -> Path:
    """Where a file of that commit is, or will be."""
    return repository_folder(repository.name.repo_id) / "snapshots" / repository.commit / name


def places(repository: Repository, file: HubFile) -> list[Path]:
    """Where a file is or will be, whole and while it arrives."""
    named = [snapshot_path(repository, file.name)]
    if file.sha256 is not None:
        named.append(partial_path(repository.name.repo_id, file.sha256))
    return named


def has(repository: Repository, file: HubFile) -> bool:
    """Is a file of that commit here under its name, as far as that tells without reading it?"""
    pointer = snapshot_path(repository, file.name)
    if file.sha256 is None:
        return paths.exists(pointer) and _is_of_git(pointer, file)
    blob = blob_path(repository.name.repo_id, file.sha256)
    return _is_copy(repository, file) or (paths.exists(blob) and _is_same(pointer, blob))


def place(repository: Repository, file: HubFile) -> None:
    """Make the blob of a file, which is there, known under its name and commit.

    Whatever else has that name gives way: only the blob was proved.
    """
    blob = blob_path(repository.name.repo_id, file.sha256 or "")
    pointer = snapshot_path(repository, file.name)
    if _is_same(pointer, blob):
        return
    pointer.parent.mkdir(parents=True, exist_ok=True)
    fresh = _beside(pointer)
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()
    fresh.symlink_to(os.path.relpath(blob, pointer.parent))
    fresh.replace(pointer)


def adopt(repository: Repository, file: HubFile) -> None:
    """Take a file that stands under its name without a blob for the blob, proved or not."""
    if _is_copy(repository, file):
        pointer = snapshot_path(repository, file.name)
        blob = blob_path(repository.name.repo_id, file.sha256 or "")
        blob.parent.mkdir(parents=True, exist_ok=True)
        pointer.replace(blob)


def record_commit(repository: Repository) -> None:
    """Remember what its revision is now; whoever asks for it offline gets that commit."""
    repo_id, revision = repository.name.repo_id, repository.name.revision or "main"
    if commit_of(repo_id, revision) == repository.commit:
        return
    ref = repository_folder(repo_id) / "refs" / revision
    ref.parent.mkdir(parents=True, exist_ok=True)
    fresh = _beside(ref)
    fresh.write_text(repository.commit, encoding="utf-8")
    fresh.replace(ref)


def _beside(path: Path) -> Path:
    """A name that no other thread or process writes to, to be moved to `path` when it is whole."""
    return path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")


def open_cached(name: HubName) -> Repository | None:
    """What is on this disk of a repository at its revision; None where nothing is."""
    check_readable()
    commit = commit_of(name.repo_id, name.revision or "main")
    if commit is None:
        return None
    snapshot = repository_folder(name.repo_id) / "snapshots" / commit
    files = tuple(_cached_files(snapshot))
    return Repository(name, commit, files, None) if files else None


def check_readable() -> None:
    """Raise DownloadError for a cache that is there and hidden from us, or that is no folder."""
    folder = hub_cache()
    if not os.path.lexists(folder):
        return
    said = None
    if not paths.exists(folder):
        said = "is a link that leads nowhere"
    elif not folder.is_dir():
        said = "is a file"
    elif not os.access(folder, os.R_OK | os.X_OK):
        said = "cannot be read"
    if said is not None:
        raise DownloadError(
            f"{clean(str(folder), 300)} {said}",
            rule="cache-not-readable",
            expected="a folder of your user",
            fix="mend that, or set LLMTP_CACHE to another folder",
        )


def cached_repositories() -> list[Repository]:
    """Every snapshot of every model in the cache that has files."""
    found = []
    for folder in repository_folders():
        owner, _, repo = repository_of(folder).partition("/")
        for snapshot in _subfolders(folder / "snapshots"):
            # A link to another snapshot of the cache would be a second name of its files.
            if _COMMIT.fullmatch(snapshot.name) and not (
                snapshot.is_symlink() and is_inside(snapshot)
            ):
                files = tuple(_cached_files(snapshot))
                name = HubName(owner, repo, revision=snapshot.name)
                found.append(Repository(name, snapshot.name, files, None))
    return [repository for repository in found if repository.files]


def commits(repo_id: str) -> dict[Path, str]:
    """The commit of every revision that is known on this disk, by the file that says so."""
    refs = repository_folder(repo_id) / "refs"
    found = {ref: _read_ref(ref) for ref in files_below(refs) if ref.is_file()}
    return {ref: commit for ref, commit in found.items() if commit is not None}


def commit_of(repo_id: str, revision: str) -> str | None:
    """The commit that a revision was when it was fetched; None where that is unknown."""
    if _COMMIT.fullmatch(revision):
        return revision
    return _read_ref(repository_folder(repo_id) / "refs" / revision)


def partials() -> list[Path]:
    """Downloads of ours that did not end."""
    found = [path for folder in repository_folders() for path in files_below(folder / "blobs")]
    return [path for path in found if path.name.endswith(PARTIAL) and path.is_file()]


def repository_folders() -> list[Path]:
    """Of every model in the cache that can be looked into."""
    folders = _subfolders(hub_cache())
    return [f for f in folders if f.name.startswith(MODELS) and "--" in f.name[len(MODELS) :]]


def repository_of(folder: Path) -> str:
    """OWNER/REPO by its folder; only the first `--` stands for a slash."""
    return folder.name.removeprefix(MODELS).replace("--", "/", 1)


def is_inside(path: Path) -> bool:
    """Does that lie in the cache, wherever links in the way to it lead?"""
    return path.resolve().is_relative_to(hub_cache().resolve())


def content(repo_id: str, pointer: Path) -> Path | None:
    """What a name stands for, where it is the repository's own: links may lead anywhere."""
    folder, target = repository_folder(repo_id).resolve(), pointer.resolve()
    return target if target.is_relative_to(folder) and is_inside(folder) else None


def files_below(folder: Path) -> list[Path]:
    """All that is no folder; links to folders are not followed, nor is `folder` if it is one."""
    if os.path.islink(folder):  # noqa: PTH114 - Path's raises
        return []
    return sorted(Path(place) / name for place, _, names in os.walk(folder) for name in names)


def missing_bytes(repository: Repository, file: HubFile) -> int:
    """What must still be fetched of a file."""
    repo_id = repository.name.repo_id
    if file.sha256 is None:
        return file.size
    if paths.exists(blob_path(repo_id, file.sha256)) or _is_copy(repository, file):
        return 0
    part = partial_path(repo_id, file.sha256)
    here = part.stat().st_size if paths.exists(part) else 0
    return max(file.size - here, 0)


def _is_of_git(pointer: Path, file: HubFile) -> bool:
    """Has it the content that git names by its hash? One that the Hub does not name may be any."""
    if file.oid is None or not file.oid.startswith(GIT):
        return True
    if file.size > MOST_GIT_BYTES or pointer.stat().st_size != file.size:
        return False
    content = pointer.read_bytes()
    known = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return known.hexdigest() == file.oid.removeprefix(GIT)


def _is_same(pointer: Path, blob: Path) -> bool:
    return paths.exists(pointer) and pointer.samefile(blob)


def _is_copy(repository: Repository, file: HubFile) -> bool:
    """Does a file of its size stand under its name, and no link? So are caches without links."""
    pointer = snapshot_path(repository, file.name)
    if not os.path.isfile(pointer) or os.path.islink(pointer):  # noqa: PTH113, PTH114 - Path's raise
        return False
    return pointer.stat().st_size == file.size


def free_bytes() -> int:
    """Room on the disk of the cache, which need not exist yet."""
    folder = hub_cache()
    while not paths.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _cached_files(snapshot: Path) -> Iterator[HubFile]:
    for folder, _, names in os.walk(snapshot):
        for name in sorted(names):
            path = Path(folder) / name
            try:
                size = path.stat().st_size
            except OSError:
                continue  # a link to a blob that was deleted
            target = path.resolve().name
            oid = f"sha256:{target}" if _SHA256.fullmatch(target) else None
            yield HubFile(str(path.relative_to(snapshot)), size, oid)


def _subfolders(folder: Path) -> list[Path]:
    """Sorted; nothing where we may not look."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir())
    return []


def _read_ref(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8") as file:
            commit = file.read(_MOST_REF_BYTES).strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None
