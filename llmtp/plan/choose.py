"""Choose placement, context and n-max for a pair on a machine, or say what it would take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from llmtp.errors import Finding
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Machine
from llmtp.machine.workers import Worker
from llmtp.plan.advice import card_in_use, does_not_fit, emptied, short_of
from llmtp.plan.build import build_plan
from llmtp.plan.fit import first_settings, fit, tightest_settings
from llmtp.plan.nmax import choose_n_max
from llmtp.plan.option import Option, given_up_by, missed
from llmtp.plan.place import LEAST_LAYERS, Place, whole_places, widest
from llmtp.plan.result import Plan
from llmtp.plan.search import largest
from llmtp.plan.settings import Settings
from llmtp.plan.wishes import Wishes, check_wishes


def make_plan(ref: Reference, machine: Machine, wishes: Wishes, *, partly: bool = True) -> Plan:
    """The fastest safe plan; without `partly` only one that leaves nothing of a GPU's to the CPU.

    Raises DoesNotFitError with the shortfall and the ways out.
    """
    check_wishes(wishes, ref.main.shape, has_draft=ref.draft is not None)
    option = next(_options(ref, machine, wishes, partly=partly), None)
    if option is None:
        places = whole_places(machine, wishes.margin, ref.main.shape)
        raise does_not_fit(ref, widest(places), wishes)
    plan = build_plan(ref, option, wishes)
    findings = [one.finding(short_of(option.place)) for one in plan.given_up]
    pinned = ref.profile is not None and ref.profile.n_max == 0
    choice = option.choice
    insist = choice.tuned.insisted_n_max if choice.tuned else 1
    if ref.draft is not None and choice.n_max == 0 and wishes.n_max is None and not pinned:
        findings.append(
            Finding("mtp-no-gain", "info", choice.why, fix=f"insist with --n-max {insist}")
        )
    unused = [worker for worker in wishes.workers if worker not in plan.workers]
    findings += [_unused(worker, ref, option.place) for worker in unused]
    # Only of the plan that is made in the end: it is another whole choice.
    if partly and plan.given_up and (empty := emptied(machine)) != machine:
        better = next(_options(ref, empty, wishes, partly=True), None)
        if better is not None and missed(ref, wishes, better) < missed(ref, wishes, option):
            findings.append(card_in_use(ref, machine, better))
    return replace(plan, findings=tuple(findings))


def _unused(worker: Worker, ref: Reference, place: Place) -> Finding:
    why = "it has no room for what a device needs beside its layers"
    if place.is_whole:
        why = "fewer devices are faster"
    elif ref.main.shape.shared_kv_layers:
        why = "layers of this model share a cache, and it is not split"
    return Finding(
        "worker-unused",
        "info",
        f"the worker {worker.endpoint} is not used: {why}",
        fix="leave it out of --rpc",
    )


def _options(ref: Reference, machine: Machine, wishes: Wishes, *, partly: bool) -> Iterator[Option]:
    """What fits, in the order of giving up."""
    places = whole_places(machine, wishes.margin, ref.main.shape)
    for drafts in (True, False):
        found = []
        for place in places:
            choice = choose_n_max(wishes, ref, place)
            kept = wishes.draft_is_wanted or wishes.strict
            if not drafts and (kept or choice.n_max == 0):
                continue
            settings = fit(ref, place, wishes, choice.n_max if drafts else 0)
            if settings is not None:
                found.append(Option(place, settings, choice))
                if wishes.ctx != "max" and not given_up_by(ref, wishes, found[-1]):
                    break
        if found:  # of equal ones the one with the fewest cards
            yield min(found, key=lambda one: missed(ref, wishes, one))
    if wishes.strict or not partly or not places[0].devices:
        return
    yield from _partly(ref, widest(places), wishes)
    if places[-1] is not widest(places):
        yield from _partly(ref, places[-1], wishes)
    yield from _in_ram(ref, machine, wishes)


def _partly(ref: Reference, whole: Place, wishes: Wishes) -> Iterator[Option]:
    """With as much on the GPUs as fits; what drafting gains depends on how much that is."""
    wanted = choose_n_max(wishes, ref, whole).n_max
    for n_max in dict.fromkeys((wanted, wanted if wishes.draft_is_wanted else 0)):
        place = _most_on_gpu(ref, whole, wishes, n_max)
        if place is None:
            continue
        choice = choose_n_max(wishes, ref, place)
        if n_max and not choice.n_max:  # layers can use the room of a drafter that is no gain
            continue
        settings = fit(ref, place, wishes, min(choice.n_max, n_max))
        if settings is not None:
            wanted_here = settings.n_max or choice.n_max
            yield Option(place, settings, replace(choice, n_max=wanted_here))


def _in_ram(ref: Reference, machine: Machine, wishes: Wishes) -> Iterator[Option]:
    place = Place(machine, (), wishes.margin)
    choice = choose_n_max(wishes, ref, place)
    for n_max in dict.fromkeys((choice.n_max, choice.n_max if wishes.draft_is_wanted else 0)):
        settings = fit(ref, place, wishes, n_max)
        if settings is not None:
            yield Option(place, settings, choice)


def _most_on_gpu(ref: Reference, whole: Place, wishes: Wishes, n_max: int) -> Place | None:
    """Experts go first, as few layers of them as will do, then whole layers.

    Experts are cheap to leave, because few of them are read for a token: with them all else that
    could be given up is kept, if only there are enough.
    """
    text, n_layers = ref.main.shape, ref.main.shape.n_layers

    def search(
        place_with: Callable[[int], Place], least: int, most: int, settings: Settings
    ) -> Place | None:
        def missing(on_gpu: int) -> int:
            return place_with(on_gpu).device_shortfall(ref, settings)

        found = largest(least, most, missing)
        for on_gpu in range(least - 1 if found is None else found, least - 1, -1):
            place = place_with(on_gpu)
            settled = fit(ref, place, wishes, n_max)
            if settled is None:  # RAM is short, and the more so the less is on the GPU
                return None
            if not place.aborts(ref, settled):
                return place
        return None

    tightest = tightest_settings(wishes, text, n_max)
    if text.n_experts:
        for settings in (first_settings(wishes, text, n_max), tightest):
            place = search(
                lambda n: replace(whole, cpu_experts=n_layers - n), 0, n_layers - 1, settings
            )
            if place is not None:
                return place
    return search(lambda n: replace(whole, gpu_layers=n), LEAST_LAYERS, n_layers, tightest)
