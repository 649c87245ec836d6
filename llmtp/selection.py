"""Which of the quants on offer: each is planned on this machine, the best plan wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from llmtp.errors import (
    BadFileError,
    DoesNotFitError,
    DownloadError,
    Finding,
    LlmtpError,
    NotFoundError,
    PairRejectedError,
)
from llmtp.gguf.model import ModelFacts
from llmtp.hub.files import HubFile, Repository
from llmtp.hub.offers import Offer
from llmtp.hub.published import published_catalogue
from llmtp.hub.reference import Asked, Catalogue, Reference
from llmtp.machine.devices import Machine
from llmtp.plan.choose import make_plan
from llmtp.plan.grade import grade
from llmtp.plan.ladder import GivenUp, Step
from llmtp.plan.wishes import Wishes
from llmtp.text import clean
from llmtp.tried import Alternative, Tried, alternatives, offer_key
from llmtp.units import format_bytes
from llmtp.verdict import judge

_UNPREFERRED = "see who prefers it: llmtp config show"


class Files(Protocol):
    """The part of a catalogue that knows where the files of a pair are, or will be."""

    offline: bool

    def files(self, reference: Reference) -> list[tuple[Repository, HubFile]]: ...

    def files_of(self, facts: ModelFacts) -> list[tuple[Repository, HubFile]]: ...

    def on_disk(self, reference: Reference) -> Reference: ...

    def as_if_on_disk(self, reference: Reference) -> Reference: ...


class Pairs(Protocol):
    """The part of a catalogue that says which files go with an offer."""

    offline: bool

    def pair(self, offer: Offer) -> Reference: ...

    def with_smaller_drafter(self, offer: Offer, reference: Reference) -> Reference | None: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """The pair to go on with, where it is known from, why, what a better file was given up for,
    and what else there is if asked."""

    catalogue: Files
    reference: Reference
    offer: Offer | None = None
    why: str | None = None
    given_up: tuple[GivenUp, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    findings: tuple[Finding, ...] = ()


def select(
    asked: Asked,
    wishes: Wishes,
    look: Callable[[], Machine],
    *,
    fresh: bool = False,
    imagined: bool = False,
    survey: bool = False,
) -> Selection:
    """Choose the files. `look` is called when there is something to choose.

    What is on this disk and fits goes before what must be downloaded, and then the network is not
    touched, unless `fresh` wants to know what the Hub has now or `survey` what else there is. For
    an `imagined` machine it counts for nothing what this one has. Raises what the catalogue
    raises, and DoesNotFitError of the smallest offer where none fits.
    """

    def choose(one: Asked) -> Selection:
        return _select(one, wishes, look, fresh=fresh, imagined=imagined, survey=survey)

    return _preferring(asked, choose, wishes, look, survey=survey)


def _preferring(
    asked: Asked,
    choose: Callable[[Asked], Selection],
    wishes: Wishes,
    look: Callable[[], Machine],
    *,
    survey: bool,
) -> Selection:
    """The quant that is preferred, beside what else there is if asked; where that cannot be, any,
    and why."""
    quant = asked.preferred
    anyhow = replace(asked, preferred=None)
    if quant is None or asked.quant is not None:
        return choose(anyhow)
    if not Catalogue(anyhow, offline=True).leaves_quant:
        return choose(anyhow)
    preferred = None
    try:
        preferred = choose(replace(anyhow, quant=quant))
        plan = make_plan(preferred.reference, look(), wishes)
        if grade(plan, smaller_drafter=False).is_usable:
            found = replace(preferred, why=f"{clean(quant, 40)} is preferred")
            return _beside(found, choose(anyhow)) if survey else found
        why = f"it would need {', '.join(one.words() for one in plan.given_up)}"
    except (BadFileError, DoesNotFitError, DownloadError, NotFoundError) as error:
        why = str(error)
    found = choose(anyhow)
    if preferred is not None and found.reference.main.path == preferred.reference.main.path:
        return found
    text = f"the preferred quant {clean(quant, 40)} is not used: {why}"
    finding = Finding("quant-passed-over", "info", text, fix=_UNPREFERRED)
    return replace(found, findings=(finding,))


def _beside(found: Selection, others: Selection) -> Selection:
    """What was chosen, among all that there is."""
    size = found.reference.main.file_bytes
    shown = (replace(one, chosen=one.file_bytes == size) for one in others.alternatives)
    return replace(found, alternatives=tuple(shown))


def _select(
    asked: Asked,
    wishes: Wishes,
    look: Callable[[], Machine],
    *,
    fresh: bool,
    imagined: bool,
    survey: bool,
) -> Selection:
    here = Catalogue(asked, offline=True)
    found = None
    if asked.offline or not (fresh or (imagined and here.leaves_quant)):
        found = _on_disk(here, wishes, look)
    if asked.offline:
        return found or Selection(here, here.first())
    if found is not None and not (survey and here.leaves_quant):
        return found
    hub = Catalogue(asked, offline=False)
    if not hub.leaves_quant:
        return Selection(hub, hub.first())
    if found is None and not imagined:
        found = _held(here, hub, wishes, look)
    if found is not None and not survey:
        return found
    machine = look()
    tried = list(_try(hub, hub.offers(), wishes, machine, every=survey))
    if found is None:
        best = _best(tried)
        found = _chosen(hub, best, tried)
    if not survey:
        return found
    return replace(found, alternatives=alternatives(tried, found.offer, machine, wishes))


def select_published(
    asked: Asked,
    wishes: Wishes,
    look: Callable[[], Machine],
    error: LlmtpError,
    *,
    survey: bool = True,
) -> Selection:
    """Choose among the quants of a profile by what its makers published: good for a plan only.

    `error` is why no header can be read; it is raised where nothing is published either.
    """

    def choose(one: Asked) -> Selection:
        return _select_published(one, wishes, look, error, survey=survey)

    return _preferring(asked, choose, wishes, look, survey=survey)


def _select_published(
    asked: Asked,
    wishes: Wishes,
    look: Callable[[], Machine],
    error: LlmtpError,
    *,
    survey: bool,
) -> Selection:
    published = published_catalogue(asked, error)
    if published is None:
        raise error
    machine = look()
    tried = list(_try(published, published.offers(), wishes, machine, every=survey))
    best = _best(tried)
    found = _chosen(Catalogue(asked, offline=True), best, tried)
    if not survey:
        return found
    return replace(found, alternatives=alternatives(tried, best.offer, machine, wishes))


def _on_disk(here: Catalogue, wishes: Wishes, look: Callable[[], Machine]) -> Selection | None:
    """A pair that is whole on this disk, and as good as its context; None where there is none."""
    try:
        if not here.leaves_quant:
            return Selection(here, here.first())
        tried = [one for one in _try(here, here.offers(), wishes, look(), every=True) if one.plan]
    except (NotFoundError, BadFileError) as error:
        if here.asked.offline:
            raise error
        return None
    if not tried:
        return None
    best = _best(tried)
    if here.asked.offline or (best.grade is not None and best.grade.is_usable):
        return _disk_selection(here, best)
    return None


def _held(
    here: Catalogue, hub: Catalogue, wishes: Wishes, look: Callable[[], Machine]
) -> Selection | None:
    """A pair whose main model is on this disk, in this version or another one, and fits."""
    try:
        held = {offer_key(offer) for offer in here.offers()}
    except NotFoundError:
        return None
    offers = (offer for offer in hub.offers() if offer_key(offer) in held)
    tried = list(_try(hub, offers, wishes, look(), every=True))
    if not any(one.grade is not None and one.grade.is_usable for one in tried):
        return None
    best = _best(tried)
    return _disk_selection(hub, best)


def _try(
    catalogue: Pairs, offers: Iterable[Offer], wishes: Wishes, machine: Machine, *, every: bool
) -> Iterator[Tried]:
    """Offers in their order, to the first that gives nothing up unless `every` is wanted.

    Who is strict gets the first. Smaller drafters are tried where no offer runs with its best one,
    and layers or experts are left to the CPU where none runs without that: of the smallest offer,
    because quants go first.
    """
    room = machine.host.total_bytes + sum(d.total_bytes or 0 for d in machine.devices)
    full = usable = False
    tried = []
    for offer in offers:
        if full and not every:
            return
        one = _plan(catalogue, offer, wishes, machine, room)
        tried.append(one)
        full = full or (one.grade is not None and one.grade.is_full)
        usable = usable or (one.grade is not None and one.grade.is_usable)
        yield one
        if wishes.strict and one.reference is not None:
            return
    if usable:
        return
    fits = any(one.plan for one in tried)
    for one in tried:
        if one.reference is not None:
            smaller = catalogue.with_smaller_drafter(one.offer, one.reference)
            if smaller is not None:
                another = _planned(one.offer, smaller, wishes, machine, smaller_drafter=True)
                fits = fits or another.plan is not None
                yield another
    too_large = [one for one in tried if isinstance(one.error, DoesNotFitError) and one.reference]
    if not fits and too_large:
        least = min(too_large, key=lambda one: one.offer.file_bytes)
        partly = _planned(least.offer, _reference(least), wishes, machine, partly=True)
        if partly.plan is not None and partly.plan.gpus:
            yield partly
        else:  # RAM has to hold it, and then a GPU does not matter
            for one in too_large:
                yield _planned(one.offer, _reference(one), wishes, machine, partly=True)


def _plan(catalogue: Pairs, offer: Offer, wishes: Wishes, machine: Machine, room: int) -> Tried:
    if offer.file_bytes > room:
        error = DoesNotFitError(
            f"it has {format_bytes(offer.file_bytes)}, and all memory is {format_bytes(room)}",
            fix="use a smaller quant",
        )
        return Tried(offer, None, None, error)
    try:
        reference = catalogue.pair(offer)
    except (NotFoundError, BadFileError) as error:
        if catalogue.offline and isinstance(error, BadFileError):
            raise
        return Tried(offer, None, None, error)
    return _planned(offer, reference, wishes, machine)


def _planned(
    offer: Offer,
    reference: Reference,
    wishes: Wishes,
    machine: Machine,
    *,
    smaller_drafter: bool = False,
    partly: bool = False,
) -> Tried:
    checked = judge(reference)
    if not checked.compatible:
        error = PairRejectedError.from_findings(checked.findings)
        return Tried(offer, reference, None, error, smaller_drafter)
    try:
        plan = make_plan(reference, machine, wishes, partly=partly)
        return Tried(offer, reference, plan, None, smaller_drafter)
    except DoesNotFitError as error:
        return Tried(offer, reference, None, error, smaller_drafter)


def _best(tried: list[Tried]) -> Tried:
    """The least given up, then the order of the offers; where none fits, raises the error of the
    smallest that is too large, or the last one."""
    graded = [(grade, one) for one in tried if (grade := one.grade) is not None]
    if graded:
        return min(graded, key=lambda pair: pair[0])[1]
    too_large = [
        (one.offer.file_bytes, one.error) for one in tried if isinstance(one.error, DoesNotFitError)
    ]
    if too_large:
        raise min(too_large, key=lambda pair: pair[0])[1]
    raise [one.error for one in tried if one.error][-1]


def _chosen(catalogue: Catalogue, best: Tried, tried: list[Tried]) -> Selection:
    """With the steps that are taken by choosing files: a smaller quant, a smaller drafter."""
    given_up, reference = [], _reference(best)
    first = next(one for one in tried if one.reference is not None)
    if first.offer.label != best.offer.label:
        given_up.append(GivenUp(Step.QUANT, first.offer.label, best.offer.label))
    if best.smaller_drafter and reference.draft is not None:
        same = next(one for one in tried if one.offer == best.offer)
        was = same.reference.draft if same.reference else None
        wanted, got = ((one and one.quant) or "larger" for one in (was, reference.draft))
        given_up.append(GivenUp(Step.DRAFTER, wanted, got))
    return Selection(catalogue, reference, best.offer, _why(best, tried), tuple(given_up))


def _reference(best: Tried) -> Reference:
    if best.reference is None:
        raise ValueError(f"{best.offer.label} was planned without its files")
    return best.reference


def _why(best: Tried, tried: list[Tried]) -> str | None:
    """`Q6_K is the best quant that fits; Q8_0 would give up more`; None without a choice."""
    if len({one.offer.label for one in tried}) == 1:
        return None
    better = tried[: tried.index(best)] if best in tried else []
    broken = [one for one in better if one.error and not isinstance(one.error, DoesNotFitError)]
    labels = dict.fromkeys(clean(one.offer.label, 30) for one in better if one not in broken)
    passed = ", ".join(label for label in labels if label != best.offer.label)
    found = best.grade
    merit = "is the best quant that fits"
    if found is not None and found.on_cpu:
        merit = "is the smallest quant, and no GPU holds all of it"
        if best.plan is not None and not best.plan.gpus:
            merit = "is the best quant that fits in RAM"
    elif found is not None and found.short_context:
        merit = "has the most context"
    reasons = [
        f"{best.offer.label} {merit}",
        *([f"{passed} would give up more"] if passed else []),
        *(f"{clean(one.offer.label, 30)} cannot be used: {one.error}" for one in broken),
    ]
    return "; ".join(reasons)


def _disk_selection(catalogue: Catalogue, best: Tried) -> Selection:
    reference = _reference(best)
    what = "it" if reference.main.is_local else "another version of it"
    why = f"{best.offer.label}, because {what} is on this disk"
    return Selection(catalogue, reference, best.offer, why)
