"""One thing that was looked at, and how it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from llmtp.errors import Finding

Status = Literal["pass", "warn", "fail"]
Area = Literal["machine", "engine", "models", "shell", "security"]


@dataclass(frozen=True, slots=True)
class Check:
    """`fix` is a command to type: None where nothing is wrong, or nobody knows one."""

    area: Area
    id: str
    status: Status
    summary: str
    fix: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def finding(self) -> Finding:
        """A failure, for those who read findings."""
        return Finding(self.id, "error", self.summary, fix=self.fix)


def worst(checks: Iterable[Check]) -> Status:
    """How they stand together."""
    found = {check.status for check in checks}
    return "fail" if "fail" in found else "warn" if "warn" in found else "pass"
