"""A server of ours, for who keeps it up: what it does now, and what it has drafted so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from llmtp.metrics.counters import Drafting
from llmtp.metrics.sampler import Meters, Sample


class Samples(Protocol):
    """Looks at a server, again and again; `answered` says whether it did, the last time."""

    answered: bool

    def sample(self) -> Sample: ...


class Kept(Protocol):
    """Raises EngineUnreachableError where it has to ask and is not answered."""

    def samples(self, meters: Meters) -> Samples: ...

    def drafting(self) -> Drafting | None:
        """Since its start, of requests that have ended; None where nothing tells."""

    def busy(self, timeout_s: float, meanwhile: Callable[[], object]) -> int:
        """Requests that are being answered; `meanwhile` may end the wait by raising."""
