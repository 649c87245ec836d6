"""Facts of models in repositories: from this disk, or by a few pieces of their headers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmtp.errors import BadFileError, NotFoundError, UsageError
from llmtp.gguf.lengths import StringArrays
from llmtp.gguf.model import ModelFacts
from llmtp.hub import cache
from llmtp.hub.files import Repository
from llmtp.hub.known import recall, remember
from llmtp.hub.local import load_facts
from llmtp.hubname import HubName
from llmtp.text import clean, without_passwords

if TYPE_CHECKING:
    from llmtp.gguf.reader import Header

_TRUE = {"1", "ON", "YES", "TRUE"}


@dataclass
class Models:
    """Lists repositories once, reads tokenizers once.

    `offline` looks at this disk only: what is not there does not exist. What the network is
    needed for is imported when it is.
    """

    offline: bool
    fetched_bytes: int = 0
    _listed: dict[HubName, Repository] = field(default_factory=dict)
    _tokenizers: StringArrays = field(default_factory=StringArrays)

    def repository(self, name: HubName) -> Repository:
        """At the commit that its revision is now, or was when it was fetched.

        Raises NotFoundError and DownloadError.
        """
        of_any_quant = replace(name, quant=None)
        if of_any_quant not in self._listed:
            self._listed[of_any_quant] = self._open(of_any_quant)
        return self._listed[of_any_quant]

    def facts(self, repository: Repository, name: str) -> ModelFacts:
        """Of the model whose first file has that name; raises BadFileError too.

        A broken copy on this disk is none while the Hub can be asked.
        """
        files = repository.parts(name)
        if all(cache.has(repository, file) for file in files):
            try:
                return load_facts(cache.snapshot_path(repository, name))
            except BadFileError:
                if self.offline:
                    raise
        path = repository.path(name)
        oids = [file.oid for file in files]
        place = " ".join([repository.endpoint or "", *filter(None, oids)])
        known = recall(place, place, path) if all(oids) else None
        if known is not None:
            return known
        facts = self._read(repository, path)
        if all(oids):
            remember(place, place, facts)
        return facts

    def _open(self, name: HubName) -> Repository:
        if not self.offline:
            check_endpoint()
            from llmtp.hub.repository import open_repository

            return open_repository(name)
        cached = cache.open_cached(name)
        if cached is None:
            raise NotFoundError(
                f"nothing of {name.repo_id} is on this disk, and the network may not be used",
                rule="not-on-disk",
                fix="leave out --offline (or unset HF_HUB_OFFLINE), then type: llmtp pull MODEL",
            )
        return cached

    def _read(self, repository: Repository, path: Path) -> ModelFacts:
        from llmtp.gguf.facts import read_facts
        from llmtp.gguf.files import open_model
        from llmtp.gguf.reader import read_header
        from llmtp.hub.source import HubSource

        def read(part: Path) -> Header:
            file = repository.file("/".join(part.parts[2:]))
            with HubSource(repository, file) as source:
                try:
                    return read_header(source, file.size, clean(str(part), 300), self._tokenizers)
                finally:
                    self.fetched_bytes += source.fetched_bytes

        return read_facts(open_model(path, read))


def is_offline(asked: bool) -> bool:
    """`--offline`, or the variables that forbid huggingface_hub the network."""
    words = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return asked or words.upper() in _TRUE


def check_endpoint() -> None:
    """The library that speaks to the Hub takes HF_ENDPOINT apart while it is imported."""
    endpoint = os.environ.get("HF_ENDPOINT", "")
    try:
        parts = urlsplit(endpoint)
        usable = endpoint == "" or (parts.scheme in ("http", "https") and parts.port != 0)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"HF_ENDPOINT is {clean(without_passwords(endpoint), 80)!r}",
            rule="hub-endpoint",
            expected="an address such as https://huggingface.co",
            fix="unset HF_ENDPOINT",
        )
