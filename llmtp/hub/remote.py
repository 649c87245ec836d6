"""Models in a repository: judged by a few pieces of their headers, without a download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmtp.errors import BadFileError, NotFoundError
from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.gguf.kind import ASSISTANT, Kind
from llmtp.gguf.lengths import StringArrays
from llmtp.gguf.model import ModelFacts
from llmtp.gguf.reader import Header, read_header
from llmtp.gguf.split import part_paths
from llmtp.hub.choose import draft_candidates, main_candidates
from llmtp.hub.known import recall, remember
from llmtp.hub.repository import HubSource, Repository, open_repository
from llmtp.hubname import PREFIX, HubName
from llmtp.pairing import check_pair, is_compatible
from llmtp.text import clean

_MOST_CANDIDATES = 8
_Candidates = Callable[[Sequence[str], str | None], list[str]]


@dataclass
class RemoteModels:
    """Reads headers over HTTP; repositories are listed once, tokenizers read once."""

    fetched_bytes: int = 0
    _listed: dict[HubName, Repository] = field(default_factory=dict)
    _tokenizers: StringArrays = field(default_factory=StringArrays)

    def main(self, name: HubName) -> ModelFacts:
        """The main model in that quant, or what stands in its place.

        Raises NotFoundError where no file has the quant, DownloadError, BadFileError.
        """
        return self._first(name, Kind.MAIN, main_candidates, draft_candidates)

    def drafter(self, name: HubName) -> ModelFacts:
        """The drafter of a repository, or what stands in its place; raises as `main` does."""
        return self._first(name, Kind.ASSISTANT, draft_candidates, main_candidates)

    def drafter_of(self, main: ModelFacts, name: HubName) -> ModelFacts:
        """The best drafter in the main model's own repository that belongs to it.

        Raises NotFoundError, which names the files that were looked at in vain.
        """
        repository = self._repository(name)
        skipped: list[str] = []
        for candidate in draft_candidates(repository.names, None)[:_MOST_CANDIDATES]:
            try:
                facts = self._facts(repository, candidate)
            except BadFileError:
                skipped.append(clean(candidate, 80))
                continue
            if facts.kind is Kind.ASSISTANT and is_compatible(check_pair(main, facts)):
                return facts
            skipped.append(clean(candidate, 80))
        raise NotFoundError(
            f"there is no drafter for {clean(main.path.name, 120)} in {repository}",
            rule="no-drafter",
            expected=f"a {ASSISTANT} file that belongs to it",
            observed=f"{', '.join(skipped)}, which it is not" if skipped else None,
            fix="name one: llmtp check MODEL hf:OWNER/REPO",
        )

    def _first(
        self, name: HubName, kind: Kind, first: _Candidates, then: _Candidates
    ) -> ModelFacts:
        """The first candidate of that kind; where none is, the first of all."""
        repository = self._repository(name)
        choose = first if first(repository.names, None) else then
        candidates = choose(repository.names, name.quant)
        if not candidates:
            raise _no_such_file(repository, name, choose(repository.names, None))
        best = self._facts(repository, candidates[0])
        for candidate in candidates[1:_MOST_CANDIDATES]:
            if best.kind is kind:
                break
            facts = self._facts(repository, candidate)
            best = facts if facts.kind is kind else best
        return best

    def _repository(self, name: HubName) -> Repository:
        of_any_quant = replace(name, quant=None)
        if of_any_quant not in self._listed:
            self._listed[of_any_quant] = open_repository(of_any_quant)
        return self._listed[of_any_quant]

    def _facts(self, repository: Repository, name: str) -> ModelFacts:
        path = Path(f"{PREFIX}{repository.name.repo_id}@{repository.commit}") / name
        oids = [repository.file(part).oid for part in _parts(name)]
        place = " ".join([repository.endpoint, *filter(None, oids)])
        known = recall(place, place, path) if all(oids) else None
        if known is not None:
            return known

        def read(part: Path) -> Header:
            file = repository.file("/".join(part.parts[2:]))
            with HubSource(repository, file) as source:
                try:
                    return read_header(source, file.size, clean(str(part), 300), self._tokenizers)
                finally:
                    self.fetched_bytes += source.fetched_bytes

        facts = read_facts(open_model(path, read))
        if all(oids):
            remember(place, place, facts)
        return facts


def _parts(name: str) -> list[str]:
    folder, _, last = name.rpartition("/")
    parts = [path.name for path in part_paths(Path(last))]
    return [f"{folder}/{part}" if folder else part for part in parts]


def _no_such_file(repository: Repository, name: HubName, others: list[str]) -> NotFoundError:
    asked = f" in {name.quant}" if name.quant else ""
    shown = ", ".join(clean(other, 80) for other in others[:_MOST_CANDIDATES])
    return NotFoundError(
        f"there is no GGUF model{asked} in {repository}",
        rule="quant-not-found" if others else "no-gguf",
        expected=f"one of {shown}" if others else None,
        fix=f"for example: llmtp check {PREFIX}{name.repo_id}:QUANT"
        if others
        else "name the repository of a GGUF release",
    )
