"""`hf:OWNER/REPO[:QUANT][@REVISION]`: how a user names a model in a repository."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmtp.errors import UsageError
from llmtp.text import clean

PREFIX = "hf:"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_FORM = re.compile(
    rf"hf:(?P<owner>{_NAME})/(?P<repo>{_NAME})(:(?P<quant>{_NAME}))?(@(?P<revision>[\w./-]{{1,200}}))?"
)


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository, which quant of it (None: the best known), at which revision (None: newest)."""

    owner: str
    repo: str
    quant: str | None = None
    revision: str | None = None

    @property
    def repo_id(self) -> str:
        return f"{self.owner}/{self.repo}"

    def __str__(self) -> str:
        quant = f":{self.quant}" if self.quant else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{self.repo_id}{quant}{revision}"


def is_repository(text: str) -> bool:
    """Could that be OWNER/REPO, without the prefix, and no file?"""
    name = _FORM.fullmatch(PREFIX + text)
    return name is not None and not text.endswith(".gguf")


def parse_hub_name(text: str) -> HubName:
    """Take a reference apart; raises UsageError for one that is none."""
    match = _FORM.fullmatch(text)
    if match is None or ".." in text:
        raise UsageError(
            f"{clean(text, 120)!r} is no reference to a repository",
            rule="reference",
            expected="hf:OWNER/REPO, hf:OWNER/REPO:QUANT or either with @REVISION",
            fix="for example: hf:unsloth/gemma-4-12b-it-GGUF:Q4_K_M",
        )
    return HubName(match["owner"], match["repo"], match["quant"], match["revision"])
