"""The Hugging Face cache on this disk: `hf` and llama.cpp find what we put there, we what they did.

models--OWNER--REPO/
├── blobs/SHA256                      the content
│         SHA256.llmtp.incomplete     what we have of it so far
├── refs/REVISION                     a text: the commit that it was when it was fetched
└── snapshots/COMMIT/FILE             a link to its blob
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from llmtp import paths
from llmtp.errors import DownloadError
from llmtp.hub.files import HubFile, Repository
from llmtp.hubname import HubName
from llmtp.text import clean

PARTIAL = ".llmtp.incomplete"
MODELS = "models--"
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_REF_BYTES = 100


def repository_folder(repo_id: str) -> Path:
    """All that is here of a repository."""
    return paths.hub_cache() / (MODELS + repo_id.replace("/", "--"))


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


def place(repository: Repository, file: HubFile) -> Path:
    """Make the blob of a file, which is there, known under its name and commit."""
    repo_id, revision = repository.name.repo_id, repository.name.revision or "main"
    blob = blob_path(repo_id, file.sha256 or "")
    pointer = snapshot_path(repository, file.name)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if not pointer.exists():
        fresh = _beside(pointer)
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        fresh.symlink_to(os.path.relpath(blob, pointer.parent))
        fresh.replace(pointer)
    if revision != repository.commit:
        ref = repository_folder(repo_id) / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh = _beside(ref)
        fresh.write_text(repository.commit, encoding="utf-8")
        fresh.replace(ref)
    return pointer


def _beside(path: Path) -> Path:
    """A name that no other thread or process writes to, to be moved to `path` when it is whole."""
    return path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")


def open_cached(name: HubName) -> Repository | None:
    """What is on this disk of a repository at its revision; None where nothing is."""
    folder = repository_folder(name.repo_id)
    commit = commit_of(name.repo_id, name.revision or "main")
    if commit is None:
        return None
    snapshot = folder / "snapshots" / commit
    files = tuple(_cached_files(snapshot))
    return Repository(name, commit, files, None) if files else None


def check_readable() -> None:
    """Raise DownloadError for a cache that is there and hidden from us."""
    folder = paths.hub_cache()
    if paths.exists(folder) and not os.access(folder, os.R_OK | os.X_OK):
        raise DownloadError(
            f"{clean(str(folder), 300)} cannot be read",
            rule="cache-not-readable",
            fix="give it to your user, or set HF_HUB_CACHE to a folder of yours",
        )


def cached_repositories() -> list[Repository]:
    """Every snapshot of every model in the cache that has files."""
    found = []
    for folder in sorted(_subfolders(paths.hub_cache(), f"{MODELS}*--*")):
        owner, _, repo = repository_of(folder).partition("/")
        for snapshot in sorted(_subfolders(folder / "snapshots", "*")):
            if _COMMIT.fullmatch(snapshot.name):
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
    found = paths.hub_cache().glob(f"{MODELS}*--*/blobs/*{PARTIAL}")
    return sorted(path for path in found if os.path.isfile(path))  # noqa: PTH113 - Path's raises


def repository_of(folder: Path) -> str:
    """OWNER/REPO by its folder; only the first `--` stands for a slash."""
    return folder.name.removeprefix(MODELS).replace("--", "/", 1)


def is_inside(path: Path) -> bool:
    """Does that lie in the cache, wherever links in the way to it lead?"""
    return path.resolve().is_relative_to(paths.hub_cache().resolve())


def content(repo_id: str, pointer: Path) -> Path | None:
    """What a name stands for, where it is the repository's own: links may lead anywhere."""
    folder, target = repository_folder(repo_id).resolve(), pointer.resolve()
    return target if target.is_relative_to(folder) and is_inside(folder) else None


def files_below(folder: Path) -> list[Path]:
    """All that is no folder; links to folders are not followed, nor is `folder` if it is one."""
    if folder.is_symlink():
        return []
    return sorted(Path(place) / name for place, _, names in os.walk(folder) for name in names)


def missing_bytes(repository: Repository, file: HubFile) -> int:
    """What must still be fetched of a file."""
    repo_id = repository.name.repo_id
    if file.sha256 is None:
        return file.size
    if blob_path(repo_id, file.sha256).exists():
        return 0
    part = partial_path(repo_id, file.sha256)
    here = part.stat().st_size if part.exists() else 0
    return max(file.size - here, 0)


def free_bytes() -> int:
    """Room on the disk of the cache, which need not exist yet."""
    folder = paths.hub_cache()
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


def _subfolders(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if os.path.isdir(path)]  # noqa: PTH112 - as above


def _read_ref(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8") as file:
            commit = file.read(_MOST_REF_BYTES).strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None
