"""From what the user typed to a main model and its drafter, on disk or in a repository."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llmtp import paths
from llmtp.errors import UsageError
from llmtp.gguf.kind import Kind
from llmtp.gguf.model import ModelFacts
from llmtp.hub.local import find_beside, load_facts
from llmtp.hubname import PREFIX, HubName, parse_hub_name
from llmtp.profiles import Profile, load_profile
from llmtp.text import clean

if TYPE_CHECKING:
    from llmtp.hub.remote import RemoteModels


@dataclass(frozen=True, slots=True)
class Reference:
    """A model as asked for: its facts, and those of its drafter (None where MTP is off).

    `fetched_bytes` is what was read over the network to know them.
    """

    name: str
    main: ModelFacts
    draft: ModelFacts | None
    profile: Profile | None
    fetched_bytes: int = 0


def resolve(model: str, draft: str, *, remote: bool = False) -> Reference:
    """Find the files of MODEL; `draft` is `auto`, `off`, a path or a repository.

    Raises NotFoundError for an unknown name, a missing file, or no drafter with `auto`, and
    UsageError for a repository where only files on this disk will do (`remote` is False). Nothing
    is judged: a main file that is none comes back without a drafter.
    """
    profile = None if _is_source(model) else load_profile(model)
    main_source = profile.main if profile else _source(model)
    if draft not in ("auto", "off"):
        draft_source: Path | HubName | None = _source(draft)
    else:
        draft_source = profile.draft if profile and draft == "auto" else None
    if not remote:
        _refuse_repositories(main_source, draft_source)
    finder = _Finder()
    main = finder.main(main_source)
    if main.kind is not Kind.MAIN and draft in ("auto", "off"):
        drafter = None
    elif draft_source is not None:
        drafter = finder.drafter(draft_source)
    else:
        drafter = finder.drafter_of(main, main_source) if draft == "auto" else None
    if profile is not None:
        name = profile.name
    else:
        name = model if isinstance(main_source, HubName) else clean(main.path.stem, 80)
    return Reference(name, main, drafter, profile, finder.fetched_bytes)


class _Finder:
    """Asks this disk or the Hub, whichever a source is on; the Hub's part is loaded when needed."""

    def __init__(self) -> None:
        self._remote: RemoteModels | None = None

    @property
    def fetched_bytes(self) -> int:
        return self._remote.fetched_bytes if self._remote else 0

    def main(self, source: Path | HubName) -> ModelFacts:
        return load_facts(source) if isinstance(source, Path) else self._hub().main(source)

    def drafter(self, source: Path | HubName) -> ModelFacts:
        return load_facts(source) if isinstance(source, Path) else self._hub().drafter(source)

    def drafter_of(self, main: ModelFacts, source: Path | HubName) -> ModelFacts:
        if isinstance(source, Path):
            return find_beside(main)
        return self._hub().drafter_of(main, source)

    def _hub(self) -> RemoteModels:
        _check_endpoint()
        from llmtp.hub.remote import RemoteModels

        self._remote = self._remote or RemoteModels()
        return self._remote


def _check_endpoint() -> None:
    """The library that speaks to the Hub takes HF_ENDPOINT apart while it is imported."""
    endpoint = os.environ.get("HF_ENDPOINT", "")
    try:
        parts = urlsplit(endpoint)
        usable = endpoint == "" or (parts.scheme in ("http", "https") and parts.port != 0)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"HF_ENDPOINT is {clean(endpoint, 80)!r}",
            rule="hub-endpoint",
            expected="an address such as https://huggingface.co",
            fix="unset HF_ENDPOINT",
        )


def _is_source(model: str) -> bool:
    """Is it a path or a repository, and so no name of a profile?"""
    if model.startswith(PREFIX) or model.endswith(".gguf") or "/" in model:
        return True
    return model != "" and paths.exists(paths.typed(model))


def _source(text: str) -> Path | HubName:
    return parse_hub_name(text) if text.startswith(PREFIX) else paths.typed(text)


def _refuse_repositories(*sources: Path | HubName | None) -> None:
    if any(isinstance(source, HubName) for source in sources):
        raise UsageError(
            "files in repositories cannot be downloaded by this version",
            rule="reference",
            fix="download both GGUF files and type: llmtp run MAIN.gguf --draft DRAFT.gguf",
        )
