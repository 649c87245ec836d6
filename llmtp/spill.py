"""Did a start spill into RAM? Vulkan does so in silence, and decodes at a fifth of its speed.

Two witnesses: the driver saw less memory go than was planned, or, where it does not tell, the proof
was decoded at under half of the speed that such a start had here before.
"""

from __future__ import annotations

import json

from llmtp import paths
from llmtp.metrics.comparison import Comparison
from llmtp.plan.result import Plan
from llmtp.server.proof import Proof
from llmtp.units import MiB, format_bytes, format_rate

#: More than a plan was ever wrong by, but for what nobody has measured on this card.
_TELLING = 256 * MiB
_SLOW = 0.5
_KEPT = 64
_FILE = "speeds.json"


def missing_on_card(plan: Plan, comparison: Comparison) -> str | None:
    """What is not on the card although it was planned there, in words; None where all is.

    The scratch of a projector comes later or never; the driver's own share is only known after a
    start of that kind, and may be half of the one that is planned before.
    """
    taken, planned = comparison.taken_bytes, comparison.planned.total
    unsure = comparison.planned.mmproj
    if plan.learned is None:
        unsure += comparison.planned.overhead // 2
    if not plan.gpus or taken is None or taken >= planned - unsure - _TELLING:
        return None
    return (
        f"the driver spilled into RAM: of {format_bytes(planned)} only {format_bytes(taken)} are "
        f"on the card"
    )


def is_slow(plan: Plan, proof: Proof) -> bool:
    """Under half of what such a start had before?"""
    before = _read().get(_key(plan))
    speed = proof.tokens_per_s
    return bool(plan.gpus) and before is not None and speed is not None and speed < _SLOW * before


def slow_words(plan: Plan, proof: Proof) -> str:
    """How slow it is, against before."""
    before, now = _read().get(_key(plan)), proof.tokens_per_s
    return f"it decodes {format_rate(now)} tokens/s, where such a start had {format_rate(before)}"


def remember_speed(plan: Plan, proof: Proof) -> None:
    """The best proof of such a start, the last ones of so many kinds."""
    if not plan.gpus or proof.tokens_per_s is None:
        return
    known, key = _read(), _key(plan)
    best = max(proof.tokens_per_s, known.pop(key, 0.0))
    kept = dict([*known.items(), (key, best)][-_KEPT:])
    paths.write_cache(paths.cache_dir() / _FILE, json.dumps(kept))


def _key(plan: Plan) -> str:
    """Starts of one kind decode about as fast."""
    cards = ", ".join(f"{gpu.backend} {gpu.name}" for gpu in plan.gpus)
    files = [f"{facts.path.name} {facts.file_bytes}" for facts in (plan.main, plan.draft) if facts]
    where = f"{plan.gpu_layers} layers, {plan.cpu_experts} experts in RAM"
    return "; ".join((cards, *files, f"n-max {plan.n_max}", plan.kv_type, where))


def _read() -> dict[str, float]:
    speeds = paths.read_cache(paths.cache_dir() / _FILE)
    return {
        key: float(speed)
        for key, speed in speeds.items()
        if isinstance(speed, int | float) and not isinstance(speed, bool) and 0 < speed < 1e6
    }
