"""A program that serves, of whichever engine, as far as who plans for it or measures it asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from llmtp.engine.kinds import Kind
from llmtp.errors import Finding


class Program(Protocol):
    """`source` is who named it, `skipped` names others that were passed over, with reasons.

    `mixes_batches`: it reserves memory for batches of tokens and images. `cuts_drafts`: it can end
    a draft before a token that the drafter gives little (`p_min`); `samples_drafts`: it can draw
    drafts as it draws tokens; `verifies_fewer`: near the end of an answer it verifies no more
    drafts than tokens are left.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def path(self) -> Path: ...

    @property
    def source(self) -> str: ...

    @property
    def skipped(self) -> tuple[Finding, ...]: ...

    @property
    def mixes_batches(self) -> bool: ...

    @property
    def cuts_drafts(self) -> bool: ...

    @property
    def samples_drafts(self) -> bool: ...

    @property
    def verifies_fewer(self) -> bool: ...

    @property
    def env(self) -> Mapping[str, str]: ...

    def list_devices(self) -> str:
        """What it prints of the devices that it sees; empty where it does not."""
