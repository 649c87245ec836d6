"""Devices of workers: of those that were named, and of those that servers of ours use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from functools import partial

from llmtp.aside import begin
from llmtp.doctor.check import Check
from llmtp.engine.llama.find import Engine
from llmtp.engine.llama.rpc import remote_devices
from llmtp.errors import EngineError, NotFoundError
from llmtp.machine.devices import Device, named_for
from llmtp.machine.workers import Worker
from llmtp.units import format_bytes

_ID = "worker"


def look_at_workers(
    engine: Engine | None, workers: Sequence[Worker], users: Mapping[str, str]
) -> tuple[list[Check], tuple[Device, ...]]:
    """What is to be said of each, and what they lend; `users` are our servers by endpoint."""
    checks: list[Check] = []
    lent: list[Device] = []
    asked = {
        worker: begin(partial(remote_devices, engine, [worker]))
        for worker in workers
        if engine is not None and worker.endpoint not in users
    }
    wait(asked.values())
    for worker in workers:
        if (user := users.get(worker.endpoint)) is not None:
            checks.append(_used(worker.endpoint, user, f"llmtp stop {user}"))
            continue
        if worker not in asked:
            words = f"{worker.endpoint} was not asked: no engine is there to use it"
            checks.append(Check("machine", _ID, "warn", words))
            continue
        try:
            devices = asked[worker].result()
        except (NotFoundError, EngineError) as error:
            found = error.findings[0]
            detail = f" ({found.observed}; here {found.expected})" if found.observed else ""
            checks.append(Check("machine", _ID, "fail", f"{found.message}{detail}", found.fix))
            continue
        lent += devices
        checks += [Check("machine", _ID, "pass", _words(device)) for device in devices]
    named = {worker.endpoint for worker in workers}
    checks += [_used(at, user, None) for at, user in users.items() if at not in named]
    return checks, named_for(lent, lent)


def _used(endpoint: str, user: str, fix: str | None) -> Check:
    words = f"worker {endpoint} serves {user}, and nobody else meanwhile"
    return Check("machine", _ID, "pass" if fix is None else "warn", words, fix)


def _words(device: Device) -> str:
    total, free = format_bytes(device.total_bytes), format_bytes(device.free_bytes)
    return f"{device.name}: {total}, {free} free by {device.source}"
