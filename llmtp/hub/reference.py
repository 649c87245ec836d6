"""From what the user typed to a main model, its drafter and its projector, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from llmtp import paths
from llmtp.errors import BadFileError, Finding, NotFoundError, UsageError
from llmtp.gguf.kind import Kind
from llmtp.gguf.model import ModelFacts
from llmtp.hub import cache
from llmtp.hub.choose import draft_candidates, main_candidates
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.local import find_drafter, find_mmproj, load_facts, no_drafter
from llmtp.hub.models import Models
from llmtp.hub.offers import (
    QAT,
    Offer,
    offered_drafters,
    offered_mmproj,
    repository_offers,
    source_offers,
)
from llmtp.hubname import PREFIX, HubName, parse_hub_name
from llmtp.pairing import check_pair, is_compatible
from llmtp.profiles import Profile, Source, load_profile, profile_names
from llmtp.roles import GEMMA4_WIDTHS
from llmtp.text import clean

_MOST_CANDIDATES = 8
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What names the files: MODEL and the options that choose among them.

    `draft` is `auto`, `off`, a path or a repository; `mmproj` `off`, `auto` or a path; `quant`
    None leaves it to the plan, which takes `preferred` where there is that and it fits.
    """

    model: str
    draft: str = "auto"
    quant: str | None = None
    mmproj: str = "off"
    offline: bool = False
    preferred: str | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A model as asked for: its facts, and those of its drafter (None where MTP is off).

    Safetensors see images by themselves, where that is wanted.
    """

    name: str
    main: ModelFacts
    draft: ModelFacts | None
    profile: Profile | None
    mmproj: ModelFacts | None = None
    findings: tuple[Finding, ...] = ()
    sees_images: bool = False

    @property
    def models(self) -> list[ModelFacts]:
        return [facts for facts in (self.main, self.draft, self.mmproj) if facts is not None]

    @property
    def is_local(self) -> bool:
        return all(facts.is_local for facts in self.models)


@dataclass
class Catalogue:
    """The pairs that one question may mean. `offline` knows only what is on this disk.

    Raises NotFoundError for an unknown name, a missing file, or no drafter with `auto`.
    """

    asked: Asked
    offline: bool
    profile: Profile | None = field(init=False)
    _main: Path | HubName | None = field(init=False)
    _models: Models = field(init=False)
    _placed: dict[Path, tuple[Repository, str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        asked = self.asked
        self.profile = None if is_source(asked.model) else load_profile(asked.model)
        self._main = self.profile.main if self.profile else _source(asked.model)
        if asked.quant is not None:
            self._main = _in_quant(self._main, asked.quant)
        self._models = Models(self.offline)

    @property
    def fetched_bytes(self) -> int:
        """What was read over the network to know all this."""
        return self._models.fetched_bytes

    @property
    def leaves_quant(self) -> bool:
        """Is there a quant to choose, and is it left to us?"""
        if isinstance(self._main, HubName):
            return self._main.quant is None
        return self._main is None and (self.asked.quant or QAT).lower() == QAT

    def offers(self) -> Iterator[Offer]:
        """Main models in a repository, best first; the list may grow while it is read."""
        if isinstance(self._main, HubName):
            yield from repository_offers(self._models, self._main)
        elif self._main is None and self.profile is not None:
            yield from source_offers(self._models, self.profile, self.asked.quant)

    def first(self) -> Reference:
        """The pair that stands first, whether it fits this machine or not.

        Of a repository without a main model by its header, the first file is taken for one.
        """
        if isinstance(self._main, Path):
            return self._with_file(self._main)
        found: Offer | None = None
        for offer in _few(self.offers()):
            found = found or offer
            if self._models.facts(offer.repository, offer.name).kind is Kind.MAIN:
                return self.pair(offer)
        if found is None:
            raise NotFoundError(f"there is nothing of {clean(self.asked.model, 120)}")
        return self.pair(found)

    def pair(self, offer: Offer) -> Reference:
        """An offer with its best drafter."""
        main = self._facts(offer.repository, offer.name)
        name = self.profile.name if self.profile else self.asked.model
        drafter = self._drafter(main, lambda: next(self._drafters(offer, main), None))
        return Reference(name, main, drafter, self.profile, self._mmproj(main, offer))

    def with_smaller_drafter(self, offer: Offer, reference: Reference) -> Reference | None:
        """The same main model with the smallest drafter there is, or None."""
        if reference.draft is None or self.asked.draft != "auto" or self._named_drafter():
            return None
        drafters = self._drafters(offer, reference.main)
        family = [d for d in drafters if d.origin.qat is reference.draft.origin.qat]
        smallest = min(family, key=lambda facts: facts.file_bytes, default=reference.draft)
        if smallest.file_bytes >= reference.draft.file_bytes:
            return None
        finding = Finding(
            "step-down-drafter",
            "warning",
            f"the drafter is {smallest.quant or 'a smaller one'}, not {reference.draft.quant}: "
            "memory is tight",
            fix="free memory, or name one with --draft",
        )
        return replace(reference, draft=smallest, findings=(*reference.findings, finding))

    def files(self, reference: Reference) -> list[tuple[Repository, HubFile]]:
        """Every file of a reference that belongs to a repository, part by part."""
        return [entry for facts in reference.models for entry in self.files_of(facts)]

    def files_of(self, facts: ModelFacts) -> list[tuple[Repository, HubFile]]:
        """The parts of one model; nothing where it was given by its path."""
        if facts.path not in self._placed:
            return []
        repository, name = self._placed[facts.path]
        return [(repository, file) for file in repository.parts(name)]

    def on_disk(self, reference: Reference) -> Reference:
        """The same models by their paths in the cache, read again from there.

        Only what was fetched is there: raises what `load_facts` raises.
        """
        return self._mapped(reference, lambda facts: load_facts(self._cache_path(facts)))

    def as_if_on_disk(self, reference: Reference) -> Reference:
        """The same facts under the paths that the files will have."""
        return self._mapped(reference, lambda facts: replace(facts, path=self._cache_path(facts)))

    def _cache_path(self, facts: ModelFacts) -> Path:
        repository, name = self._placed[facts.path]
        return cache.snapshot_path(repository, name)

    def _mapped(
        self, reference: Reference, change: Callable[[ModelFacts], ModelFacts]
    ) -> Reference:
        def one(facts: ModelFacts | None) -> ModelFacts | None:
            return facts if facts is None or facts.is_local else change(facts)

        main = one(reference.main) or reference.main
        return replace(
            reference, main=main, draft=one(reference.draft), mmproj=one(reference.mmproj)
        )

    def _with_file(self, path: Path) -> Reference:
        main = load_facts(path)
        name = self.profile.name if self.profile else clean(path.stem, 80)
        drafter = self._drafter(main, lambda: find_drafter(main, self._published(main)))
        return Reference(name, main, drafter, self.profile, self._mmproj(main, None))

    def _drafter(
        self, main: ModelFacts, find: Callable[[], ModelFacts | None]
    ) -> ModelFacts | None:
        named = self._named_drafter()
        if self.asked.draft == "off" or (main.kind is not Kind.MAIN and self.asked.draft == "auto"):
            return None
        if isinstance(named, Path):
            return load_facts(named)
        if named is not None:
            return self._drafter_in(named)
        return find()

    def _named_drafter(self) -> Path | HubName | None:
        if self.asked.draft not in ("auto", "off"):
            return _source(self.asked.draft)
        return self.profile.draft if self.profile else None

    def _drafter_in(self, name: HubName) -> ModelFacts:
        """The first drafter of a repository; where there is none, its first model."""
        repository = self._models.repository(name)
        names = draft_candidates(repository.names, name.quant)
        names = names or main_candidates(repository.names, name.quant)
        if not names:
            raise no_drafter(f"it in {repository}", [])
        found = []
        for candidate in names[:_MOST_CANDIDATES]:
            found.append(self._facts(repository, candidate))
            if found[-1].kind is Kind.ASSISTANT:
                return found[-1]
        return found[0]

    def _drafters(self, offer: Offer, main: ModelFacts) -> Iterator[ModelFacts]:
        """Drafters that belong to an offer; raises NotFoundError where none does."""
        sources = (self.profile.sources if self.profile else ()) or self._published(main)
        qat = main.origin.qat if offer.qat is None else offer.qat
        skipped: list[str] = []
        found = False
        candidates = offered_drafters(self._models, offer.repository, sources, qat)
        for repository, name in _few(candidates):
            try:
                facts = self._facts(repository, name)
            except BadFileError:
                skipped.append(name)
                continue
            if facts.kind is Kind.ASSISTANT and is_compatible(check_pair(main, facts)):
                found = True
                yield facts
            else:
                skipped.append(name)
        if not found:
            shown = f"{clean(main.path.name, 120)} in {offer.repository}"
            raise no_drafter(shown, skipped)

    def _mmproj(self, main: ModelFacts, offer: Offer | None) -> ModelFacts | None:
        asked = self.asked.mmproj
        if asked == "off" or main.kind is not Kind.MAIN:
            return None
        if asked != "auto":
            return load_facts(paths.typed(asked))
        if offer is None:
            return find_mmproj(main)
        name = offered_mmproj(offer.repository)
        if name is None:
            raise NotFoundError(
                f"there is no vision projector in {offer.repository}",
                rule="no-mmproj",
                expected="a file with mmproj in its name",
                fix="name one with --mmproj PATH, or leave out --mmproj",
            )
        return self._facts(offer.repository, name)

    def _published(self, main: ModelFacts) -> Sequence[Source]:
        """Where drafters for a model of this size are published, by the profiles."""
        size = GEMMA4_WIDTHS.get(main.text.width if main.text else 0, "")
        name = f"gemma-4-{size.lower()}"
        return load_profile(name).sources if name in profile_names() else ()

    def _facts(self, repository: Repository, name: str) -> ModelFacts:
        facts = self._models.facts(repository, name)
        self._placed[facts.path] = repository, name
        return facts


def is_source(model: str) -> bool:
    """Is it a path or a repository, and so no name of a profile?"""
    if model.startswith(PREFIX) or model.endswith(".gguf") or "/" in model:
        return True
    return model != "" and paths.exists(paths.typed(model))


def _source(text: str) -> Path | HubName:
    return parse_hub_name(text) if text.startswith(PREFIX) else paths.typed(text)


def _in_quant(main: Path | HubName | None, quant: str) -> Path | HubName | None:
    """The same in the quant of `--quant`, where one can be chosen."""
    if main is None:
        return None
    if isinstance(main, Path) or (main.quant or quant).lower() != quant.lower():
        raise UsageError(
            f"--quant {clean(quant, 40)} does not go with {clean(str(main), 120)}",
            rule="quant",
            expected="a profile with sources, or hf:OWNER/REPO",
            fix="leave out --quant",
        )
    return replace(main, quant=quant)


def _few(candidates: Iterator[_T]) -> Iterator[_T]:
    for _, candidate in zip(range(_MOST_CANDIDATES), candidates, strict=False):
        yield candidate
