"""The choice of place, context and n-max, on machines that are only described."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from llmtp.errors import DoesNotFitError, UsageError
from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.gguf.model import ModelFacts, TensorBytes
from llmtp.gguf.shape import TextModel
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Device, Host, Machine
from llmtp.plan.choose import make_plan
from llmtp.plan.wishes import Wishes
from llmtp.units import GiB, MiB


def real_size(crafted: Path) -> Reference:
    """A pair of the 12B's weight and shape, without its gigabytes."""
    main = read_facts(open_model(crafted / "crafted.gguf"))
    draft = read_facts(open_model(crafted / "mtp-crafted.gguf"))
    pattern = ((True,) * 5 + (False,)) * 8
    shape = replace(
        main.shape, n_layers=48, sliding=pattern, n_heads=(16,) * 48, width=3840,
        feed_forward=(15360,) * 48,
        window=1024, kv_heads=tuple(8 if s else 1 for s in pattern), head_full=512, value_full=512,
        head_sliding=256, value_sliding=256, context_train=262144,
    )  # fmt: skip
    small = replace(
        draft.shape, width=1024, feed_forward=(8192,) * 4, target_width=3840, context_train=131072
    )
    return Reference(
        "12b",
        _sized(main, TensorBytes({"blk.0.a.weight": 6870 * MiB, "output.weight": 1}), shape=shape),
        _sized(
            draft,
            TensorBytes({"token_embd.weight": 272 * MiB, "blk.0.a.weight": 156 * MiB}),
            shape=small,
        ),
        None,
    )


def _sized(facts: ModelFacts, tensors: TensorBytes, shape: TextModel) -> ModelFacts:
    return replace(facts, tensor_bytes=tensors, vocabulary_size=262144, text=shape)


def machine(*free_mib: int, ram_gib: float = 32) -> Machine:
    cards = tuple(
        Device(f"CUDA{i}", f"card {i}", "cuda", 24 * GiB, mib * MiB, "NVML")
        for i, mib in enumerate(free_mib)
    )
    host = Host("cpu", int(ram_gib * GiB), int(ram_gib * GiB), "operating system")
    return Machine(host, cards)


def test_a_roomy_card_gets_everything_and_32k(crafted: Path) -> None:
    plan = make_plan(real_size(crafted), machine(24000), Wishes())
    assert (plan.ctx_size, plan.n_max, plan.gpu_layers) == (32768, 3, 49)
    assert [gpu.id for gpu in plan.gpus] == ["CUDA0"]
    assert plan.findings == ()


def test_context_shrinks_before_mtp_goes(crafted: Path) -> None:
    plan = make_plan(real_size(crafted), machine(8900), Wishes(kv_type="f16"))
    assert 8192 <= plan.ctx_size < 32768
    assert plan.mtp
    assert plan.devices[0].parts.total + 256 * MiB <= 8900 * MiB
    # One step more would not have fitted.
    larger = Wishes(ctx=plan.ctx_size + 256, kv_type="f16", draft_is_wanted=True, strict=True)
    with pytest.raises(DoesNotFitError):
        make_plan(real_size(crafted), machine(8900, ram_gib=1), larger)


def test_mtp_goes_before_the_gpu_and_it_is_said(crafted: Path) -> None:
    plan = make_plan(real_size(crafted), machine(8300), Wishes())
    assert (plan.n_max, plan.draft) == (0, None)
    assert plan.gpus
    assert plan.findings[-2].rule == "step-down-mtp"


def test_mtp_that_was_asked_for_stays(crafted: Path) -> None:
    plan = make_plan(real_size(crafted), machine(8300), Wishes(n_max=3, draft_is_wanted=True))
    assert plan.n_max == 3
    assert plan.gpu_layers < 49
    assert "step-down-offload" in {one.rule for one in plan.findings}


def test_strict_gives_up_nothing(crafted: Path) -> None:
    with pytest.raises(DoesNotFitError, match="missing"):
        make_plan(real_size(crafted), machine(9000), Wishes(strict=True))


def test_a_strict_failure_speaks_of_what_was_wanted(crafted: Path) -> None:
    with pytest.raises(DoesNotFitError, match=r"missing at context 32,768") as caught:
        make_plan(real_size(crafted), machine(9000), Wishes(strict=True))
    assert "-" not in caught.value.findings[0].message.split(":")[1]
    assert "--ctx 8192" in (caught.value.findings[0].fix or "")


def test_the_freest_card_is_used(crafted: Path) -> None:
    plan = make_plan(real_size(crafted), machine(4000, 20000, 12000), Wishes())
    assert [gpu.id for gpu in plan.gpus] == ["CUDA1"]
    assert [usage.parts.total > 0 for usage in plan.devices] == [False, True, False]


