"""What was asked for, found on disk and judged: known before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtp.errors import Finding
from llmtp.hub.reference import Reference, resolve
from llmtp.pairing import check_main, check_pair, is_compatible


@dataclass(frozen=True, slots=True)
class Checked:
    """A resolved model with the verdict on its pair."""

    reference: Reference
    findings: tuple[Finding, ...]

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
            "fetched_bytes": self.reference.fetched_bytes,
        }


def check(model: str, draft: str, *, remote: bool = False) -> Checked:
    """Find the files of MODEL and judge the pair; a rejected pair is not raised here.

    With `remote`, files in repositories are judged where they are.
    """
    reference = resolve(model, draft, remote=remote)
    main, drafter = reference.main, reference.draft
    if drafter is None:
        return Checked(reference, tuple(check_main(main)))
    difference = None
    digests = {main.tokens_digest, drafter.tokens_digest}
    is_local = main.is_local and drafter.is_local
    if main.vocabulary_size == drafter.vocabulary_size and len(digests - {None}) == 2 and is_local:
        from llmtp.gguf.tokens import first_difference

        difference = first_difference(main.path, drafter.path)
    return Checked(reference, tuple(check_pair(main, drafter, difference)))
