"""The dry run of the engine's allocation, on shapes that nobody released."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import make_pair
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.gguf.model import ModelFacts
from llmtp.gguf.weights import estimate_tensor_bytes
from llmtp.plan.compute import draft_compute, main_compute
from llmtp.plan.kv import KV_TYPES
from llmtp.plan.memory import needed
from llmtp.plan.settings import Placement, Settings

BACKENDS = ("cpu", "cuda", "vulkan", "metal", "rocm", "sycl")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[ModelFacts]:
    paths = make_pair(tmp_path_factory.mktemp("pair"))
    return [read_facts(open_model(path)) for path in paths]


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    """What a header may say of a main model."""
    n = draw(st.integers(1, 7))
    experts = draw(st.sampled_from([0, 0, 4, 16]))
    return {
        "n_layers": n,
        "width": 64 * draw(st.integers(1, 40)),
        "feed_forward": tuple(draw(st.lists(st.integers(1, 9000), min_size=n, max_size=n))),
        "n_heads": (draw(st.sampled_from([1, 4, 8, 32])),) * n,
        "kv_heads": tuple(draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))),
        "sliding": tuple(draw(st.lists(st.booleans(), min_size=n, max_size=n))),
        "shared_kv_layers": draw(st.integers(0, n - 1)),
        "per_layer_width": draw(st.sampled_from([0, 256])),
        "n_experts": experts,
        "n_experts_used": min(experts, draw(st.integers(1, 8))),
        "expert_feed_forward": 64 * experts,
        "window": draw(st.integers(1, 2000)),
    }


plans = st.builds(
    Settings,
    ctx_size=st.integers(1, 300_000),
    parallel=st.sampled_from([1, 2, 3, 4, 64]),
    kv_type=st.sampled_from(list(KV_TYPES)),
    n_max=st.integers(0, 16),
    ubatch=st.sampled_from([32, 128, 512, 1024, 2048]),
    unified=st.booleans(),
    flash=st.booleans(),
)
places = st.builds(
    Placement,
    backend=st.sampled_from(BACKENDS),
    gpu_layers=st.integers(0, 9),
    cpu_experts=st.booleans(),
    mixed_batches=st.booleans(),
)


@given(shapes(), plans, places)
@settings(max_examples=150)
def test_any_shape_has_an_answer(
    pair: list[ModelFacts], shape: dict[str, Any], plan: Settings, place: Placement
) -> None:
    main, draft = pair
    text = replace(main.shape, **shape)
    tensors = estimate_tensor_bytes(text, 4096, 4.5, 6.6, full_values=True)
    main = replace(main, text=text, tensor_bytes=tensors, vocabulary_size=4096)
    own = text.sliding[: text.n_layers - text.shared_kv_layers]
    used = draft if set(own) == {True, False} else None  # others are rejected before a plan
    found = needed(main, used, plan, place)
    for parts in (found.device, found.host):
        assert min(parts.weights, parts.kv, parts.compute, parts.draft, parts.overhead) >= 0
    assert found.host.total >= found.mapped_bytes
    assert (found.device.total > 0) == place.has_gpu
    assert needed(main, used, plan, place) == found


def test_more_context_takes_more(pair: list[ModelFacts]) -> None:
    main, draft = pair
    for backend in BACKENDS:
        sizes = [
            (main_compute(main, s, Placement(backend)), draft_compute(draft, main, s,
                                                                      Placement(backend)))
            for s in (Settings(ctx, n_max=3) for ctx in (4096, 65536, 131072))
        ]  # fmt: skip
        for which in (0, 1):
            totals = [one[which].device + one[which].host for one in sizes]
            assert totals == sorted(totals)
            assert totals[0] < totals[-1], backend


def test_a_deep_model_is_no_long_wait(pair: list[ModelFacts]) -> None:
    """As many layers as a header may name, in CPU time."""
    main, _ = pair
    n = 1024
    text = replace(
        main.shape,
        n_layers=n,
        feed_forward=(1024,) * n,
        n_heads=(8,) * n,
        kv_heads=(2,) * n,
        sliding=(True, True, True, False) * (n // 4),
    )
    deep = replace(main, text=text)
    began = time.process_time()
    assert main_compute(deep, Settings(4096), Placement("vulkan")).device > 0
    assert time.process_time() - began < 20


def test_the_mask_is_what_a_context_adds(tmp_path: Path) -> None:
    """Two bytes a cell and token of a ubatch, in float16 (build_attn_inp_kq_mask)."""
    main = read_facts(open_model(make_pair(tmp_path)[0]))
    small, large = (main_compute(main, Settings(c), Placement("cuda")) for c in (65536, 131072))
    assert large.host - small.host == 2 * 65536 * 512
    assert large.device - small.device == 2 * 65536 * 512