def test_max_is_the_largest_that_fits(crafted: Path) -> None:
    assert make_plan(real_size(crafted), machine(24000), Wishes(ctx="max")).ctx_size == 262144
    plan = make_plan(real_size(crafted), machine(10000), Wishes(ctx="max", draft_is_wanted=True))
    assert 32768 < plan.ctx_size < 262144


def test_slots_share_the_context(crafted: Path) -> None:
    plan = make_plan(real_size(crafted), machine(24000), Wishes(parallel=4))
    assert plan.to_dict()["ctx_per_slot"] * 4 == plan.ctx_size == 32768


def test_nothing_fits_says_how_much_is_missing_and_the_ways_out(crafted: Path) -> None:
    ref = real_size(crafted)
    with pytest.raises(DoesNotFitError) as caught:
        make_plan(ref, machine(9000, ram_gib=4), Wishes(ctx=131072, draft_is_wanted=True))
    finding = caught.value.findings[0]
    assert "MiB are missing" in finding.message or "GiB are missing" in finding.message
    assert finding.fix is not None
    assert "--ctx 8192" in finding.fix


def test_unknown_memory_is_not_used(crafted: Path) -> None:
    unknown = replace(machine(24000).devices[0], free_bytes=None)
    software = replace(machine(24000).devices[0], name="llvmpipe (LLVM 15)")
    host = machine().host
    plan = make_plan(real_size(crafted), Machine(host, (unknown, software)), Wishes())
    assert plan.gpus == ()


@pytest.mark.parametrize(
    "wishes", [Wishes(ctx=1 << 20), Wishes(parallel=0), Wishes(parallel=65), Wishes(n_max=3)]
)
def test_impossible_wishes_are_usage_errors(crafted: Path, wishes: Wishes) -> None:
    ref = real_size(crafted)
    if wishes.n_max:
        ref = replace(ref, draft=None)
    with pytest.raises(UsageError):
        make_plan(ref, machine(24000), wishes)


def test_a_tiny_model_runs_on_one_thread(crafted: Path) -> None:
    ref = real_size(crafted)
    assert make_plan(ref, machine(24000), Wishes()).threads is None
    tiny = replace(ref, main=replace(ref.main, tensor_bytes=TensorBytes({"blk.0.a.weight": 3})))
    assert make_plan(tiny, machine(24000), Wishes()).threads == 1


@pytest.mark.parametrize(("ram_gib", "checkpoints"), [(64, 32), (12, 16), (4, 3), (2, 0)])
def test_what_keeps_prompts_never_takes_the_last_ram(
    crafted: Path, ram_gib: float, checkpoints: int
) -> None:
    """Half of what is left for the checkpoints of a slot, 320 MiB each, the rest for whole ones."""
    plan = make_plan(real_size(crafted), machine(24000, ram_gib=ram_gib), Wishes())
    assert plan.checkpoint_bytes == 320 * MiB
    assert plan.checkpoints == checkpoints
    kept = plan.prompt_cache_bytes + plan.checkpoints * plan.checkpoint_bytes
    assert 0 < plan.prompt_cache_bytes <= 8 * GiB
    assert plan.host_parts.total + kept + GiB <= ram_gib * GiB


def test_slots_share_what_keeps_prompts(crafted: Path) -> None:
    one, four = (
        make_plan(real_size(crafted), machine(24000, ram_gib=12), Wishes(parallel=n))
        for n in (1, 4)
    )
    assert four.checkpoint_bytes == one.checkpoint_bytes
    assert four.checkpoints < one.checkpoints
    kept = four.prompt_cache_bytes + four.checkpoints * four.checkpoint_bytes * 4
    assert four.host_parts.total + kept + GiB <= 12 * GiB


def test_where_nothing_slides_there_is_nothing_to_go_back_to(crafted: Path) -> None:
    ref = real_size(crafted)
    full = replace(ref.main, text=replace(ref.main.shape, sliding=(False,) * 48))
    plan = make_plan(replace(ref, main=full, draft=None), machine(60000), Wishes())
    assert plan.checkpoint_bytes == 0


def test_a_way_out_is_one_that_may_be_taken(crafted: Path) -> None:
    """With --n-max asked for, --draft off is refused; so --n-max off is the way."""
    for wishes, way in ((Wishes(strict=True, n_max=3), "--n-max off"),
                        (Wishes(strict=True), "--draft off")):  # fmt: skip
        with pytest.raises(DoesNotFitError) as caught:
            make_plan(real_size(crafted), machine(8700), replace(wishes, ctx=8192))
        assert way in (caught.value.findings[0].fix or "")
