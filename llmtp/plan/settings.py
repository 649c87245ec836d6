"""What of a plan changes memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from llmtp.gguf.shape import TextModel

UBATCH = 512
ALL_LAYERS = 1 << 16
CPU_BACKEND = "cpu"
_CUDA_CODE = {"cuda", "rocm"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Total context, slots, KV type, tokens a ubatch, and tokens to draft (0: no drafter).

    With `unified` KV all slots share one cache of the whole context. `flash` is flash attention.
    """

    ctx_size: int
    parallel: int = 1
    kv_type: str = "f16"
    n_max: int = 0
    ubatch: int = UBATCH
    unified: bool = False
    flash: bool = True

    @property
    def drafts(self) -> bool:
        return self.n_max > 0


def batch_with_workers(ubatch: int, parallel: int, n_max: int) -> int:
    """Tokens that the engine takes at once: a ubatch, but all that drafts of all slots need."""
    return max(ubatch, parallel * (1 + n_max))


@dataclass(frozen=True, slots=True)
class Placement:
    """What is on GPUs: the last `gpu_layers` of layers and output, as `--gpu-layers` counts.

    They are `split` over several GPUs in their order, so many layers each, or are all on one. The
    experts of the first `cpu_experts` layers stay in RAM (`--n-cpu-moe`). A drafter is on the last
    GPU as a whole. `mixed_batches` is what the build can do: b11434 prepares batches of tokens and
    images, b10068 does not, and that changes what it computes in. The first `n_remote` of the GPUs
    are those of workers; `backend` is that of the others, where there are any.
    """

    backend: str = CPU_BACKEND
    gpu_layers: int = ALL_LAYERS
    cpu_experts: int = 0
    mixed_batches: bool = True
    split: tuple[int, ...] = ()
    n_remote: int = 0

    @property
    def has_gpu(self) -> bool:
        return self.backend != CPU_BACKEND

    @property
    def n_gpus(self) -> int:
        return max(len(self.split), 1) if self.has_gpu else 0

    @property
    def is_cuda(self) -> bool:
        """Of the code in ggml-cuda, which ROCm builds too (there: not seen)."""
        return self.backend in _CUDA_CODE

    def first_on_gpu(self, model: TextModel) -> int:
        """The first layer there; `n_layers` is the output (llama-model.cpp, i_gpu_start)."""
        on_gpu = self.gpu_layers if self.has_gpu else 0
        return max(model.n_layers + 1 - on_gpu, 0)

    def gpu_of(self, model: TextModel, layer: int) -> int | None:
        """The number of the GPU that has a layer, or the output behind the last; None is RAM."""
        at = layer - self.first_on_gpu(model)
        if at < 0 or not self.has_gpu:
            return None
        ends = accumulate(self.split[:-1])
        return sum(at >= end for end in ends)

    def experts_in_ram(self, layer: int) -> bool:
        return layer < self.cpu_experts

    def is_partial(self, model: TextModel) -> bool:
        """Are layers or experts in RAM, beside a GPU?"""
        experts = self.cpu_experts > 0 and model.n_experts > 0
        return self.has_gpu and (self.first_on_gpu(model) > 0 or experts)

    def lends(self, model: TextModel) -> bool:
        """Does a GPU borrow matrices from RAM? One of a worker never does (ggml-rpc.cpp, where
        offload_op is none)."""
        return self.n_remote < self.n_gpus and self.is_partial(model)

    def pipelines(self, model: TextModel) -> bool:
        """Does the engine prepare several batches at once? Several GPUs hold all of the model, and
        none is a worker's (llama-context.cpp, pipeline_parallel)."""
        return self.n_gpus > 1 and not self.n_remote and not self.is_partial(model)
