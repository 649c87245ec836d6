"""The chain that `run` and `plan` share: verdict, machine, engine, plan, command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmtp.engine.command import Command, Serving, build_command
from llmtp.engine.find import Engine, find_engine
from llmtp.errors import Finding, PairRejectedError
from llmtp.hub.reference import Reference
from llmtp.machine.detect import detect
from llmtp.machine.devices import Device, Machine
from llmtp.plan.choose import Wishes, make_plan
from llmtp.plan.result import Plan
from llmtp.verdict import Checked, check


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is known before a process starts."""

    reference: Reference
    engine: Engine
    plan: Plan
    command: Command
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """The `data` of `plan --json`."""
        command = self.command
        return self.plan.to_dict() | {"argv": list(command.argv), "env": dict(command.env)}


def prepare(
    model: str,
    draft: str,
    wishes: Wishes,
    serving: Serving,
    engine: str | None = None,
    extra: Sequence[str] = (),
    cards: Sequence[Device] | None = None,
    on_checked: Callable[[Checked], None] = lambda _: None,
) -> Prepared:
    """Check, look at the machine, plan, and make the command.

    `cards` are imagined devices to plan for instead of the real ones. Raises the error of the
    first link that fails.
    """
    checked = check(model, draft)
    if not checked.compatible:
        raise PairRejectedError.from_findings(checked.findings)
    on_checked(checked)
    found = find_engine(engine)
    machine = detect(found.list_devices() if cards is None else "")
    if cards is not None:
        machine = Machine(machine.host, tuple(cards))
    plan = make_plan(checked.reference, machine, wishes)
    command = build_command(plan, found, serving, extra)
    findings = (*checked.findings, *found.skipped, *plan.findings, *command.findings)
    return Prepared(checked.reference, found, plan, command, findings)
