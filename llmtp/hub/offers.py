"""The main models that a name may mean, best first, and the files that go with each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmtp.errors import LlmtpError, NotFoundError
from llmtp.hub.choose import draft_candidates, main_candidates, mmproj_candidates, quant_tag
from llmtp.hub.files import Repository
from llmtp.hub.models import Models
from llmtp.hubname import PREFIX, HubName
from llmtp.profiles import Profile, Source
from llmtp.text import clean

QAT = "qat"
_SHOWN = 8
#: A source that is gone or closed leaves its place to the next.
_PASSED_OVER = {"repository-not-found", "revision-not-found", "gated", "forbidden", "token",
                "not-on-disk"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Offer:
    """A main model in one quant. `label` is what `--quant` takes: `Q8_0`, `qat-UD-Q4_K_XL`."""

    label: str
    repository: Repository
    name: str
    qat: bool | None

    @property
    def file_bytes(self) -> int:
        """Of all its parts; the size of the download."""
        return sum(file.size for file in self.repository.parts(self.name))


def source_offers(models: Models, profile: Profile, quant: str | None) -> Iterator[Offer]:
    """What the sources of a profile have, in its order; repositories are listed as needed.

    Raises NotFoundError where there is nothing, or the error of the first source.
    """
    seen: set[tuple[str, str]] = set()
    first_error: LlmtpError | None = None
    listed = False
    for source in profile.sources:
        wants_qat, tag = split_quant(quant)
        if wants_qat and not source.qat:
            continue
        try:
            repository = models.repository(source.repository)
        except LlmtpError as error:
            if error.findings[0].rule not in _PASSED_OVER:
                raise
            first_error = first_error or error
            continue
        listed = True
        for name in main_names(repository, source, tag):
            if (repository.name.repo_id, name) not in seen:
                seen.add((repository.name.repo_id, name))
                yield _offer(repository, name, source.qat)
    if not seen:
        if first_error is not None and not listed:
            raise first_error
        raise _no_such_quant(models, profile, quant)


def repository_offers(models: Models, name: HubName) -> list[Offer]:
    """What a repository has in the quant of its name, or in every quant, best quality first.

    One that has drafters only offers those, so that they can be named for what they are; not on
    this disk, where the main models may just not have been fetched.
    """
    repository = models.repository(name)
    choose = main_candidates
    if not main_candidates(repository.names, None) and repository.endpoint is not None:
        choose = draft_candidates
    found = choose(repository.names, name.quant)
    if not found and repository.endpoint is None:
        raise repository.not_on_disk(f"a main model{f' in {name.quant}' if name.quant else ''}")
    if not found:
        raise _no_such_file(repository, name, choose(repository.names, None))
    if name.quant is None and choose is main_candidates:
        found = [n for i, n in enumerate(found) if quant_tag(n) not in map(quant_tag, found[:i])]
    return [_offer(repository, file, None) for file in found]


def offered_drafters(
    models: Models, repository: Repository, sources: Sequence[Source], qat: bool | None
) -> Iterator[tuple[Repository, str]]:
    """Files that may hold the drafter of a main model: its own repository's first, then those of
    `sources`, of its own family (QAT or not) before others."""
    for name in draft_candidates(repository.names, None):
        yield repository, name
    others = [s for s in sources if s.draft and s.repository.repo_id != repository.name.repo_id]
    done: set[str] = set()
    for source in sorted(others, key=lambda source: source.qat is not bool(qat)):
        if source.repository.repo_id in done:
            continue
        done.add(source.repository.repo_id)
        try:
            other = models.repository(source.repository)
        except LlmtpError as error:
            if error.findings[0].rule not in _PASSED_OVER:
                raise
            continue
        for name in draft_candidates([n for n in other.names if source.is_draft(n)], None):
            yield other, name


def offered_mmproj(repository: Repository) -> str | None:
    """The file with the vision projector that goes with the models of a repository."""
    return next(iter(mmproj_candidates(repository.names)), None)


def main_names(repository: Repository, source: Source, tag: str | None) -> list[str]:
    """The file of each quant of a source, or of one tag, as far as its repository has them."""
    names = [name for name in repository.names if source.is_main(name)]
    if tag is not None:
        return main_candidates(names, tag)[:1]
    found = (main_candidates(names, quant)[:1] for quant in source.quants)
    return [name for names in found for name in names]


def split_quant(quant: str | None) -> tuple[bool, str | None]:
    """`qat`, `qat-Q4_0` and `Q4_0`: must it be QAT, and the tag of the file."""
    if quant is None or quant.lower() == QAT:
        return quant is not None, None
    if quant.lower().startswith(f"{QAT}-"):
        return True, quant[len(QAT) + 1 :]
    return False, quant


def _offer(repository: Repository, name: str, qat: bool | None) -> Offer:
    tag = quant_tag(name) or clean(name.rpartition("/")[2].removesuffix(".gguf"), 60)
    return Offer(f"{QAT}-{tag}" if qat else tag, repository, name, qat)


def _no_such_quant(models: Models, profile: Profile, quant: str | None) -> NotFoundError:
    if models.offline:
        wanted = f"{clean(quant, 60)} of {profile.name}" if quant else profile.name
        return NotFoundError(
            f"{wanted} is not on this disk, and the network may not be used",
            rule="not-on-disk",
            fix=f"leave out --offline (or unset HF_HUB_OFFLINE), or type: llmtp pull {profile.name}"
            + (f" --quant {clean(quant, 60)}" if quant else ""),
        )
    if quant is None:
        return NotFoundError(
            f"no source of {profile.name} has a main model any more",
            rule="no-gguf",
            expected="files whose names fit the patterns",
            fix=f"look at its sources: llmtp profiles show {profile.name}",
        )
    known = list(dict.fromkeys(offer.label for offer in source_offers(models, profile, None)))
    return NotFoundError(
        f"there is no {clean(quant, 60)} of {profile.name}",
        rule="quant-not-found",
        expected="one of " + ", ".join(known),
        fix="leave out --quant for the best that fits",
    )


def _no_such_file(repository: Repository, name: HubName, others: list[str]) -> NotFoundError:
    asked = f" in {name.quant}" if name.quant else ""
    tags = list(dict.fromkeys(filter(None, map(quant_tag, others))))
    known = tags or [clean(other, 80) for other in others]
    return NotFoundError(
        f"there is no GGUF model{asked} in {repository}",
        rule="quant-not-found" if others else "no-gguf",
        expected=f"one of {', '.join(known[:_SHOWN])}" if known else None,
        fix=f"for example: {PREFIX}{name.repo_id}{f':{tags[0]}' if tags else ''}"
        if known
        else "name the repository of a GGUF release",
    )
