"""What the Hub said of itself and of us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmtp.errors import LlmtpError


@dataclass(frozen=True, slots=True)
class Reach:
    """`endpoint` is where it is, None where nobody was asked: HF_HUB_OFFLINE is set, or there is
    nothing to ask for.

    `error` is why there was no answer at all. `user` is whom the token belongs to. `gated` are the
    repositories that want something first, and what they said, None where they only say that.
    """

    endpoint: str | None
    answered_s: float = 0.0
    error: LlmtpError | None = None
    has_token: bool = False
    user: str | None = None
    token_error: LlmtpError | None = None
    gated: Mapping[str, LlmtpError | None] = field(default_factory=dict)

    @property
    def is_there(self) -> bool:
        """May something be downloaded?"""
        return self.endpoint is not None and self.error is None
