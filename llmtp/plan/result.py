"""A plan: everything that is passed to the engine, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmtp.errors import Finding
from llmtp.gguf.model import ModelFacts
from llmtp.machine.devices import Device, Host
from llmtp.machine.learned import Learned
from llmtp.machine.tuned import Tuned
from llmtp.machine.workers import Worker
from llmtp.plan.ladder import GivenUp, Step
from llmtp.plan.memory import Parts
from llmtp.plan.overhead import overhead_kind
from llmtp.plan.speed import Reads, StepCosts
from llmtp.plan.wishes import Nodes


@dataclass(frozen=True, slots=True)
class Usage:
    """What the plan puts on one device."""

    device: Device
    parts: Parts


@dataclass(frozen=True, slots=True)
class Shards:
    """`tensor_parallel` cards, over all `nodes`, have a part of each matrix. The engine takes
    `memory_share` of each (None: RAM, of which the cache gets `kv_bytes`). `slots` limits requests
    at a time where somebody wants that."""

    tensor_parallel: int
    memory_share: float | None
    kv_bytes: int
    slots: int | None = None
    nodes: Nodes | None = None
    sees_images: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`ctx_size` is the engine's total `-c`; `n_max` 0 is MTP off; no `gpus` is the CPU.

    `gpu_layers` are on the GPUs, with the output, as `split` over them; the experts of the first
    `cpu_experts` layers are in RAM, and the drafter is on the last GPU. `given_up` is what had to
    go for lack of memory; `margin_bytes` stay free where the layers are. `threads` None leaves
    the number of CPU threads to the engine. `checkpoints` are those of a slot's sliding layers, of
    `checkpoint_bytes` each; they and the prompt cache come out of RAM that is left. `mapped_bytes`
    of the RAM are pages of the files, which the system may drop. `step_costs` are None without a
    drafter; `reads` are those of a token without MTP. A draft ends before a token that the drafter
    gives less than `p_min`; `draft_sampling` None leaves it to the engine, which is greedy. `tuned`
    is what n-max comes from, where `tune` has found it. `ladder` is what may be given up at all.
    `shards` is how an engine that shards the model over cards and machines does so.
    """

    name: str
    main: ModelFacts
    draft: ModelFacts | None
    mmproj: ModelFacts | None
    ctx_size: int
    parallel: int
    kv_type: str
    n_max: int
    p_min: float
    draft_sampling: str | None
    gpus: tuple[Device, ...]
    gpu_layers: int
    cpu_experts: int
    split: tuple[int, ...]
    ubatch: int
    threads: int | None
    prompt_cache_bytes: int
    checkpoints: int
    checkpoint_bytes: int
    devices: tuple[Usage, ...]
    host: Host
    host_parts: Parts
    mapped_bytes: int
    margin_bytes: int
    reads: Reads
    given_up: tuple[GivenUp, ...]
    why: tuple[str, ...]
    mixed_batches: bool = True
    findings: tuple[Finding, ...] = ()
    step_costs: StepCosts | None = None
    tuned: Tuned | None = None
    ladder: tuple[Step, ...] = tuple(Step)
    shards: Shards | None = None

    @property
    def mtp(self) -> bool:
        return self.n_max > 0

    @property
    def on_cpu(self) -> float:
        """The share of the layers, or of their experts, that a GPU has not: 0 to 1."""
        n_layers = self.main.shape.n_layers
        return max(self.cpu_experts, n_layers + 1 - self.gpu_layers) / (n_layers + 1)

    @property
    def used_devices(self) -> tuple[Usage, ...]:
        """The GPUs that have something of it."""
        return tuple(one for one in self.devices if any(one.device is gpu for gpu in self.gpus))

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Those that have something of it, as the engine is told of them."""
        return tuple(dict.fromkeys(gpu.worker for gpu in self.gpus if gpu.worker is not None))

    @property
    def where(self) -> str:
        """On which GPUs, or the CPU, in words."""
        place = " + ".join(gpu.name for gpu in self.gpus) or "CPU"
        return f"{place} and CPU" if self.gpus and self.on_cpu else place

    @property
    def learned(self) -> Learned | None:
        """What the last start of this kind on this device taught."""
        if len(self.gpus) != 1:
            return None
        kind = overhead_kind(self.main.shape, self.kv_type, drafts=self.mtp)
        return self.gpus[0].learned.get(kind)

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
            "p_min": self.p_min,
            "draft_sampling": self.draft_sampling,
            "tuned": self.tuned.to_dict() if self.tuned else None,
            "mtp": self.mtp,
            "quant": self.main.quant,
            "parallel": self.parallel,
            "kv_type": self.kv_type,
            "ubatch": self.ubatch,
            "gpu_layers": self.gpu_layers,
            "cpu_experts": self.cpu_experts,
            "tensor_split": list(self.split),
            "margin_bytes": self.margin_bytes,
            "given_up": [one.to_dict() for one in self.given_up],
            "threads": self.threads,
            "prompt_cache_bytes": self.prompt_cache_bytes,
            "checkpoints": self.checkpoints,
            "checkpoint_bytes": self.checkpoint_bytes,
            "why": list(self.why),
            "tensor_parallel": self.shards.tensor_parallel if self.shards else None,
            "memory_share": self.shards.memory_share if self.shards else None,
            "nodes": self.shards.nodes.count if self.shards and self.shards.nodes else 1,
            "step_costs": list(self.step_costs.steps) if self.step_costs else None,
            "step_costs_source": self.step_costs.source if self.step_costs else None,
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
