"""The memory model against what the real engine says that it allocates."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from builders import make_pair
from harness import Cli
from make_crafted_pair import CRAFTED, Shape

from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.gguf.model import ModelFacts, TensorBytes
from llmtp.plan.kv import kv_bytes
from llmtp.plan.memory import Parts, needed
from llmtp.plan.settings import Placement, Settings
from llmtp.units import MiB

KV_LINE = re.compile(r"llama_kv_cache: size = +([\d.]+) MiB")
SHAPES = {
    "crafted": CRAFTED,
    "wide": replace(CRAFTED, kv_heads_sliding=4, kv_heads_full=2, head_full=64, head_sliding=32),
    "narrow window": replace(CRAFTED, window=64),
}
CASES = [
    ("crafted", Settings(4096)),
    ("crafted", Settings(8192, parallel=3)),
    ("crafted", Settings(1000, parallel=2)),
    ("wide", Settings(8192, kv_type="q8_0")),
    ("wide", Settings(5000, parallel=4, kv_type="f32")),
    ("narrow window", Settings(2048, kv_type="bf16")),
]


@pytest.mark.parametrize(("shape", "settings"), CASES)
def test_kv_is_what_the_engine_allocates(
    cli: Cli, tmp_path: Path, shape: str, settings: Settings
) -> None:
    main, _ = make_pair(tmp_path, SHAPES[shape])
    options = ["--ctx", str(settings.ctx_size), "--parallel", str(settings.parallel)]
    options += ["--kv-type", settings.kv_type, "--n-max", "1"]
    with cli.start("run", main, "--json", *options) as running:
        log = Path(running.wait_event("starting")["log"])
        running.wait_event("mtp")
        assert running.interrupt() == 130
    sizes = [float(size) for size in KV_LINE.findall(log.read_text(encoding="utf-8"))]
    # Rounded to 0.01 MiB each: full and sliding of the main model. The drafter's two lines
    # name the same memory, which it shares.
    assert len(sizes) == 4
    expected = kv_bytes(read_facts(open_model(main)).shape, settings)
    assert sum(sizes[:2]) * MiB == pytest.approx(expected, abs=0.02 * MiB)


def facts_of(tmp_path: Path, shape: Shape | None = None) -> tuple[ModelFacts, ModelFacts]:
    main, draft = make_pair(tmp_path, shape)
    return read_facts(open_model(main)), read_facts(open_model(draft))


def test_shared_layers_have_no_kv_and_12b_is_right(tmp_path: Path) -> None:
    """2,528 MiB at 128k is what llama-server logged for the 12B's shape; E4B's shape halves it."""
    main, _ = facts_of(tmp_path)
    pattern = ((True,) * 5 + (False,)) * 8
    shape = replace(
        main.shape,
        n_layers=48,
        sliding=pattern,
        kv_heads=tuple(8 if sliding else 1 for sliding in pattern),
        head_full=512,
        value_full=512,
        head_sliding=256,
        value_sliding=256,
        window=1024,
    )
    assert kv_bytes(shape, Settings(131072)) == 2528 * MiB
    assert kv_bytes(replace(shape, shared_kv_layers=24), Settings(131072)) == 1264 * MiB


def test_on_a_device_token_embeddings_stay_in_ram(tmp_path: Path) -> None:
    main, draft = facts_of(tmp_path)
    tensors = main.tensor_bytes
    found = needed(main, draft, Settings(4096), Placement("cuda"))
    assert found.device.weights == tensors.total - tensors.token_embd
    assert found.host.weights == tensors.token_embd
    # Tied: without an output matrix the device gets a copy of the embeddings.
    by_name = {n: size for n, size in tensors.by_name.items() if n != "output.weight"}
    tied = replace(main, tensor_bytes=TensorBytes(by_name))
    found = needed(tied, draft, Settings(4096), Placement("cuda"))
    assert found.device.weights == tied.tensor_bytes.total


def test_layers_go_to_the_gpu_from_the_last(tmp_path: Path) -> None:
    """Weights and KV move with their layer; the output comes first, as the engine counts."""
    main, draft = facts_of(tmp_path)
    n_layers, settings = main.shape.n_layers, Settings(4096)
    splits = [needed(main, draft, settings, Placement("cuda", n)) for n in range(n_layers + 2)]
    assert splits[0].device.weights == splits[0].device.kv == 0
    assert (
        splits[1].device.weights
        == main.tensor_bytes.output
        + main.tensor_bytes.by_name["output_norm.weight"]
        + main.tensor_bytes.by_name["rope_freqs.weight"]
    )
    assert splits[1].device.kv == 0
    for fewer, more in pairwise(splits):
        assert fewer.device.weights < more.device.weights
        assert fewer.device.weights + fewer.host.weights == main.tensor_bytes.total
        assert fewer.device.kv + fewer.host.kv == kv_bytes(main.shape, settings)
    assert splits[-1].host.kv == 0


def test_without_the_drafter_it_costs_nothing(tmp_path: Path) -> None:
    main, draft = facts_of(tmp_path)
    on, off = (needed(main, draft, Settings(4096, n_max=n), Placement()) for n in (3, 0))
    assert on.device == off.device == Parts()
    assert off.host.draft == 0
    assert on.host.draft > draft.tensor_bytes.total
    assert on.host.kv == off.host.kv


def test_the_same_question_has_the_same_answer(tmp_path: Path) -> None:
    main, draft = facts_of(tmp_path)
    question = (main, draft, Settings(4096, n_max=2), Placement("vulkan"))
    first = needed(*question)
    assert [needed(*question) for _ in range(3)] == [first] * 3
