"""Files that a repository keeps in git itself: small, and named by git's hash of them."""

from __future__ import annotations

from huggingface_hub import hf_hub_download

from llmtp import paths
from llmtp.config import hub_cache
from llmtp.hub import cache
from llmtp.hub.download import Transfer
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.wire import translated


def is_small(file: HubFile) -> bool:
    """Is it one of those?"""
    return (file.oid or "").startswith(cache.GIT) and file.size <= cache.MOST_GIT_BYTES


class SmallDownload:
    """Brings one into the cache, where huggingface_hub puts it under its name and commit."""

    def __init__(self, repository: Repository, file: HubFile, transfer: Transfer) -> None:
        self._repository, self._file, self._transfer = repository, file, transfer

    def verify(self) -> bool:
        """Is it there, as git has it?"""
        if not cache.has(self._repository, self._file):
            return False
        self._done(0)
        return True

    def run(self) -> None:
        """Raises DownloadError and NotFoundError."""
        name, repository = self._repository.name, self._repository
        self._transfer.state = "downloading"
        with translated(name, self._file.name):
            hf_hub_download(
                name.repo_id,
                self._file.name,
                revision=repository.commit,
                cache_dir=hub_cache(),
                force_download=paths.exists(cache.snapshot_path(repository, self._file.name)),
            )
        self._done(self._file.size)

    def _done(self, fetched: int) -> None:
        self._transfer.done, self._transfer.fetched = self._file.size, fetched
        self._transfer.state = "done"
