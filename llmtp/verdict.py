"""What was asked for, found and judged: known before anything is started or downloaded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any

from llmtp.errors import BadFileError, Finding, NotFoundError
from llmtp.hub.reference import Asked, Catalogue, Reference
from llmtp.pairing import check_main, check_mmproj, check_pair, is_compatible


@dataclass(frozen=True, slots=True)
class Checked:
    """A model with the verdict on its pair; `fetched_bytes` were read from the network for it."""

    reference: Reference
    findings: tuple[Finding, ...]
    fetched_bytes: int = 0

    @property
    def compatible(self) -> bool:
        return is_compatible(list(self.findings))

    def to_dict(self) -> dict[str, Any]:
        """The `data` of `check --json`."""
        main, draft = self.reference.main, self.reference.draft
        return {
            "main": main.to_dict(),
            "draft": draft.to_dict() if draft else None,
            "compatible": self.compatible,
            "fetched_bytes": self.fetched_bytes,
        }


def judge(reference: Reference, fetched_bytes: int = 0) -> Checked:
    """The verdict on a pair; a rejected one is not raised here."""
    main, drafter = reference.main, reference.draft
    beside = [*reference.findings, *check_mmproj(main, reference.mmproj)]
    if drafter is None:
        return Checked(reference, (*check_main(main), *beside), fetched_bytes)
    difference = None
    digests = {main.tokens_digest, drafter.tokens_digest}
    is_local = main.is_local and drafter.is_local
    if main.vocabulary_size == drafter.vocabulary_size and len(digests - {None}) == 2 and is_local:
        from llmtp.gguf.tokens import first_difference

        difference = first_difference(main.path, drafter.path)
    return Checked(reference, (*check_pair(main, drafter, difference), *beside), fetched_bytes)


def check(asked: Asked) -> Checked:
    """Find the pair that stands first, on this disk or else at the Hub, and judge it there: in the
    preferred quant where there is that."""
    quant, asked = asked.preferred, replace(asked, preferred=None)
    if quant is not None and Catalogue(asked, offline=True).leaves_quant:
        with contextlib.suppress(NotFoundError):
            return check(replace(asked, quant=quant))
    try:
        return judge(Catalogue(asked, offline=True).first())
    except (NotFoundError, BadFileError):
        if asked.offline:
            raise
    hub = Catalogue(asked, offline=False)
    reference = hub.first()
    return judge(reference, hub.fetched_bytes)
