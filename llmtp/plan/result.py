"""A plan: everything that is passed to the engine, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtp.errors import Finding
from llmtp.gguf.model import ModelFacts
from llmtp.machine.devices import Device, Host
from llmtp.machine.learned import Learned
from llmtp.plan.memory import Parts
from llmtp.plan.overhead import overhead_kind


@dataclass(frozen=True, slots=True)
class Usage:
    """What the plan puts on one device."""

    device: Device
    parts: Parts


@dataclass(frozen=True, slots=True)
class Plan:
    """`ctx_size` is the engine's total `-c`; `n_max` 0 is MTP off; `device` None is the CPU.

    `threads` None leaves the number of CPU threads to the engine. `checkpoints` are those of a
    slot's sliding layers, of `checkpoint_bytes` each; they and the prompt cache come out of RAM
    that is left. `mapped_bytes` of the RAM are pages of the files, which the system may drop.
    """

    name: str
    main: ModelFacts
    draft: ModelFacts | None
    mmproj: ModelFacts | None
    ctx_size: int
    parallel: int
    kv_type: str
    n_max: int
    device: Device | None
    gpu_layers: int
    ubatch: int
    threads: int | None
    prompt_cache_bytes: int
    checkpoints: int
    checkpoint_bytes: int
    devices: tuple[Usage, ...]
    host: Host
    host_parts: Parts
    mapped_bytes: int
    why: tuple[str, ...]
    ctx_is_asked: bool = False
    mixed_batches: bool = True
    findings: tuple[Finding, ...] = ()

    @property
    def mtp(self) -> bool:
        return self.n_max > 0

    @property
    def learned(self) -> Learned | None:
        """What the last start of this kind on this device taught."""
        if self.device is None:
            return None
        kind = overhead_kind(self.main.shape, self.kv_type, drafts=self.mtp)
        return self.device.learned.get(kind)

    def to_dict(self) -> dict[str, Any]:
        """The plan's part of `plan --json`; `argv` and `env` come from the engine."""
        return {
            "model": self.name,
            "main": str(self.main.path),
            "draft": str(self.draft.path) if self.draft else None,
            "mmproj": str(self.mmproj.path) if self.mmproj else None,
            "ctx_size": self.ctx_size,
            "ctx_per_slot": self.ctx_size // self.parallel,
            "n_max": self.n_max,
            "mtp": self.mtp,
            "quant": self.main.quant,
            "parallel": self.parallel,
            "kv_type": self.kv_type,
            "gpu_layers": self.gpu_layers,
            "threads": self.threads,
            "prompt_cache_bytes": self.prompt_cache_bytes,
            "checkpoints": self.checkpoints,
            "checkpoint_bytes": self.checkpoint_bytes,
            "why": list(self.why),
            "devices": [u.device.to_dict() | u.parts.to_dict() for u in self.devices],
            "host": {
                "id": None,
                "name": self.host.cpu,
                "backend": "cpu",
                "total_bytes": self.host.total_bytes,
                "free_bytes": self.host.available_bytes,
                "source": self.host.source,
                "mapped_bytes": self.mapped_bytes,
            }
            | self.host_parts.to_dict(),
        }
