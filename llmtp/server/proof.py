"""Is MTP really on? One short request answers, after every start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmtp.engine.timings import Timings
from llmtp.errors import EngineUnreachableError, Finding, MtpInactiveError, StartFailedError
from llmtp.text import clean

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient

#: So many drafted and none accepted is a mismatch that no header shows.
TELLING_DRAFTS = 48
_PROMPT = (
    "Counting in words: one, two, three, four, five, six, seven, eight, nine, ten, eleven, "
    "twelve, thirteen, fourteen, fifteen, sixteen, seventeen,"
)


@dataclass(frozen=True, slots=True)
class Proof:
    """Counters of the probe: tokens drafted, and how many of them the main model kept.

    `tokens_per_s` is how fast it was decoded, None where the engine does not say.
    """

    drafted: int
    accepted: int
    tokens_per_s: float | None = None

    @property
    def active(self) -> bool:
        return self.drafted > 0

    def findings(self) -> list[Finding]:
        """The silent mismatch, when there is enough evidence for it."""
        if self.accepted > 0 or self.drafted < TELLING_DRAFTS:
            return []
        return [
            Finding(
                "mtp-never-hits",
                "warning",
                f"none of {self.drafted} drafted tokens was right: MTP only costs time here",
                expected="a third or more on plain counting",
                observed="0",
                fix="get main model and assistant from one source, or use --draft off",
            )
        ]


def prove(client: EngineClient, n_max: int, meanwhile: Callable[[], object]) -> Proof | None:
    """Let the server count on, long enough that a drafter that never hits is seen; without one
    (`n_max` 0) long enough to see that it answers, which proves nothing more.

    `meanwhile` is called while it waits, and may end the wait by raising. Raises StartFailedError
    when the server cannot answer at all, MtpInactiveError when it answers without drafting.
    """
    # Near its end llama-server drafts less and less: n_max more tokens make up for that.
    drafts = -(-TELLING_DRAFTS // n_max) if n_max else 0
    body = {
        "prompt": _PROMPT,
        "n_predict": drafts + n_max + 1,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    try:
        timings = Timings.of(client.complete(body, meanwhile))
    except EngineUnreachableError as error:
        raise StartFailedError(
            f"the server is ready but failed its first request: {clean(error.detail)}",
            rule="first-request",
            fix="see its log",
        ) from error
    if not n_max:
        return None
    proof = Proof(timings.drafted, timings.accepted, timings.tokens_per_s)
    if not proof.active:
        raise MtpInactiveError(
            "the drafter is loaded, but the server drafts nothing: " + client.why_no_drafts(),
            expected="draft_n above 0 in the timings of a request",
            observed="no draft_n",
            fix="install another build of the engine, or run without MTP: --draft off",
        )
    return proof
