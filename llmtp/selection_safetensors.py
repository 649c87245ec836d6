"""Which of the safetensors of a model: the best that fits, from this disk or from the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from llmtp.errors import DoesNotFitError, Finding, LlmtpError, NotFoundError
from llmtp.hub.published import OUT_OF_REACH
from llmtp.hub.reference import Asked, Reference
from llmtp.hub.safetensors import Pair, SafetensorsCatalogue
from llmtp.machine.devices import Machine
from llmtp.plan.vllm import make_vllm_plan
from llmtp.plan.wishes import Wishes
from llmtp.selection import Selection
from llmtp.verdict import Checked, judge


def select_safetensors(
    asked: Asked,
    wishes: Wishes,
    look: Callable[[], Machine],
    *,
    fresh: bool = False,
    on_paper: bool = False,
) -> Selection:
    """What is whole on this disk goes before what must be downloaded, unless `fresh` wants to know
    what the Hub has now; `on_paper` what was published will do where nothing can be read.

    Raises what the catalogue raises, and DoesNotFitError of the smallest where none fits.
    """
    here = SafetensorsCatalogue(asked, offline=True)
    if not fresh or asked.offline:
        try:
            found = _first_that_fits(here, wishes, look)
            if found.reference.is_local or asked.offline:
                return found
        except NotFoundError as error:
            if asked.offline:
                return _published(here, wishes, look, error, on_paper=on_paper)
    hub = SafetensorsCatalogue(asked, offline=False)
    try:
        return _first_that_fits(hub, wishes, look)
    except LlmtpError as error:
        return _published(hub, wishes, look, error, on_paper=on_paper)


def _first_that_fits(
    catalogue: SafetensorsCatalogue, wishes: Wishes, look: Callable[[], Machine]
) -> Selection:
    pairs = catalogue.pairs()
    known = ((pair, catalogue.reference(pair)) for pair in pairs)
    return _fitting(catalogue, known, wishes, look, n_pairs=len(pairs))


def _fitting(
    catalogue: SafetensorsCatalogue,
    pairs: Iterable[tuple[Pair, Reference]],
    wishes: Wishes,
    look: Callable[[], Machine],
    *,
    n_pairs: int,
) -> Selection:
    """The first that fits; the only one, or one that does not belong together, is for whoever
    plans to judge."""
    too_large: DoesNotFitError | None = None
    passed = []
    for pair, reference in pairs:
        if n_pairs == 1 or not judge(reference).compatible:
            return Selection(catalogue, reference)
        try:
            make_vllm_plan(reference, look(), wishes)
        except DoesNotFitError as error:
            too_large = error
            passed.append(f"{pair.label} does not fit")
            continue
        why = f"{pair.label}: {passed[-1]}" if passed else None
        return Selection(catalogue, reference, why=why)
    if too_large is None:
        raise NotFoundError(f"there is nothing of {catalogue.asked.model}")
    raise too_large


def _published(
    catalogue: SafetensorsCatalogue,
    wishes: Wishes,
    look: Callable[[], Machine],
    error: LlmtpError,
    *,
    on_paper: bool,
) -> Selection:
    if not on_paper or error.findings[0].rule not in OUT_OF_REACH:
        raise error
    pairs = catalogue.pairs()
    known = [(pair, found) for pair in pairs if (found := catalogue.published(pair)) is not None]
    if not known:
        raise error
    chosen = _fitting(catalogue, known, wishes, look, n_pairs=len(known))
    finding = Finding(
        "published-shape",
        "warning",
        f"no config.json was read: {error}",
        expected="that of each model",
        observed="the published shape, and sizes of files that are estimates",
        fix="type it again where the Hub can be reached",
    )
    return replace(chosen, reference=replace(chosen.reference, findings=(finding,)))


def check_safetensors(asked: Asked) -> Checked:
    """The verdict on the pair that stands first, on this disk or else at the Hub."""

    def verdict(*, offline: bool) -> Checked:
        catalogue = SafetensorsCatalogue(asked, offline=offline)
        return judge(catalogue.reference(catalogue.pairs()[0]))

    try:
        return verdict(offline=True)
    except NotFoundError:
        if asked.offline:
            raise
    return verdict(offline=False)
