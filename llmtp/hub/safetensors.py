"""From what the user typed to a main model and its assistant as safetensors, wherever they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmtp import paths
from llmtp.errors import NotFoundError
from llmtp.gguf.kind import ASSISTANT, MAIN, Kind
from llmtp.gguf.model import ModelFacts
from llmtp.hub import cache
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.models import Models
from llmtp.hub.published import published_facts
from llmtp.hub.reference import Asked, Reference, is_source
from llmtp.hubname import PREFIX, HubName, parse_hub_name
from llmtp.profiles import Profile, load_profile
from llmtp.safetensors.config import MOST_BYTES, parse_config
from llmtp.safetensors.folder import CONFIG, WEIGHTS, load_folder
from llmtp.text import clean

#: What a release has beside its weights that a server needs; no pictures, no other formats.
_BESIDE = (".json", ".jinja", ".model", ".txt")
_SUFFIX = "-assistant"
#: Bits a weight of the release and of its smaller twin, where no file can be asked.
_BITS, _QUANTISED_BITS = ("BF16", 16.0), ("W4", 4.25)
Place = Path | HubName


@dataclass(frozen=True, slots=True)
class Pair:
    """One that may be served; `label` is what `--quant` calls it."""

    label: str
    main: Place
    draft: Place | None
    is_quantised: bool = False


@dataclass
class SafetensorsCatalogue:
    """The pairs that one question may mean. `offline` knows only what is on this disk.

    Raises NotFoundError for an unknown name, a missing folder, or no assistant with `auto`.
    """

    asked: Asked
    offline: bool
    profile: Profile | None = field(init=False)
    _models: Models = field(init=False)
    _placed: dict[Path, Repository] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.profile = None if is_source(self.asked.model) else load_profile(self.asked.model)
        self._models = Models(self.offline)

    def pairs(self) -> list[Pair]:
        """Best quality first, of the quant that is asked for."""
        profile, asked = self.profile, self.asked
        if profile is None:
            main = _place(asked.model)
            return [Pair("", main, self._draft(main, None))]
        ids = profile.vllm
        if ids is None:
            raise NotFoundError(
                f"the profile {profile.name} names no safetensors, which vLLM needs",
                rule="no-safetensors",
                expected="vllm with model and assistant in the profile",
                fix="give a folder or hf:OWNER/REPO, or leave out --engine",
            )
        base = profile.source.parent
        main = _place(ids.model, base)
        found = [Pair("bf16", main, self._draft(main, _place(ids.assistant, base)))]
        if ids.quantised is not None:
            main = _place(ids.quantised, base)
            assistant = _place(ids.quantised_assistant or ids.assistant, base)
            found.append(Pair("w4a16", main, self._draft(main, assistant), is_quantised=True))
        wanted = (asked.quant or "").lower()
        chosen = [one for one in found if not wanted or one.label == wanted]
        if not chosen:
            labels = ", ".join(one.label for one in found)
            raise NotFoundError(
                f"there is no {clean(wanted, 60)} of {profile.name} for vLLM",
                rule="quant-not-found",
                expected=labels,
                fix=f"leave out --quant, or use one of {labels}",
            )
        return chosen

    def reference(self, pair: Pair) -> Reference:
        """The facts of both; raises BadFileError, NotFoundError and DownloadError too."""
        main = self._facts(pair.main)
        draft = None if pair.draft is None else self._facts(pair.draft)
        return self._reference(self._name(pair), main, draft)

    def published(self, pair: Pair) -> Reference | None:
        """By what the makers published, good for a plan only; None where nothing is."""
        if self.profile is None or self.profile.shape is None:
            return None
        quant, bits = _QUANTISED_BITS if pair.is_quantised else _BITS
        shape = self.profile.shape
        main = published_facts(shape, Kind.MAIN, MAIN, Path(_id(pair.main)), quant, bits)
        draft = None
        if pair.draft is not None:
            path = Path(_id(pair.draft))
            draft = published_facts(shape, Kind.ASSISTANT, ASSISTANT, path, *_BITS)
        return self._reference(self.profile.name, main, draft)

    def _reference(self, name: str, main: ModelFacts, draft: ModelFacts | None) -> Reference:
        sees_images = self.asked.mmproj == "auto"
        return Reference(name, main, draft, self.profile, sees_images=sees_images)

    def files(self, reference: Reference) -> list[tuple[Repository, HubFile]]:
        """Every file of both that belongs to a repository."""
        return [entry for facts in reference.models for entry in self.files_of(facts)]

    def files_of(self, facts: ModelFacts) -> list[tuple[Repository, HubFile]]:
        """Of one; nothing where it is a folder of the user's."""
        repository = self._placed.get(facts.path)
        if repository is None:
            return []
        return [(repository, file) for file in served_files(repository)]

    def on_disk(self, reference: Reference) -> Reference:
        """The same models by their folders in the cache, read again from there."""
        return self._mapped(reference, lambda facts: load_folder(self._folder(facts)))

    def as_if_on_disk(self, reference: Reference) -> Reference:
        """The same facts under the paths that the folders will have."""
        return self._mapped(reference, lambda facts: replace(facts, path=self._folder(facts)))

    def _mapped(
        self, reference: Reference, change: Callable[[ModelFacts], ModelFacts]
    ) -> Reference:
        def one(facts: ModelFacts) -> ModelFacts:
            return facts if facts.is_local or facts.path not in self._placed else change(facts)

        draft = reference.draft
        return replace(reference, main=one(reference.main), draft=draft and one(draft))

    def _folder(self, facts: ModelFacts) -> Path:
        return cache.snapshot_path(self._placed[facts.path], CONFIG).parent

    def _name(self, pair: Pair) -> str:
        if self.profile is not None:
            return self.profile.name
        return clean(pair.main.name, 80) if isinstance(pair.main, Path) else self.asked.model

    def _draft(self, main: Place, known: Place | None) -> Place | None:
        asked = self.asked.draft
        if asked == "off":
            return None
        if asked != "auto":
            return _place(asked)
        if known is not None:
            return known
        if isinstance(main, HubName):
            return replace(main, repo=main.repo + _SUFFIX, revision=None)
        found = main.parent / (main.name + _SUFFIX)
        if not paths.exists(found):
            raise NotFoundError(
                f"there is no drafter for {clean(str(main), 300)}",
                rule="no-drafter",
                expected=f"a folder {clean(found.name, 120)} beside it",
                fix="name one: --draft FOLDER or --draft hf:OWNER/REPO; or run without MTP: "
                "--draft off",
            )
        return found

    def _facts(self, place: Place) -> ModelFacts:
        if isinstance(place, Path):
            return load_folder(place)
        repository = self._models.repository(place)
        path = Path(f"{PREFIX}{place.repo_id}@{repository.commit}")
        self._placed[path] = repository
        size = sum(file.size for file in served_files(repository) if file.name.endswith(WEIGHTS))
        if not size and repository.endpoint is None:
            raise repository.not_on_disk("the weights")
        if not size:
            raise NotFoundError(
                f"there are no safetensors in {repository}",
                rule="no-safetensors",
                expected="a release for transformers or vLLM",
                fix="give the repository of such a release, or leave out --engine vllm",
            )
        config = repository.file(CONFIG)
        if cache.has(repository, config):
            folder = cache.snapshot_path(repository, CONFIG).parent
            if all(cache.has(repository, file) for file in served_files(repository)):
                return replace(load_folder(folder), path=folder)
            text = (folder / CONFIG).read_bytes()[:MOST_BYTES]
        else:
            text = self._read(repository, config)
        return parse_config(text.decode("utf-8", "replace"), path, size)

    def _read(self, repository: Repository, file: HubFile) -> bytes:
        from llmtp.hub.source import HubSource

        with HubSource(repository, file) as source:
            return source.read(min(file.size, MOST_BYTES))


def vllm_repositories(profile: Profile) -> list[HubName]:
    """Those that a profile names for vLLM."""
    ids = profile.vllm
    if ids is None:
        return []
    texts = (ids.model, ids.assistant, ids.quantised, ids.quantised_assistant)
    places = [_place(text, profile.source.parent) for text in texts if text is not None]
    return [place for place in places if isinstance(place, HubName)]


def served_files(repository: Repository) -> list[HubFile]:
    """Of a repository what an engine needs to serve its safetensors."""
    return [
        file
        for file in repository.files
        if "/" not in file.name and file.name.endswith((WEIGHTS, *_BESIDE))
    ]


def _place(text: str, base: Path | None = None) -> Place:
    """`hf:OWNER/REPO`, OWNER/REPO of a profile, or a folder."""
    if text.startswith(PREFIX):
        return parse_hub_name(text)
    if base is not None and not text.startswith((".", "/", "~")):
        return parse_hub_name(PREFIX + text)
    path = paths.typed(text) if base is None else base.resolve() / paths.typed(text)
    return Path(os.path.abspath(path))  # noqa: PTH100 - a link may be what decides


def _id(place: Place) -> str:
    return str(place) if isinstance(place, Path) else f"{PREFIX}{place.repo_id}"
