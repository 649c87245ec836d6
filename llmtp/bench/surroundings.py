"""What else goes on while we measure, and what that does to figures."""

from __future__ import annotations

import os
from collections.abc import Iterator

from llmtp.errors import Finding
from llmtp.plan.result import Plan
from llmtp.server.log import RunLog
from llmtp.server.standing import live
from llmtp.start import log_lost as told_lost

#: Of all cores, so much used by others is told.
_OTHERS_SHARE = 0.15
_CARD_IS_BUSY = 0.10


def other_servers() -> Iterator[Finding]:
    """Of ours, which may be asked meanwhile, and hold memory."""
    for one in live():
        entry = one.entry
        if entry.llmtp.pid != os.getpid():
            yield Finding(
                "other-server",
                "warning",
                f"{entry.id} runs here too: what it is asked meanwhile slows the measurement",
                fix=f"end it and measure again: llmtp stop {entry.id}",
            )


def busy_cards(plan: Plan) -> Iterator[Finding]:
    """Cards of the plan that somebody uses."""
    numbers = [(gpu.number, gpu.name) for gpu in plan.gpus if gpu.number is not None]
    if not numbers:
        return
    from llmtp.machine.nvml import CardMeter

    for number, name in numbers:
        share = CardMeter(number).busy_share()
        if share is not None and share >= _CARD_IS_BUSY:
            yield Finding(
                "other-load",
                "warning",
                f"{name} was busy before we began: figures are of a shared card",
                expected="an idle card",
                observed=f"busy {share:.0%} of the time",
                fix="see nvidia-smi, end what uses it, and measure again",
            )


def load(worst: float) -> Iterator[Finding]:
    """`worst` is how many cores others kept busy at most."""
    cores = os.cpu_count() or 1
    if worst >= _OTHERS_SHARE * cores:
        yield Finding(
            "other-load",
            "warning",
            "other programs computed meanwhile: speeds are lower and spread wider than they need",
            expected=f"less than {_OTHERS_SHARE * cores:.1f} of {cores} cores",
            observed=f"{worst:.1f} at most",
            fix="see top, end what can wait, and measure again",
        )


def log_lost(log: RunLog) -> Iterator[Finding]:
    """That lines of the servers' log are lost."""
    if (error := log.take_error()) is not None:
        yield told_lost(log, error)
