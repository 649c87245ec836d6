"""Looks at everything at once: what has to be waited for in threads, the rest meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from llmtp import signals
from llmtp.aside import begin
from llmtp.config import leave_out_what_is_wrong, load_config
from llmtp.doctor.cards import Seen, Vulkan, card_checks, unused_cards
from llmtp.doctor.check import Check, worst
from llmtp.doctor.computer import Computer, computer_checks, read_power
from llmtp.doctor.engines import Looked, edit_config, engine_checks, look, vllm_checks
from llmtp.doctor.exposure import Exposed, security_checks
from llmtp.doctor.fitting import Fit, best, fit_all
from llmtp.doctor.hub import hub_checks
from llmtp.doctor.lent import look_at_workers
from llmtp.doctor.shell import shell_checks
from llmtp.doctor.storage import read_storage, storage_checks
from llmtp.engine.command import quote
from llmtp.engine.llama.find import Candidate, candidates, disturbing_variables
from llmtp.errors import ExitCode, Finding, LlmtpError, UsageError
from llmtp.fingerprint import fingerprint
from llmtp.hub.answers import Reach
from llmtp.hub.models import check_endpoint
from llmtp.hubname import HubName
from llmtp.machine.detect import detect, nvidia_cards, nvidia_driver
from llmtp.machine.devices import Device, Machine
from llmtp.machine.host import cpu_flags, in_container
from llmtp.machine.pci import graphics_cards, may_render
from llmtp.machine.tuned import now, recall
from llmtp.machine.vulkan import is_registered, missing_libraries, registration_elsewhere
from llmtp.machine.workers import Worker
from llmtp.metrics.use import lent_by_worker
from llmtp.packages import read_system
from llmtp.profiles import Profile, load_profile, profile_names
from llmtp.server.standing import Known, Standing, survey
from llmtp.text import clean

_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was looked at. Models of `room_bytes` may still be downloaded, but for those
    of the profiles `closed`."""

    checks: tuple[Check, ...]
    machine: Machine
    engines: tuple[Looked, ...]
    profiles: tuple[Fit, ...]
    room_bytes: int
    closed: frozenset[str]

    @property
    def best(self) -> Fit | None:
        """The profile to run first; None where none can."""
        if self.exit_code is not ExitCode.OK:
            return None
        return best(self.profiles, self.room_bytes, self.closed)

    @property
    def exit_code(self) -> ExitCode:
        """9 where nothing can run."""
        usable = any(one.build is not None for one in self.engines)
        return ExitCode.OK if usable else ExitCode.NO_ENGINE

    def findings(self) -> list[Finding]:
        """What kept everything from running, for scripts that read findings."""
        if self.exit_code is ExitCode.OK:
            return []
        return [check.finding() for check in self.checks if check.status == "fail"]

    def to_dict(self) -> dict[str, Any]:
        """The `data` of `doctor --json`."""
        first = self.best
        host = self.machine.host
        return {
            "status": worst(self.checks),
            "checks": [check.to_dict() for check in self.checks],
            "devices": [device.to_dict() for device in self.machine.devices],
            "host": {
                "cpu": host.cpu,
                "total_bytes": host.total_bytes,
                "available_bytes": host.available_bytes,
            },
            "engines": [engine.to_dict() for engine in self.engines],
            "profiles": [fit.to_dict() for fit in self.profiles],
            "best": None if first is None else first.name,
        }


def examine(
    environ: Mapping[str, str], say: Callable[[str], None], workers: Sequence[Worker] = ()
) -> Report:
    """This machine now, with what workers lend; `say` is told why it takes long where it does."""
    system = read_system(environ)
    profiles, broken = _profiles()
    named, broken_config = _named()
    hub, storage = begin(partial(_reach, profiles)), begin(read_storage)
    looking: list[Future[Looked]] = []
    try:
        with signals.hold():
            looking += [begin(partial(look, one, system)) for one in named]
        servers = survey()[0]
        engines = tuple(
            _answer(future, one, say) for future, one in zip(looking, named, strict=True)
        )
    finally:
        wait(looking)  # a program that was asked must not outlive us
    used = next((one for one in engines if one.build is not None), None)
    own = _machine(used)
    lent_checks, lent = look_at_workers(used.engine if used else None, workers, _users(servers))
    machine = replace(own, devices=(*own.devices, *lent))
    names = [profile.name for profile in profiles]
    fits = fit_all(names, _imagined(machine) if used is None else machine)
    driver, container = nvidia_driver(), in_container()
    seen = Seen(
        own.devices, tuple(graphics_cards()), driver, used,
        _vulkan(own.devices, environ), environ, _pids(servers),
        ours=_ours(own.devices),
        nvidia=tuple(card.name for card in nvidia_cards()),
        renders=may_render(), in_container=container,
    )  # fmt: skip
    stored, reached = storage.result(), hub.result()
    wanted = [fit.download_bytes for fit in fits if fit.fits and not fit.on_disk]
    checks = [
        *computer_checks(_computer(machine, container), system),
        *card_checks(seen, system),
        *lent_checks,
        *engine_checks(engines, system),
        *vllm_checks(),
        *broken_config,
        *broken,
        *storage_checks(stored, min(wanted, default=None), system),
        *hub_checks(reached, environ),
        *shell_checks(environ, disturbing_variables()),
        *security_checks([_exposed(one) for one in servers if _is_there(one)], used, system),
    ]
    room = stored.free_bytes if reached.is_there else 0
    closed = {
        p.name for p in profiles if p.sources and p.sources[0].repository.repo_id in reached.gated
    }
    return Report(_unique(checks), machine, engines, tuple(fits), room, frozenset(closed))


