"""What drafting gains: a small cost model, for a start before anybody has measured.

A step verifies n + 1 tokens at once. Against a plain one it costs more by what the back end needs
for another token in the batch, and by what the drafter reads; it yields as many tokens as are right
in a row. `tune` will know better; the model is there to be near, and to see where drafting loses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmtp.gguf.model import ModelFacts, block_of, is_expert
from llmtp.plan.settings import Placement

#: Shares of drafts that are right, each given the one before: published runs of the 31B by kind of
#: text at n-max 2 (.54 to .77 of all drafts), of all of them and of prose.
TYPICAL, PROSE = 0.77, 0.66
#: Less than this is not worth the memory of a drafter.
LEAST_GAIN = 1.05
MOST = 4
#: A smaller n-max is taken for so little less: what it loses with other texts is smaller too.
NEARLY = 0.98
#: Bytes from RAM take so much longer than those of a GPU: 50 to 100 GB/s against 500 to 1,000.
_RAM = 10


@dataclass(frozen=True, slots=True)
class _Curve:
    """What another token in the batch costs, as a share of a plain step; and where from."""

    verify: float
    source: str


#: Step times at n-max 1 to 4 less what the drafter reads: 12B, 26B-A4B and 31B in Q4_K on an H100,
#: CUDA b11434 (0.16 to 0.19); the 12B there on Vulkan b10434. Of others only reports.
_CURVES = {
    "cuda": _Curve(0.18, "CUDA on an H100"),
    "vulkan": _Curve(0.30, "Vulkan on an H100"),
    "metal": _Curve(0.40, "reports of an M3 Max; not seen"),
    "rocm": _Curve(0.30, "as Vulkan; not seen"),
}
_UNKNOWN = _Curve(0.40, "a guess; not seen")
#: AMD's cards on Vulkan lose by reports of one (12B: 33, 32 and 23 tokens/s off, at 1 and at 4) and
#: gain by those of another.
_AMD = _Curve(0.50, "reports of AMD cards; not seen")
_AMD_NAMES = ("amd", "radeon", "radv")
#: A CPU computes up to four tokens about as fast as two (b10068, E2B in Q4_K on two cores: 2.0, 2.1
#: and 2.3 plain steps), and another expert for nearly every token.
_CPU_STEPS = (1.0, 1.95, 2.0, 2.2)
_CPU_SOURCE = "two cores with AVX2"


@dataclass(frozen=True, slots=True)
class Gain:
    """So many times as fast as without, at the best n-max: with typical texts, and with prose."""

    n_max: int
    typical: float
    prose: float
    source: str

    @property
    def pays(self) -> bool:
        return self.typical >= LEAST_GAIN


def best_gain(
    main: ModelFacts, draft: ModelFacts, placement: Placement, device_name: str = ""
) -> Gain:
    """The n-max that is expected to gain most, if that pays or not."""
    costs = step_costs(main, draft, placement, device_name)
    gains = {n: expected_tokens(n, TYPICAL) / costs.steps[n] for n in range(1, len(costs.steps))}
    best = max(gains.values())
    n_max = min(n for n, gain in gains.items() if gain >= NEARLY * best)
    prose = expected_tokens(n_max, PROSE) / costs.steps[n_max]
    return Gain(n_max, gains[n_max], prose, costs.source)


@dataclass(frozen=True, slots=True)
class StepCosts:
    """What a step with 0, 1, 2, ... drafts takes, as multiples of a plain one; and where from."""

    steps: tuple[float, ...]
    source: str


def step_costs(
    main: ModelFacts, draft: ModelFacts, placement: Placement, device_name: str = ""
) -> StepCosts:
    """As far as somebody has measured: no step with more drafts is told."""
    curve = _curve(placement.backend, device_name)
    reads, draft_reads = token_reads(main, placement), sum(_read_tensors(draft).values())
    on_cpu = reads.ram + reads.experts_ram > 0
    most = min(MOST, len(_CPU_STEPS) - 1) if on_cpu else MOST
    source = curve.source if placement.has_gpu else _CPU_SOURCE
    return StepCosts(tuple(_step(reads, draft_reads, curve, n) for n in range(most + 1)), source)


def expected_tokens(n_max: int, acceptance: float) -> float:
    """Of a step: drafts are right in a row, and the main model adds one itself."""
    return sum(acceptance**i for i in range(n_max + 1))


@dataclass(frozen=True, slots=True)
class Reads:
    """Bytes of weights that are read for one token, by place; in RAM, experts apart."""

    gpu: float
    ram: float
    experts_ram: float

    @property
    def total(self) -> float:
        return self.gpu + self.ram + self.experts_ram


def token_reads(main: ModelFacts, placement: Placement) -> Reads:
    """Of a plain step; the KV cache comes on top."""
    shape, gpu, ram, experts_ram = main.shape, 0.0, 0.0, 0.0
    for name, size in _read_tensors(main).items():
        layer = block_of(name)
        layer = shape.n_layers if layer is None else layer
        expert = is_expert(name)
        share = shape.n_experts_used / shape.n_experts if expert and shape.n_experts else 1.0
        stays = expert and placement.experts_in_ram(layer)
        if placement.gpu_of(shape, layer) is not None and not stays:
            gpu += size * share
        elif expert:
            experts_ram += size * share
        else:
            ram += size * share
    return Reads(gpu, ram, experts_ram)


def _read_tensors(model: ModelFacts) -> Mapping[str, int]:
    """All but tables that only single rows are read of; they may be the output matrix too."""
    tables = ["per_layer_token_embd.weight"]
    if model.tensor_bytes.output:
        tables.append("token_embd.weight")
    return {name: size for name, size in model.tensor_bytes.by_name.items() if name not in tables}


def _step(reads: Reads, draft_reads: int, curve: _Curve, n_max: int) -> float:
    """Against a plain one."""
    on_cpu = reads.ram + reads.experts_ram
    plain = reads.gpu + _RAM * on_cpu
    drafts = n_max * draft_reads * (1 if reads.gpu else _RAM)
    cost = reads.gpu * (1 + n_max * curve.verify) + drafts
    if on_cpu:
        cost += _RAM * (reads.ram * _CPU_STEPS[n_max] + reads.experts_ram * (1 + n_max))
    return cost / plain if plain else 1.0


def _curve(backend: str, device_name: str) -> _Curve:
    if backend == "vulkan" and any(name in device_name.lower() for name in _AMD_NAMES):
        return _AMD
    return _CURVES.get(backend, _UNKNOWN)
