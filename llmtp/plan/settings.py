"""What of a plan changes memory."""

from __future__ import annotations

from dataclasses import dataclass

UBATCH = 512


@dataclass(frozen=True, slots=True)
class Settings:
    """Total context, slots, KV type, tokens a ubatch, and whether the drafter is loaded.

    With `unified` KV all slots share one cache of the whole context.
    """

    ctx_size: int
    parallel: int = 1
    kv_type: str = "f16"
    draft: bool = True
    ubatch: int = UBATCH
    unified: bool = False