def _unique(checks: Iterable[Check]) -> tuple[Check, ...]:
    """The second of an id gets a number."""
    counts, found = Counter[str](), []
    for check in checks:
        counts[check.id] += 1
        count = counts[check.id]
        found.append(check if count == 1 else replace(check, id=f"{check.id}-{count}"))
    return tuple(found)


def _answer(future: Future[Looked], named: Candidate, say: Callable[[str], None]) -> Looked:
    try:
        return future.result(_PATIENCE_S)
    except TimeoutError:
        say(f"waiting for {clean(str(named.path), 300)} to answer")
        return future.result()


def _named() -> tuple[list[Candidate], list[Check]]:
    """Every llama-server that is named; a config that is wrong is a check of its own."""
    broken = [
        Check("engine", "config", "fail", str(error), edit_config())
        if (found := error.findings[0]).rule == "yaml"
        else Check("shell", found.rule, "fail", f"{error}: expected {found.expected}", found.fix)
        for error in leave_out_what_is_wrong()
    ]
    return list(candidates(None, load_config())), broken


def _profiles() -> tuple[list[Profile], list[Check]]:
    """All that can be used; one that is wrong is a check."""
    found, broken = [], []
    for name in profile_names():
        try:
            found.append(load_profile(name))
        except LlmtpError as error:
            fix = f"llmtp profiles validate -- {quote(name)}"
            words = f"the profile {clean(name, 40)}: {error}"
            broken.append(Check("models", "profile", "warn", words, fix))
    return found, broken


def _reach(profiles: list[Profile]) -> Reach:
    """The Hub, by the first repository of each."""
    try:
        check_endpoint()
    except UsageError as error:
        return Reach("HF_ENDPOINT", error=error)
    from llmtp.hub.reach import reach

    first = {one.sources[0].repository.repo_id: one.sources[0] for one in profiles if one.sources}
    names = (source.repository for source in first.values())
    return reach([HubName(name.owner, name.repo) for name in names])


def _machine(used: Looked | None) -> Machine:
    if used is None or used.engine is None:
        return detect("")
    path = used.path
    tuned = now(recall(), lambda: fingerprint(path), nvidia_driver)
    mixes = used.engine.build.mixes_batches
    return replace(detect(used.listed), mixed_batches=mixes, tuned=tuned)


def _imagined(machine: Machine) -> Machine:
    """As it will be with an engine that uses the cards."""
    cards = (
        replace(card, id=f"CUDA{number}", backend="cuda")
        for number, card in enumerate(machine.devices)
    )
    return replace(machine, devices=tuple(cards))


def _vulkan(devices: tuple[Device, ...], environ: Mapping[str, str]) -> Vulkan:
    if not unused_cards(devices):
        return Vulkan()
    registered = is_registered(environ)
    elsewhere = None if registered else registration_elsewhere()
    return Vulkan(tuple(missing_libraries()), registered, str(elsewhere) if elsewhere else None)


def _computer(machine: Machine, in_container: bool) -> Computer:
    import psutil

    swap = psutil.swap_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = swap.used, swap.total
    return Computer(machine.host, cores or 1, cpu_flags(), used, read_power(), in_container)


def _ours(devices: Iterable[Device]) -> frozenset[int]:
    """Of those that hold memory of a card, the programs that this user may end: the driver may
    mean other processes by its numbers."""
    import psutil

    found = set()
    users = [user for device in devices for user in device.users]
    for user in users:
        if user.pid is None or not psutil.pid_exists(user.pid):
            continue
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(user.pid)
            is_same = user.name in (process.name(), Path(process.exe()).name)
            if is_same and process.uids().effective == os.geteuid():
                found.add(process.pid)
    return frozenset(found)


def _is_there(known: Known) -> bool:
    return known.standing is not Standing.OVER


def _users(servers: Iterable[Known]) -> dict[str, str]:
    """Of workers, by endpoint."""
    return {
        endpoint: known.entry.id
        for known in servers
        if _is_there(known)
        for endpoint in lent_by_worker(known.entry.plan)
    }


def _exposed(known: Known) -> Exposed:
    argv = known.entry.plan.get("argv")
    words = [str(word) for word in argv] if isinstance(argv, list) else []
    host = words[words.index("--host") + 1] if "--host" in words[:-1] else "127.0.0.1"
    return Exposed(known.entry.id, host, known.entry.api_key_file is not None)


def _pids(servers: list[Known]) -> dict[int, str]:
    found = ((one.processes[0] if one.processes else one.entry.server, one) for one in servers)
    return {process.pid: one.entry.id for process, one in found if process and _is_there(one)}
