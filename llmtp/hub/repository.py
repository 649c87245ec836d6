"""Repositories on the Hugging Face Hub: their list of files at one commit."""

from __future__ import annotations

import re

from huggingface_hub import HfApi, constants
from huggingface_hub.hf_api import RepoSibling

from llmtp.hub.files import HubFile, Repository
from llmtp.hub.wire import TIMEOUT_S, quiet, translated
from llmtp.hubname import HubName

_MAX_FILES = 10_000
#: Of a name and of each part of it, so that a file system takes it with what we append.
_MAX_NAME_BYTES, _MAX_PART_BYTES = 1000, 200
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def open_repository(name: HubName) -> Repository:
    """List a repository, at the commit that its revision is now.

    Raises NotFoundError for what is not there, DownloadError for everything else.
    """
    quiet()
    with translated(name):
        info = HfApi().model_info(
            name.repo_id, revision=name.revision, files_metadata=True, timeout=TIMEOUT_S
        )
        listed = info.siblings or []
        commit = info.sha or ""
        if not _COMMIT.fullmatch(commit) or len(listed) > _MAX_FILES:
            raise ValueError(f"{len(listed)} files at commit {commit}")
        files = tuple(_file(file) for file in listed if _is_plain(file.rfilename))
        return Repository(name, commit, files, str(constants.ENDPOINT))


def _file(listed: RepoSibling) -> HubFile:
    size = (listed.lfs.size if listed.lfs else listed.size) or 0
    oid = f"git:{listed.blob_id}" if listed.blob_id else None
    if listed.lfs:
        if not _SHA256.fullmatch(listed.lfs.sha256) or size < 0:
            raise ValueError(f"{size} bytes with the sha256 {listed.lfs.sha256}")
        oid = f"sha256:{listed.lfs.sha256}"
    return HubFile(listed.rfilename, size, oid)


def _is_plain(name: str) -> bool:
    """A relative path without tricks; others are not looked at."""
    parts = name.split("/")
    lengths = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if max(lengths) > _MAX_PART_BYTES or sum(lengths) > _MAX_NAME_BYTES:
        return False
    return name.isprintable() and "\\" not in name and not {"", ".", ".."} & set(parts)
