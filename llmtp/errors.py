"""Exit codes, findings, and the one tree of expected errors.

    LlmtpError
    ├── UsageError          2   flags, values, profile or config YAML, a taken port
    ├── PairRejectedError   3   valid files that do not belong together
    ├── DoesNotFitError     4   no plan fits the memory
    ├── BadFileError        5   not a whole, readable GGUF file
    ├── DownloadError       5   the Hub did not give it
    ├── EngineEndedError        another start may do
    │   ├── StartFailedError    6   the engine did not become ready
    │   └── ServerDiedError     7   the engine ended by itself, or hung
    ├── NotFoundError       8   path, profile or drafter
    ├── EngineError         9   no llama-server that can run Gemma 4 MTP
    ├── MtpInactiveError   10   the drafter is loaded but drafts nothing
    └── OtherEndedError         as another llmtp ended

Whatever else is raised is a bug and keeps its traceback (exit 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, ClassVar, Literal, get_args

from llmtp.text import clean

_MOST_CHARACTERS = 2000


class ExitCode(IntEnum):
    """What a script can act on; the README's table is compared with this."""

    OK = 0
    BUG = 1
    USAGE = 2
    PAIR_REJECTED = 3
    DOES_NOT_FIT = 4
    BAD_FILE = 5
    START_FAILED = 6
    SERVER_DIED = 7
    NOT_FOUND = 8
    NO_ENGINE = 9
    MTP_INACTIVE = 10
    INTERRUPTED = 130
    TERMINATED = 143


Level = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that llmtp noticed: what it is, what was expected, what to do."""

    rule: str
    level: Level
    message: str
    expected: str | None = None
    observed: str | None = None
    fix: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, value: Any) -> Finding:
        """From JSON that another llmtp wrote; raises ValueError for what is none."""
        texts = {name: _text(value, name) for name in ("rule", "message")}
        more = {name: _text(value, name, None) for name in ("expected", "observed", "fix")}
        level = next((one for one in get_args(Level) if one == _text(value, "level")), None)
        if level is None:
            raise ValueError("the level of a finding")
        return cls(level=level, **texts, **more)


def _text(value: Any, name: str, *otherwise: None) -> Any:
    found = value.get(name, *otherwise) if isinstance(value, dict) else None
    if isinstance(found, str):
        return clean(found, _MOST_CHARACTERS)
    if found is None and otherwise:
        return None
    raise ValueError(f"the {name} of a finding")


class LlmtpError(Exception):
    """An expected failure: one clear line, a fix, and an exit code of its own."""

    exit_code: ExitCode
    rule: ClassVar[str]

    def __init__(
        self,
        message: str,
        *,
        rule: str | None = None,
        expected: str | None = None,
        observed: str | None = None,
        fix: str | None = None,
    ) -> None:
        super().__init__(message)
        finding = Finding(rule or type(self).rule, "error", message, expected, observed, fix)
        self.findings: list[Finding] = [finding]

    @classmethod
    def from_findings(cls, findings: Sequence[Finding]) -> LlmtpError:
        """Fail with findings that a check has already made; at least one is an error."""
        first = next(f for f in findings if f.level == "error")
        error = cls(first.message)
        error.findings = list(findings)
        return error


class UsageError(LlmtpError):
    exit_code = ExitCode.USAGE
    rule = "usage"


class PairRejectedError(LlmtpError):
    exit_code = ExitCode.PAIR_REJECTED
    rule = "pair"


class DoesNotFitError(LlmtpError):
    """`short` says by how much, in a few words."""

    short = ""
    exit_code = ExitCode.DOES_NOT_FIT
    rule = "does-not-fit"


class BadFileError(LlmtpError):
    exit_code = ExitCode.BAD_FILE
    rule = "bad-file"


class DownloadError(LlmtpError):
    exit_code = ExitCode.BAD_FILE
    rule = "download"


class EngineEndedError(LlmtpError):
    """`out_of` says what it ran out of: then a smaller plan may do. `served_s` is how long it was
    ready, `last_words` are the last lines of its output that may say why."""

    out_of: Literal["device memory", "RAM", "the cache"] | None = None
    served_s = 0.0
    last_words = ""


class StartFailedError(EngineEndedError):
    exit_code = ExitCode.START_FAILED
    rule = "start-failed"


class ServerDiedError(EngineEndedError):
    exit_code = ExitCode.SERVER_DIED
    rule = "server-died"


class NotFoundError(LlmtpError):
    exit_code = ExitCode.NOT_FOUND
    rule = "not-found"


class EngineError(LlmtpError):
    exit_code = ExitCode.NO_ENGINE
    rule = "engine"


class OtherEndedError(LlmtpError):
    """What another llmtp ended with, as it told it."""

    rule = "ended"

    def __init__(self, findings: Sequence[Finding], exit_code: ExitCode) -> None:
        known = next((one for one in findings if one.level == "error"), None)
        super().__init__(known.message if known else f"it was {exit_code.name.lower()}")
        self.exit_code = exit_code
        self.findings = list(findings) if known else self.findings


class MtpInactiveError(LlmtpError):
    exit_code = ExitCode.MTP_INACTIVE
    rule = "mtp-inactive"


class EngineUnreachableError(Exception):
    """A running engine gave no usable answer: refused, timed out, not 200, or not JSON.

    Never shown as it is: whoever asked knows what that means, and raises an LlmtpError. `is_alone`:
    there was no connection; `is_garbage`: what came was too long, or none of the form.
    """

    def __init__(
        self,
        detail: str,
        status: int | None = None,
        *,
        is_alone: bool = False,
        is_garbage: bool = False,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.is_alone = is_alone
        self.is_garbage = is_garbage
