"""Which of the results of `tune` holds for a plan. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from llmtp.gguf.model import ModelFacts
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Device, Host
from llmtp.machine.tuned import Setting, Tuned
from llmtp.plan.fit import first_settings
from llmtp.plan.place import Place
from llmtp.plan.result import Plan, Shards
from llmtp.plan.wishes import Wishes

#: Contexts up to twice as large are alike: a step costs little more.
LEAST_BAND = 8 * 1024


def tuned_for(wishes: Wishes, ref: Reference, place: Place) -> Tuned | None:
    """What was found there for these files and wishes."""
    known = place.machine.tuned
    if not known or ref.draft is None or wishes.parallel > 1:  # tune has asked one at a time
        return None
    setting = setting_at(
        wishes, ref.main, ref.draft, place.devices, place.machine.host, is_whole=place.is_whole
    )
    return next((one for one in reversed(known) if one.setting == setting), None)


def setting_of(plan: Plan, draft: ModelFacts, wishes: Wishes) -> Setting:
    """Where what is measured with a plan holds: by what was wished, not by what a plan had to give
    up for it, so that `tuned_for` finds the same before it knows that."""
    return setting_at(
        wishes,
        plan.main,
        draft,
        plan.gpus,
        plan.host,
        is_whole=bool(plan.gpus) and not plan.on_cpu,
        shards=plan.shards,
    )


def setting_at(
    wishes: Wishes,
    main: ModelFacts,
    draft: ModelFacts,
    devices: Sequence[Device],
    host: Host,
    *,
    is_whole: bool,
    shards: Shards | None = None,
) -> Setting:
    """By devices, files, KV type and context; who shards is another engine."""
    places = [f"{device.backend}: {device.name}" for device in devices]
    if not is_whole:
        places.append(f"cpu: {host.cpu or 'unknown'}")
    if shards is not None:
        places.insert(0, f"vLLM x{shards.tensor_parallel}")
    settings = first_settings(wishes, main.shape, 1)
    band = LEAST_BAND
    while band < settings.ctx_size:
        band *= 2
    return Setting(" + ".join(places), _file(main), _file(draft), settings.kv_type, band)


def _file(facts: ModelFacts) -> str:
    parts = (facts.name, facts.quant, f"{facts.file_bytes} bytes")
    return ", ".join(filter(None, parts))[:200]
