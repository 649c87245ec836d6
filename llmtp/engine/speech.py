"""What the output of an engine means: what each engine has to know of its own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

CRASHED = "engine-crashed"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an engine ended, and what to do. `rule` names it for scripts."""

    message: str
    fix: str
    rule: str = "start-failed"
    out_of: Literal["device memory", "RAM", "the cache"] | None = None


PORT_TAKEN = Cause("the port was taken", "leave out --port, or use another", "port-taken")


class Redactor(Protocol):
    """Goes through the output of one process, from its start."""

    def keep(self, lines: list[bytes]) -> list[bytes]:
        """What may be kept of some lines: nothing that quotes a request or a key."""


class Speech(Protocol):
    """Of one engine. Pure.

    `term_wait_s` is how long it may take to end when it is told to. Where `health_is_enough`, it
    answers requests once its `/health` says so.
    """

    term_wait_s: float
    health_is_enough: bool

    def listens(self, line: str) -> bool:
        """Does only the process that bound the port say that?"""

    def is_loaded(self, line: str) -> bool:
        """Does a part say that, which answers nobody?"""

    def is_idle(self, line: bytes) -> bool:
        """Is it said again at each look at a server that does nothing?"""

    def redactor(self, *, prompts_too: bool) -> Redactor:
        """`prompts_too` keeps what requests say, for who asked for it."""

    def is_telling(self, line: str) -> bool:
        """May it say why the engine ended?"""

    def explain(self, returncode: int | None, lines: Sequence[str], *, oom_kills: int = 0) -> Cause:
        """Why it ended, by its exit status and the lines that may say it.

        `oom_kills` is how many processes of its group the system killed for lack of memory.
        """

    def telling_lines(self, lines: Sequence[str]) -> str:
        """The last of them, for a person; empty where there is none."""

    def without_requests(self, raw: Sequence[bytes], *, from_start: bool) -> Iterator[str]:
        """The lines of a log of several starts, whoever wrote it, for others to read."""

    def is_about(self, line: str) -> bool:
        """Does it say what the build, its devices and its buffers are?"""
