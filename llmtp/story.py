"""What happens to a server, as events that every view tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from llmtp.chain import Prepared
from llmtp.errors import Finding
from llmtp.metrics.sampler import Sample
from llmtp.plan.ladder import GivenUp
from llmtp.plan.wishes import Nodes
from llmtp.server.life import State
from llmtp.server.proof import Proof
from llmtp.server.session import Session
from llmtp.verdict import Checked


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `fields` are plain values, ready for JSON."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)


class View(Protocol):
    """Shows what happens. Called from one thread, in the order of events."""

    def prepared(self, prepared: Prepared) -> None:
        """The plan that is started now; another one follows where it runs out of memory."""

    def event(self, event: Event) -> None: ...

    def finding(self, finding: Finding) -> None: ...

    def loading(self, elapsed_s: float, loaded_bytes: int | None, total_bytes: int) -> None: ...

    def sample(self, sample: Sample, uptime_s: float) -> None: ...

    def state(self, state: State) -> None: ...

    def draining(self, requests: int, at_most_s: float) -> None:
        """So many requests may finish before the server is stopped, for so long."""


def checked(pair: Checked) -> Event:
    """The pair that passed its check."""
    return Event("checked", pair.to_dict())


def planned(prepared: Prepared) -> Event:
    """The plan that will be started."""
    findings = [finding.to_dict() for finding in prepared.findings]
    return Event("planned", prepared.to_dict() | {"findings": findings})


def starting(pid: int, log: Path) -> Event:
    """A process runs; nobody can use it yet."""
    return Event("starting", {"pid": pid, "log": str(log)})


def joined(pid: int, nodes: Nodes) -> Event:
    """This machine is a part of the server of another one."""
    first = f"{nodes.address}:{nodes.port}"
    return Event("joined", {"pid": pid, "node_rank": nodes.rank, "first": first})


def ready(session: Session, ready_s: float) -> Event:
    """The model is loaded."""
    plan, serving = session.plan, session.serving
    return Event(
        "ready",
        {
            "pid": session.process.pid,
            "url": session.url,
            "port": serving.port,
            "n_max": plan.n_max,
            "ready_s": round(ready_s, 3),
            "api_key_file": str(serving.api_key_file) if serving.api_key_file else None,
        },
    )


def proved(proof: Proof | None, findings: list[Finding]) -> Event:
    """What the first request showed of MTP."""
    return Event(
        "mtp",
        {
            "active": proof is not None and proof.active,
            "drafted": proof.drafted if proof else 0,
            "accepted": proof.accepted if proof else 0,
            "findings": [finding.to_dict() for finding in findings],
        },
    )


def restarting(
    why: Finding,
    *,
    wait_s: float = 0.0,
    in_a_row: int = 0,
    step: int = 0,
    given_up: list[GivenUp] | None = None,
    port: int | None = None,
) -> Event:
    """Another start follows: with a smaller plan (`step`), on another port, or as it was."""
    return Event(
        "restarting",
        {
            "rule": why.rule,
            "reason": why.message,
            "wait_s": round(wait_s, 3),
            "in_a_row": in_a_row,
            "step": step,
            "given_up": [one.to_dict() for one in given_up or ()],
            "port": port,
        },
    )


def stopped(uptime_s: float, reason: str) -> Event:
    """The process of a start is gone; `reason` is `asked`, or the rule of what ended it."""
    return Event("stopped", {"uptime_s": round(uptime_s, 3), "reason": reason})
