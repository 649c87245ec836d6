"""What scripts/check_profiles runs: a line for each claim of a profile, 1 where one is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from llmtp.errors import LlmtpError
from llmtp.gguf.kind import Kind
from llmtp.gguf.model import ModelFacts
from llmtp.hub.choose import draft_candidates, mmproj_candidates
from llmtp.hub.files import Repository
from llmtp.hub.models import Models, check_endpoint
from llmtp.hub.offers import main_names
from llmtp.pairing import check_main, check_mmproj, check_pair, is_compatible
from llmtp.profiles import Source, load_profile, profile_names
from llmtp.roles import GEMMA4_WIDTHS
from llmtp.text import clean

_MOST_DRAFTERS = 8
Claim = tuple[bool, str]


def claims_of(models: Models, source: Source, size: str) -> Iterator[Claim]:
    """What a source says, and whether it is so."""
    try:
        repository = models.repository(source.repository)
    except LlmtpError as error:
        yield False, str(error)
        return
    main: ModelFacts | None = None
    for quant in source.quants:
        names = main_names(repository, source, quant)
        yield bool(names), f"{quant}: {clean(names[0], 80) if names else 'no file'}"
        if names and main is None:
            main = _facts(models, repository, names[0])
            if main is None or not is_compatible(check_main(main)):
                yield False, f"{clean(names[0], 80)} is no Gemma 4 main model"
            else:
                found = GEMMA4_WIDTHS.get(main.shape.width, "an unknown size")
                yield found.lower() == size, f"its header says {found}"
    if source.draft:
        drafters = [n for n in draft_candidates(repository.names, None) if source.is_draft(n)]
        yield bool(drafters), f"{len(drafters)} drafters by name"
        for name in drafters[:_MOST_DRAFTERS]:
            draft = _facts(models, repository, name)
            fits = draft is not None and draft.kind is Kind.ASSISTANT
            if fits and main is not None and draft is not None:
                fits = is_compatible(check_pair(main, draft))
            yield fits, f"drafter {clean(name, 80)}"
    if source.mmproj:
        named = [n for n in mmproj_candidates(repository.names) if source.is_mmproj(n)]
        projector = _facts(models, repository, named[0]) if named else None
        fits = projector is not None and (
            main is None or is_compatible(check_mmproj(main, projector))
        )
        yield fits, f"mmproj {clean(named[0], 80) if named else 'missing'}"


def _facts(models: Models, repository: Repository, name: str) -> ModelFacts | None:
    try:
        return models.facts(repository, name)
    except LlmtpError:
        return None


def main(names: list[str]) -> int:
    check_endpoint()
    models = Models(offline=False)
    wrong = 0
    for name in names or profile_names():
        for source in load_profile(name).sources:
            print(f"{name}: {source.repository.repo_id}{' (QAT)' if source.qat else ''}")
            for holds, claim in claims_of(models, source, name.removeprefix("gemma-4-")):
                wrong += not holds
                print(f"  {'ok  ' if holds else 'FAIL'}  {claim}", flush=True)
    print(f"{wrong} claims are wrong; {models.fetched_bytes / 1e6:.1f} MB were read")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LlmtpError as error:
        sys.exit(f"{error}: {error.findings[0].fix}")
