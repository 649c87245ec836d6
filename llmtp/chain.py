"""The chain that `run`, `plan` and `pull` share: files, verdict, machine, engine, plan, command."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmtp import config
from llmtp.engine.command import Command, Serving, quote
from llmtp.engine.program import Program
from llmtp.engines import kind_for
from llmtp.engines.kind import EngineKind
from llmtp.errors import DoesNotFitError, Finding, PairRejectedError, UsageError
from llmtp.fingerprint import fingerprint, fingerprints
from llmtp.hub import cache, uses
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.reference import Asked, Reference
from llmtp.machine.detect import detect, nvidia_driver
from llmtp.machine.devices import Device, Machine, remembered_devices
from llmtp.machine.tuned import Remembered, Tuned, now, recall
from llmtp.machine.workers import Worker
from llmtp.plan.ladder import OF_FILES, in_order
from llmtp.plan.result import Plan
from llmtp.plan.wishes import Wishes
from llmtp.profiles import Sampling
from llmtp.selection import Selection
from llmtp.tried import Alternative
from llmtp.units import format_bytes
from llmtp.verdict import Checked, judge

if TYPE_CHECKING:
    from llmtp.hub.fetch import Progress
    from llmtp.server.entry import Entry


_BUSY = "worker-busy"


@dataclass(frozen=True, slots=True)
class _Request:
    """What a plan was made from, so that another one can be made when it fails."""

    wishes: Wishes
    serving: Serving
    extra: Sequence[str]
    look: _Look


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that is known before a process starts.

    `download_bytes` is what `run` would fetch first; files that are not here yet stand in the
    plan under the paths that they will have.
    """

    reference: Reference
    kind: EngineKind
    engine: Program
    plan: Plan
    command: Command
    findings: tuple[Finding, ...]
    request: _Request
    alternatives: tuple[Alternative, ...] = ()
    download_bytes: int = 0

    def check_workers(self) -> None:
        """Raises UsageError for one of the plan that another server of ours uses."""
        for worker, entry in _users(self.plan.workers).items():
            raise UsageError(
                f"the worker {worker.endpoint} serves {entry.id}, and one machine at a time",
                rule=_BUSY,
                expected="a worker that is free",
                fix=f"end that server: llmtp stop {entry.id}",
            )

    def to_dict(self) -> dict[str, Any]:
        """The `data` of `plan --json`."""
        return self.plan.to_dict() | {
            "argv": list(self.command.argv),
            "env": dict(self.command.env),
            "engine": self.kind.name,
            "sources": self.kind.sources(self.plan),
            "is_published": self.plan.main.is_published,
            "download_bytes": self.download_bytes,
            "alternatives": [alternative.to_dict() for alternative in self.alternatives],
        }


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told while it goes on."""

    checked: Callable[[Checked], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None
    progress: Callable[[Progress], None] | None = None


class _Look:
    """The engine and the machine, asked once, when somebody needs to know."""

    def __init__(
        self,
        kind: EngineKind,
        engine: str | None,
        cards: Sequence[Device] | None,
        workers: Sequence[Worker] = (),
        *,
        on_paper: bool = False,
    ) -> None:
        self.kind = kind
        self._on_paper = on_paper
        self._asked, self._cards, self._workers = engine, cards, workers
        self._engine: Program | None = None
        #: Workers that others used when the machine was looked at.
        self.busy: tuple[Finding, ...] = ()

    def engine(self) -> Program:
        self._engine = self._engine or self.kind.find(self._asked, on_paper=self._on_paper)
        return self._engine

    @functools.cached_property
    def tuned(self) -> tuple[Tuned, ...]:
        """What `tune` has found here, and what has changed since."""
        return now(self.remembered, lambda: fingerprint(self.engine().path), nvidia_driver)

    @functools.cached_property
    def remembered(self) -> Remembered:
        """The file that this is from."""
        return recall()

    def machine(self) -> Machine:
        """As it is now, or with the imagined cards instead of its own."""
        engine = self.engine()
        if self._cards is None:
            users = _users(self._workers)
            self.busy = tuple(_busy(*one) for one in users.items())
            found = self.kind.machine(engine, [one for one in self._workers if one not in users])
            lent = (remembered_devices(entry.plan, one) for one, entry in users.items())
            found = replace(found, devices=(*found.devices, *chain.from_iterable(lent)))
            return replace(found, mixed_batches=engine.mixes_batches, tuned=self.tuned)
        # Who plans for CUDA will have another engine than the wheel, which has none: a new one.
        mixes = engine.mixes_batches or all(card.backend == "cuda" for card in self._cards)
        return Machine(detect("").host, tuple(self._cards), mixes)


def _users(workers: Sequence[Worker]) -> dict[Worker, Entry]:
    """Of those of them that serve another server of ours: they would not even answer. Of two that
    start at once, the older one."""
    if not workers:
        return {}
    from llmtp.metrics.use import lent_by_worker
    from llmtp.server.standing import live

    entries = sorted((known.entry for known in live()), key=lambda one: (one.started_at, one.id))
    ours = [one.llmtp.pid == os.getpid() for one in entries]
    before = entries[: ours.index(True)] if any(ours) else entries
    return {
        worker: entry
        for worker in workers
        for entry in before
        if worker.endpoint in lent_by_worker(entry.plan)
    }


def _busy(worker: Worker, entry: Entry) -> Finding:
    return Finding(
        _BUSY,
        "warning",
        f"the worker {worker.endpoint} serves {entry.id}, and nobody else meanwhile: its memory is "
        "taken as that server had it",
        fix=f"end that server: llmtp stop {entry.id}",
    )


def prepare(
    asked: Asked,
    wishes: Wishes,
    serving: Serving,
    engine: str | None = None,
    extra: Sequence[str] = (),
    cards: Sequence[Device] | None = None,
    *,
    survey: bool = False,
    watch: Watch = Watch(),
) -> Prepared:
    """Find the files, check, look at the machine, plan, and make the command.

    `cards` are imagined devices to plan for instead of the real ones; `survey` asks for what else
    there is. With `watch.progress` what is missing is downloaded first, and that is told; without
    it nothing is. Raises the error of the first link that fails.
    """
    kind = kind_for(engine, asked.model)
    if wishes.workers and not kind.takes_workers:
        raise UsageError(
            f"{kind.product} takes no workers of llama.cpp",
            rule="rpc",
            expected="--rpc with llama-server, or --nodes with vLLM",
            fix="leave out --rpc, or use --engine llama-server",
        )
    on_paper = watch.progress is None
    look = _Look(kind, engine, cards, wishes.workers, on_paper=on_paper)
    chosen = kind.choose(
        asked, wishes, look.machine, imagined=cards is not None, survey=survey, on_paper=on_paper
    )
    checked = _judged(chosen.reference)
    download_bytes = 0
    if chosen.reference.main.is_published:
        download_bytes = sum(facts.file_bytes for facts in chosen.reference.models)
    elif not chosen.reference.is_local:
        if watch.progress is None:
            wanted = chosen.catalogue.files(chosen.reference)
            download_bytes = sum(cache.missing_bytes(*entry) for entry in wanted)
            placed = chosen.catalogue.as_if_on_disk(chosen.reference)
            checked = replace(checked, reference=placed)
        else:
            _fetch(asked.model, chosen, watch)
            checked = _judged(chosen.catalogue.on_disk(chosen.reference))
    watch.checked(checked)
    reference, found = checked.reference, look.engine()
    machine = look.machine()
    plan = kind.plan(reference, machine, wishes)
    plan = replace(plan, given_up=in_order((*plan.given_up, *chosen.given_up)))
    if chosen.why:
        plan = replace(plan, why=(chosen.why, *plan.why))
    command = kind.command(plan, found, _with_sampling(serving, reference), extra)
    if watch.progress is not None:
        uses.record(asked.model, reference.models)
    findings = (
        *checked.findings, *chosen.findings, *found.skipped, *plan.findings, *command.findings,
        *(look.busy if on_paper else ()),
        *_of_tuning(asked, wishes, reference, plan, look, imagined=cards is not None),
    )  # fmt: skip
    request = _Request(wishes, serving, extra, look)
    alternatives = chosen.alternatives
    if survey and not alternatives:
        alternatives = kind.beside(reference, plan, machine, wishes)
    return Prepared(
        reference, kind, found, plan, command, findings, request, alternatives, download_bytes
    )


def _of_tuning(
    asked: Asked, wishes: Wishes, reference: Reference, plan: Plan, look: _Look, *, imagined: bool
) -> Iterator[Finding]:
    """What is wrong with what `tune` has left, and what has changed since."""
    if not imagined and (damage := look.remembered.finding) is not None:
        yield damage
    tuned = plan.tuned
    if tuned is None or reference.draft is None:
        return
    changed = tuned.old
    if fingerprints([reference.main.path, reference.draft.path]) != tuned.files:
        changed = "other files of that name and size"
    if changed is None:
        return
    words = ["llmtp", "tune", asked.model]
    if asked.draft != "auto":
        words += ["--draft", asked.draft]
    if asked.quant is not None:
        words += ["--quant", asked.quant]
    if wishes.kv_type is not None:
        words += ["--kv-type", wishes.kv_type]
    if wishes.ctx != "auto":
        words += ["--ctx", str(wishes.ctx)]
    yield Finding(
        "tuned-old",
        "warning",
        f"n-max {plan.n_max or 'off'} was tuned with {changed}",
        expected="a result of these files, this build and driver",
        fix=f"measure again: {' '.join(map(quote, words))}",
    )


def temp_of(prepared: Prepared) -> float | None:
    """The sampling temperature that the server is told, None where it takes its own."""
    return _with_sampling(prepared.request.serving, prepared.reference).temp


def at_port(prepared: Prepared, port: int) -> Prepared:
    """The same, listening elsewhere."""
    return _serving_as(prepared, replace(prepared.request.serving, port=port))


def with_key(prepared: Prepared, file: Path) -> Prepared:
    """The same, for clients that have a key of that file."""
    return _serving_as(prepared, replace(prepared.request.serving, api_key_file=file))


def _serving_as(prepared: Prepared, serving: Serving) -> Prepared:
    request = replace(prepared.request, serving=serving)
    serving = _with_sampling(request.serving, prepared.reference)
    command = prepared.kind.command(prepared.plan, prepared.engine, serving, request.extra)
    return replace(prepared, command=command, request=request)


def with_n_max(
    prepared: Prepared, n_max: int, p_min: float = 0.0, draft_sampling: str | None = None
) -> Prepared:
    """The same settings with another n-max, no larger than the one that was planned for; 0 leaves
    the drafter away."""
    plan, off = prepared.plan, n_max == 0
    plan = replace(plan, n_max=n_max, p_min=p_min, draft_sampling=draft_sampling, tuned=None)
    if off:
        usages = tuple(replace(one, parts=replace(one.parts, draft=0)) for one in plan.devices)
        host_parts = replace(plan.host_parts, draft=0)
        plan = replace(plan, draft=None, devices=usages, host_parts=host_parts)
    return _serving_as(replace(prepared, plan=plan), prepared.request.serving)


def n_max_of_its_own(prepared: Prepared) -> int:
    """The n-max that a plan takes for these files on this machine when nobody asks for one."""
    wishes = replace(prepared.request.wishes, n_max=None, draft_is_wanted=False)
    return prepared.kind.plan(prepared.reference, _machine_before(prepared), wishes).n_max


def has_smaller(prepared: Prepared) -> bool:
    """Is there another plan for the machine as it was, which takes less on the GPU?"""
    plan, wishes = prepared.plan, prepared.request.wishes
    before = _machine_before(prepared)
    try:
        prepared.kind.smaller(prepared.reference, before, wishes, plan, "device memory")
    except DoesNotFitError:
        return False
    return True


def prepare_smaller(failed: Prepared, out_of: str) -> Prepared:
    """The next plan for the same files after one that ran out of memory, and of which.

    The machine is looked at anew; where it still has room enough, the plan was wrong by something,
    and the next one takes less than that. Raises DoesNotFitError where nothing is left to give up.
    """
    request, plan = failed.request, failed.plan
    machine = request.look.machine()
    smaller = failed.kind.smaller(failed.reference, machine, request.wishes, plan, out_of)
    files = (one for one in plan.given_up if one.step in OF_FILES)
    smaller = replace(smaller, given_up=in_order((*smaller.given_up, *files)))
    serving = _with_sampling(request.serving, failed.reference)
    command = failed.kind.command(smaller, failed.engine, serving, request.extra)
    return replace(
        failed, plan=smaller, command=command, findings=(*smaller.findings, *command.findings)
    )


def _machine_before(prepared: Prepared) -> Machine:
    """As it was when the plan was made."""
    plan, tuned = prepared.plan, prepared.request.look.tuned
    devices = tuple(usage.device for usage in plan.devices)
    return Machine(plan.host, devices, plan.mixed_batches, tuned)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A pair that is whole on this disk."""

    checked: Checked
    files: tuple[tuple[Repository, HubFile], ...]
    fetched_bytes: int
    why: str | None
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `data` of `pull --json`."""
        files = [
            {
                "repository": repository.name.repo_id,
                "commit": repository.commit,
                "file": file.name,
                "file_bytes": file.size,
                "sha256": file.sha256,
                "path": str(cache.snapshot_path(repository, file.name)),
            }
            for repository, file in self.files
        ]
        reference = self.checked.reference
        return {
            "model": reference.name,
            "main": str(reference.main.path),
            "draft": str(reference.draft.path) if reference.draft else None,
            "mmproj": str(reference.mmproj.path) if reference.mmproj else None,
            "quant": reference.main.quant,
            "files": files,
            "fetched_bytes": self.fetched_bytes,
            "why": self.why,
        }


def pull(asked: Asked, engine: str | None, watch: Watch) -> Pulled:
    """Bring a pair onto this disk as the Hub has it now, or prove that it is there.

    What was there is proved by its hash too, and fetched anew where that is wrong.
    """
    kind = kind_for(engine, asked.model)
    look = _Look(kind, engine, None)
    wishes = Wishes(margin=config.margin_bytes())
    chosen = kind.choose(asked, wishes, look.machine, fresh=True)
    _judged(chosen.reference)
    fetched = _fetch(asked.model, chosen, watch, all_files=True)
    checked = _judged(chosen.catalogue.on_disk(chosen.reference))
    uses.record(asked.model, checked.reference.models)
    files = tuple(chosen.catalogue.files(chosen.reference))
    findings = (*checked.findings, *chosen.findings)
    return Pulled(checked, files, fetched, chosen.why, findings)


def _fetch(model: str, chosen: Selection, watch: Watch, *, all_files: bool = False) -> int:
    catalogue, reference = chosen.catalogue, chosen.reference
    models = [facts for facts in reference.models if all_files or not facts.is_local]
    files = [entry for facts in models for entry in catalogue.files_of(facts)]
    if not files or watch.progress is None:
        return 0
    from llmtp.hub.fetch import fetch

    missing = sum(cache.missing_bytes(*entry) for entry in files)
    if missing:
        room = f"{format_bytes(missing)} to download, {format_bytes(cache.free_bytes())} free"
        watch.note(f"{chosen.why or reference.name}: {room}")
        uses.begin(model, [path for entry in files for path in cache.places(*entry)])
    return fetch(files, watch.progress, offline=catalogue.offline)


def _judged(reference: Reference) -> Checked:
    """The verdict on a pair that may go on; raises PairRejectedError for one that may not."""
    checked = judge(reference)
    if not checked.compatible:
        raise PairRejectedError.from_findings(checked.findings)
    return checked


def _with_sampling(serving: Serving, reference: Reference) -> Serving:
    """What the makers of the model recommend, where the user says nothing."""
    sampling = reference.profile.sampling if reference.profile else Sampling()
    temp = sampling.temp if serving.temp is None else serving.temp
    return replace(serving, temp=temp, top_k=sampling.top_k, top_p=sampling.top_p)
