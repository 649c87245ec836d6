"""What happens to a server, written into its entry on the way to who shows it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from llmtp.chain import Prepared
from llmtp.errors import ExitCode, Finding, LlmtpError, UsageError
from llmtp.machine.identity import ProcessId
from llmtp.machine.marks import is_detached
from llmtp.metrics.sampler import Sample
from llmtp.server import registry
from llmtp.server.access import url_of
from llmtp.server.entry import Entry
from llmtp.server.life import State
from llmtp.server.registry import Registration
from llmtp.signals import Interrupted
from llmtp.story import Event, View

#: Two servers that see other cards are not the same.
_CARDS = (
    "CUDA_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
)  # fmt: skip


def fingerprint(prepared: Prepared, *, makes_key: bool) -> str:
    """Equal for two runs that ask for the same; the port apart, which may be any."""
    reference, request = prepared.reference, prepared.request
    serving = request.serving
    asked: dict[str, Any] = {
        "files": [os.path.realpath(facts.path) for facts in reference.models],
        "wishes": asdict(request.wishes),
        "engine": str(prepared.engine.path),
        "extra": list(request.extra),
        "host": serving.host,
        "temp": serving.temp,
        "cards": [os.environ.get(name) for name in _CARDS],
        "key": "made" if makes_key else str(serving.api_key_file),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def register_measured(prepared: Prepared, command: str) -> Registration:
    """Make the entry of servers that a command measures, which nobody else may use."""
    me = _me()
    return registry.register(
        f"{prepared.plan.name}-{command}",
        lambda one: new_entry(one, prepared, f"{command}-{one}", me, detached=False),
    )


def _me() -> ProcessId:
    me = ProcessId.of(os.getpid())
    if me is None:
        raise RuntimeError("this process is not there")
    return me


def register(prepared: Prepared, *, makes_key: bool) -> Registration:
    """Make the entry of a server that we are about to start, or take over the one that was made
    for us."""
    wanted = fingerprint(prepared, makes_key=makes_key)
    me = _me()
    if not is_detached():
        name = prepared.plan.name
        return registry.register(
            name, lambda one: new_entry(one, prepared, wanted, me, detached=False)
        )
    ours = sys.stdin.read()
    if not ours:
        raise UsageError("whoever started this llmtp is gone", rule="detached")
    entry, made = new_entry(ours, prepared, wanted, me, detached=True), registry.read(ours)
    registration = Registration(replace(entry, started_at=made.started_at) if made else entry)
    registration.change()
    return registration


def new_entry(
    entry_id: str, prepared: Prepared, wanted: str, llmtp: ProcessId, *, detached: bool
) -> Entry:
    """Of a server that `llmtp` is about to start."""
    serving, plan = prepared.request.serving, prepared.plan
    return Entry(
        id=entry_id,
        llmtp=llmtp,
        server=None,
        state=State.STARTING,
        model=plan.name,
        url=url_of(serving.host, serving.port),
        started_at=time.time(),
        restarts=0,
        mtp=None,
        n_max=plan.n_max,
        detached=detached,
        log=None,
        api_key_file=serving.api_key_file,
        key_is_made=False,
        wanted=wanted,
        plan=_plan(prepared),
    )


def _plan(prepared: Prepared) -> dict[str, Any]:
    """With the folder from where its paths are, if they are not whole."""
    return prepared.to_dict() | {"folder": str(Path.cwd())}


@contextmanager
def ended(registration: Registration, fine: type[Exception]) -> Iterator[None]:
    """Write how it ended, whatever ends it; a `fine` exception is no failure."""
    code, findings = ExitCode.BUG, [Finding("bug", "error", "llmtp has a bug: see its log")]
    try:
        yield
        code, findings = ExitCode.OK, []
    except LlmtpError as error:
        code, findings = error.exit_code, error.findings
        raise
    except fine:
        code, findings = ExitCode.OK, []
        raise
    except Interrupted as interrupted:
        code, findings = ExitCode(interrupted.exit_code), []
        raise
    finally:
        registration.end(code, findings)


class Registered:
    """A view that keeps the entry, and shows what happens in another one."""

    def __init__(self, view: View, registration: Registration) -> None:
        self._view = view
        self._registration = registration

    def prepared(self, prepared: Prepared) -> None:
        plan, serving = prepared.plan, prepared.request.serving
        url = url_of(serving.host, serving.port)
        self._registration.change(plan=_plan(prepared), n_max=plan.n_max, url=url)
        self._view.prepared(prepared)

    def event(self, event: Event) -> None:
        fields = event.fields
        match event.name:
            case "starting":
                server = ProcessId.of(fields["pid"])
                self._registration.change(server=server, log=Path(fields["log"]))
            case "ready":
                event = Event(event.name, {"id": self._registration.id, **fields})
            case "mtp":
                self._registration.change(mtp=fields["active"])
            case "restarting" if self._registration.entry.mtp is not None:
                self._registration.change(restarts=self._registration.entry.restarts + 1)
            case "stopped":
                self._registration.change(server=None)
        self._view.event(event)

    def finding(self, finding: Finding) -> None:
        self._view.finding(finding)

    def loading(self, elapsed_s: float, loaded_bytes: int | None, total_bytes: int) -> None:
        self._view.loading(elapsed_s, loaded_bytes, total_bytes)

    def sample(self, sample: Sample, uptime_s: float) -> None:
        self._registration.keep()
        if (error := self._registration.take_error()) is not None:
            self._view.finding(_lost(error))
        self._view.sample(sample, uptime_s)

    def state(self, state: State) -> None:
        if state not in (State.STOPPED, State.FAILED):  # the end is written with its exit code
            self._registration.change(state=state, draining=0)
        self._view.state(state)

    def draining(self, requests: int, at_most_s: float) -> None:
        self._registration.change(state=State.STOPPING, draining=requests)
        self._view.draining(requests, at_most_s)


def _lost(error: OSError) -> Finding:
    where = registry.folder()
    return Finding(
        "registry",
        "warning",
        f"{where} cannot be written: {error.strerror}; ps and stop may not know this server",
        fix=f"{registry.see_to(error)}; the server goes on",
    )
