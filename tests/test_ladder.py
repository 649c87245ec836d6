"""What is given up when memory is short, in which order, and again when a start runs out of it."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from builders import make_pair
from harness import Cli, assert_one_clear_line, fake_engine
from make_crafted_pair import Shape
from make_real_size import make_real_size_pair
from oom_logs import LOGS

from llmtp.engine.llama.failure import explain, is_telling
from llmtp.engine.speech import CRASHED
from llmtp.errors import DoesNotFitError
from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Device, Host, Machine, User
from llmtp.plan.choose import make_plan
from llmtp.plan.ladder import WORDS, Step, next_steps
from llmtp.plan.result import Plan
from llmtp.plan.shrink import shrunk
from llmtp.plan.wishes import Wishes
from llmtp.units import GiB, MiB, format_bytes

ORDER = list(Step)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """Pairs of released sizes in Q4_K, with holes for weights and few tokens."""
    found = {}
    for size in ("12b", "26b-a4b", "e2b", "31b"):
        folder = tmp_path_factory.mktemp(size)
        made = make_real_size_pair(folder, 0, "Q4_K", "Q8_0", size=size, whole=False)
        main, draft = (read_facts(open_model(path)) for path in made)
        found[size] = Reference(size, main, draft, None)
    return found


def card(free_mib: int, number: int = 0, backend: str = "cuda", **more: Any) -> Device:
    total = more.pop("total_mib", free_mib) * MiB
    return Device(f"CUDA{number}", f"card {number}", backend, total, free_mib * MiB, "NVML", **more)


def machine(*cards: Device, ram_gib: float = 64, mixed_batches: bool = True) -> Machine:
    host = Host("cpu", int(ram_gib * GiB), int(ram_gib * GiB), "operating system")
    return Machine(host, cards, mixed_batches)


def steps(plan: Plan) -> list[Step]:
    return [one.step for one in plan.given_up]


def test_less_memory_gives_up_more_in_the_order_of_giving_up(pairs: dict[str, Reference]) -> None:
    """From a roomy card to a tiny one: what goes last never comes back."""
    last, seen = (0, -(1 << 30)), set()
    for free in (*range(9_600, 7_000, -150), 6_000, 3_000):
        plan = make_plan(pairs["12b"], machine(card(free)), Wishes())
        found = steps(plan)
        assert found == sorted(found, key=ORDER.index)
        worst = max((ORDER.index(step) for step in found), default=0)
        if Step.OFFLOAD not in found:
            assert (worst, -plan.ctx_size) >= last, (free, plan.given_up)
            last = worst, -plan.ctx_size
        seen |= set(found)
        used = plan.used_devices[0].parts.total if plan.gpus else 0
        assert used + 256 * MiB <= free * MiB
    assert seen == {Step.UBATCH, Step.KV_TYPE, Step.SHORT_CONTEXT, Step.MTP, Step.OFFLOAD}


def test_what_turns_out_not_to_be_needed_is_taken_back(pairs: dict[str, Reference]) -> None:
    """Where the KV type must go, the ubatch may stay as large as that leaves room for."""
    seen = set()
    for free in range(9_200, 7_500, -100):
        plan = make_plan(pairs["12b"], machine(card(free)), Wishes())
        if Step.KV_TYPE in steps(plan) and Step.SHORT_CONTEXT not in steps(plan):
            seen.add(plan.ubatch)
    assert len(seen) > 1


@pytest.mark.parametrize("free", [9_000, 8_000, 7_000, 6_000, 4_000])
def test_what_was_asked_for_by_name_is_never_given_up(
    pairs: dict[str, Reference], free: int
) -> None:
    wishes = Wishes(ctx=16384, n_max=2, kv_type="f16", parallel=2, draft_is_wanted=True)
    plan = make_plan(pairs["12b"], machine(card(free)), wishes)
    assert (plan.ctx_size, plan.n_max, plan.kv_type, plan.parallel) == (16384, 2, "f16", 2)
    assert set(steps(plan)) <= {Step.UBATCH, Step.OFFLOAD}


def test_strict_gives_up_nothing(pairs: dict[str, Reference]) -> None:
    roomy = make_plan(pairs["12b"], machine(card(12_000)), Wishes(strict=True))
    assert roomy.given_up == ()
    with pytest.raises(DoesNotFitError, match="32,768"):
        make_plan(pairs["12b"], machine(card(8_000)), Wishes(strict=True))


def test_layers_go_to_the_cpu_last_and_as_few_as_will_do(pairs: dict[str, Reference]) -> None:
    found = {}
    for free in (6_500, 5_000, 3_500):
        plan = make_plan(pairs["12b"], machine(card(free)), Wishes())
        assert steps(plan)[-1] is Step.OFFLOAD
        assert (plan.cpu_experts, plan.split) == (0, ())
        found[free] = plan.gpu_layers
        assert f"{49 - plan.gpu_layers} of 48 layers on the CPU" in plan.why[0]
    assert 48 > found[6_500] > found[5_000] > found[3_500] >= 3


def test_experts_go_before_layers_and_leave_room_for_the_rest(
    pairs: dict[str, Reference],
) -> None:
    plan = make_plan(pairs["26b-a4b"], machine(card(12_000)), Wishes())
    assert plan.gpu_layers == 31
    assert 0 < plan.cpu_experts < 30
    small = make_plan(pairs["26b-a4b"], machine(card(6_000)), Wishes())
    assert plan.cpu_experts < small.cpu_experts <= 30
    assert small.host_parts.weights > plan.host_parts.weights


def test_two_cards_hold_what_one_cannot(pairs: dict[str, Reference]) -> None:
    two = machine(card(12_000, 0), card(14_000, 1))
    plan = make_plan(pairs["31b"], two, Wishes())
    assert (len(plan.split), sum(plan.split), plan.gpu_layers) == (2, 61, 61)
    assert Step.OFFLOAD not in steps(plan)
    for one in plan.devices:
        assert 0 < one.parts.total + 256 * MiB <= (one.device.free_bytes or 0)
    assert [one.parts.draft > 0 for one in plan.devices] == [False, True]
    assert plan.split[-1] >= 3, "the drafter reads the caches of the last two layers"


def test_one_card_is_enough_where_nothing_is_given_up_on_it(pairs: dict[str, Reference]) -> None:
    plan = make_plan(pairs["12b"], machine(card(10_000, 0), card(16_000, 1)), Wishes())
    assert ([gpu.id for gpu in plan.gpus], plan.split) == (["CUDA1"], ())


def test_layers_that_share_a_cache_stay_on_one_card(pairs: dict[str, Reference]) -> None:
    """A drafter of the E2B reads caches from the middle of the model."""
    plan = make_plan(pairs["e2b"], machine(card(1_900, 0), card(1_900, 1)), Wishes())
    assert len(plan.gpus) <= 1


def test_a_build_that_would_abort_gets_another_placement(pairs: dict[str, Reference]) -> None:
    """b10068 has room for 30 copies into one split; with 19 of the 36 layers and output of the E2B
    on the GPU there are more (seen: it aborts with 16 to 22)."""
    refused = set()
    for free in (1_500, 1_400):
        old, new = (
            make_plan(
                pairs["e2b"], machine(card(free, backend="vulkan"), mixed_batches=mixed), Wishes()
            )
            for mixed in (False, True)
        )
        assert not 16 <= old.gpu_layers <= 22
        if 16 <= new.gpu_layers <= 22:
            refused.add(new.gpu_layers)
            break
    assert refused


def test_memory_that_is_shared_is_counted_once(pairs: dict[str, Reference]) -> None:
    """An integrated GPU with 14 GiB of the 16 of RAM: what is on it is not free in RAM."""
    own = make_plan(pairs["12b"], machine(card(14_000), ram_gib=12), Wishes(ctx="max"))
    shared = make_plan(
        pairs["12b"], machine(card(14_000, shares_ram=True), ram_gib=12), Wishes(ctx="max")
    )
    assert shared.ctx_size < own.ctx_size
    on_card = shared.used_devices[0].parts.total
    kept = shared.prompt_cache_bytes + shared.checkpoints * shared.checkpoint_bytes
    assert on_card + shared.host_parts.total + kept + GiB <= 12 * GiB


def test_who_takes_the_card_is_named_when_an_empty_one_would_have_done(
    pairs: dict[str, Reference],
) -> None:
    users = (User("blender", 6 * GiB), User("Xorg", 200 * MiB))
    busy = machine(card(7_000, total_mib=16_000, users=users))
    (finding,) = (
        one for one in make_plan(pairs["12b"], busy, Wishes()).findings if one.rule == "card-in-use"
    )
    for words in ("blender (6.00 GiB)", "Xorg (200 MiB)", "context 32,768", "KV type f16"):
        assert words in finding.message
    small = machine(card(7_000, total_mib=7_100, users=users))
    plan = make_plan(pairs["12b"], small, Wishes())
    assert plan.given_up
    assert "card-in-use" not in {one.rule for one in plan.findings}


def test_the_next_plan_takes_less_than_the_one_that_failed(pairs: dict[str, Reference]) -> None:
    """Down to the last one, and then there is none."""
    there = machine(card(9_500), ram_gib=10)
    plan, taken = make_plan(pairs["12b"], there, Wishes()), []
    for _ in range(6):
        taken.append(plan.used_devices[0].parts.total)
        there = shrunk(there, plan, None, in_ram=False)
        plan = make_plan(pairs["12b"], there, Wishes())
    for larger, smaller in pairwise(taken):
        assert larger - smaller >= min(256 * MiB, larger // 4)


def test_in_ram_there_is_an_end(pairs: dict[str, Reference]) -> None:
    there = machine(ram_gib=9)

    def go_down(plan: Plan) -> int:
        smaller = make_plan(pairs["12b"], shrunk(there, plan, None, in_ram=True), Wishes())
        return 1 + go_down(smaller)

    with pytest.raises(DoesNotFitError):
        go_down(make_plan(pairs["12b"], there, Wishes()))


def test_the_order_is_told(pairs: dict[str, Reference]) -> None:
    nothing = make_plan(pairs["12b"], machine(card(12_000)), Wishes())
    assert next_steps(ORDER, nothing.given_up, has_gpu=True, is_long=True) == [
        WORDS[step] for step in ORDER if step is not Step.SLOTS
    ]
    assert len(next_steps(ORDER, nothing.given_up, has_gpu=False, is_long=False)) == len(ORDER) - 3
    some = make_plan(pairs["12b"], machine(card(8_000)), Wishes())
    last = ORDER.index(some.given_up[-1].step)
    assert next_steps(ORDER, some.given_up, has_gpu=True, is_long=False) == [
        WORDS[step] for step in ORDER[last + 1 :]
    ]
    assert last > ORDER.index(Step.CONTEXT)


def test_where_ram_ran_out_beside_a_gpu_the_next_plan_takes_less_of_it(
    pairs: dict[str, Reference],
) -> None:
    there = machine(card(24_000), ram_gib=64)
    plan = make_plan(pairs["12b"], there, Wishes(ctx="max"))
    smaller = make_plan(pairs["12b"], shrunk(there, plan, None, in_ram=True), Wishes(ctx="max"))
    assert smaller.host_parts.total < plan.host_parts.total
    assert smaller.gpus == plan.gpus


def test_a_card_of_its_own_memory_goes_before_one_that_shares_ram(
    pairs: dict[str, Reference],
) -> None:
    integrated, own = card(31_000, 0, shares_ram=True), card(24_000, 1)
    plan = make_plan(pairs["31b"], machine(integrated, own), Wishes(ctx="max"))
    assert plan.gpus == (own,)


def test_strict_max_is_the_largest_that_gives_up_nothing(pairs: dict[str, Reference]) -> None:
    strict = Wishes(ctx="max", strict=True)
    plan = make_plan(pairs["12b"], machine(card(10_000)), strict)
    assert (plan.given_up, plan.kv_type, plan.ubatch) == ((), "f16", 512)
    assert 32768 < plan.ctx_size < 262144
    with pytest.raises(DoesNotFitError):
        make_plan(pairs["12b"], machine(card(7_500)), strict)


def test_the_card_that_is_in_use_is_named(pairs: dict[str, Reference]) -> None:
    """Of two, the second; and experts that went to the CPU for it count, however few."""
    idle = card(9_000, 0, total_mib=9_200)
    busy = card(1_000, 1, total_mib=24_000, users=(User("a game", 20 * GiB),))
    plan = make_plan(pairs["26b-a4b"], machine(idle, busy), Wishes())
    (finding,) = (one for one in plan.findings if one.rule == "card-in-use")
    assert "of card 1 are taken by a game (20.00 GiB)" in finding.message
    assert "all on the GPU" in finding.message


@pytest.mark.parametrize(
    ("lines", "out_of"),
    [
        (["CUDA error: out of memory", "  current device: 0", "  cuMemCreate(&handle)"],
         "device memory"),
        (["error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"],
         "device memory"),
        (["terminate called after throwing an instance of 'std::bad_alloc'"], "RAM"),
        (["0.1 W cuda: failed to allocate 540.00 MiB of pinned memory: out of memory",
          "0.2 E srv  start: couldn't bind HTTP server socket"], None),
    ],
)  # fmt: skip
def test_other_words_for_it(lines: list[str], out_of: str | None) -> None:
    cause = explain(1, [line for line in lines if is_telling(line)])
    assert cause.out_of == out_of, cause


@pytest.mark.parametrize("case", LOGS, ids="-".join)
def test_a_log_says_what_ran_out_and_whose_it_was(case: tuple[str, str, str]) -> None:
    backend, owner, part = case
    log, size = LOGS[case]
    cause = explain(1, [line for line in log.splitlines() if is_telling(line)])
    device = "CUDA0" if backend == "cuda" else "Vulkan0"
    assert cause.out_of == "device memory"
    assert f"out of device memory for the {part} of the {owner}, " in cause.message
    assert cause.message.endswith(f" on {device}")
    assert format_bytes(size) in cause.message


def test_a_kill_by_the_system_is_told_by_its_count() -> None:
    killed = explain(-9, [], oom_kills=1)
    assert (killed.out_of, "the system killed it" in killed.message) == ("RAM", True)
    assert explain(-9, []).out_of is None
    assert explain(-11, [], oom_kills=1).out_of is None


@pytest.fixture(scope="module")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 12B whose weights nobody reads."""
    folder = tmp_path_factory.mktemp("hollow")
    return make_real_size_pair(folder, 0, "Q4_K", "Q8_0", whole=False)[0]


def failing(folder: Path, *cases: tuple[str, str, str]) -> dict[str, str]:
    """The environment in which each start of the fake engine ends with one of these logs."""
    names = []
    for number, case in enumerate(cases):
        file = folder / f"log-{number}"
        file.write_text(LOGS[case][0])
        names.append(str(file))
    queue = folder / "fails"
    queue.write_text("\n".join(names))
    return {"FAKE_ENGINE": "gpu", "FAKE_ENGINE_FAILS": str(queue)}


KV, DRAFT = ("cuda", "model", "KV cache"), ("cuda", "drafter", "compute buffer")


def test_a_start_that_runs_out_steps_down_and_says_so(
    cli: Cli, tmp_path: Path, hollow: Path
) -> None:
    engine = fake_engine(tmp_path)
    args = ("run", hollow, "--engine", engine, "--margin", "14500MiB")
    result = cli(*args, "--ask", "x", env=failing(tmp_path, KV, DRAFT))
    assert (result.code, result.stdout) == (0, "The answer\n")
    told = [line for line in result.stderr.splitlines() if "trying again with less" in line]
    assert len(told) == 2
    assert "the KV cache of the model, 2.00 GiB on CUDA0" in told[0]
    assert "the compute buffer of the drafter, 73 MiB on CUDA0" in told[1]
    events = run_lines(cli, *args, env=failing(tmp_path, KV, DRAFT))
    names = [event["event"] for event in events]
    starts = ["planned", "starting", "stopped"]
    assert names[names.index("planned") :][:9] == [
        *starts[:2],
        "stopped",
        "restarting",
        *starts[:2],
        "stopped",
        "restarting",
        "planned",
    ]
    plans = [event for event in events if event["event"] == "planned"]
    used = [plan["devices"][0]["used_bytes"] for plan in plans]
    assert used == sorted(used, reverse=True)
    assert len(set(used)) == 3
    again = [event for event in events if event["event"] == "restarting"]
    assert [event["step"] for event in again] == [1, 2]
    assert {frozenset(event) for event in again} == {
        frozenset(
            {"event", "at", "rule", "reason", "wait_s", "in_a_row", "step", "given_up", "port"}
        )
    }
    assert all(event["given_up"] for event in again)
    gone = [one["step"] for one in plans[-1]["given_up"]]
    assert gone == sorted(gone, key=[step.value for step in ORDER].index)


def flags(argv: list[str]) -> dict[str, str]:
    return {name: value for name, value in pairwise(argv) if name.startswith("--")}


def test_the_engine_is_told_how_layers_are_split(cli: Cli, hollow: Path) -> None:
    """And where the drafter is: elsewhere the engine aborts (seen on two H100)."""
    body = cli("plan", hollow, "--vram", "6GiB,6GiB", "--json").json
    said, data = flags(body["data"]["argv"]), body["data"]
    assert (said["--device"], said["--split-mode"]) == ("CUDA0,CUDA1", "layer")
    assert said["--tensor-split"] == ",".join(map(str, data["tensor_split"]))
    assert sum(data["tensor_split"]) == int(said["--gpu-layers"]) == 49
    assert said["--spec-draft-device"] == "CUDA1"


def test_the_engine_is_told_which_experts_stay(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("experts")
    main, _ = make_real_size_pair(folder, 0, "Q4_K", "Q8_0", size="26b-a4b", whole=False)
    data = cli("plan", main, "--vram", "14GiB", "--json").json["data"]
    said = flags(data["argv"])
    assert 0 < int(said["--n-cpu-moe"]) == data["cpu_experts"] < 30
    assert (said["--gpu-layers"], "--tensor-split" in said) == ("31", False)
    assert data["ctx_size"] == 32768, "experts are cheap: nothing else is given up"


def run_lines(cli: Cli, *args: str | Path, env: dict[str, str]) -> list[dict[str, Any]]:
    """The events until the server is proved, and then of its end."""
    with cli.start(*args, "--json", env=env) as running:
        running.wait_event("mtp")
        running.interrupt()
        return [json.loads(line) for line in running.rest()]


def test_strict_does_not_step_down(cli: Cli, tmp_path: Path, hollow: Path) -> None:
    args = ("run", hollow, "--ask", "x", "--engine", fake_engine(tmp_path), "--strict")
    result = cli(*args, env=failing(tmp_path, KV))
    assert_one_clear_line(result, 6, "for the KV cache of the model, 2.00 GiB on CUDA0")
    assert "again" not in result.stderr


def test_a_crash_without_a_word_may_be_a_lack_of_memory(
    cli: Cli, tmp_path: Path, hollow: Path
) -> None:
    """So dies b10068 where it cannot make a context, and its last words are lost."""
    queue = tmp_path / "fails"
    queue.write_text("crash")
    env = {"FAKE_ENGINE": "gpu", "FAKE_ENGINE_FAILS": str(queue)}
    events = run_lines(cli, "run", hollow, "--engine", fake_engine(tmp_path), env=env)
    (again,) = (event for event in events if event["event"] == "restarting")
    assert (again["rule"], again["step"]) == (CRASHED, 1)
    assert again["reason"].endswith("it crashed (SIGSEGV), perhaps for lack of memory")
    assert again["given_up"]


def test_it_tries_a_few_times_only(cli: Cli, tmp_path: Path, hollow: Path) -> None:
    args = ("run", hollow, "--engine", fake_engine(tmp_path), "--ask", "x", "--json")
    body = cli(*args, env=failing(tmp_path, *[KV] * 20)).json
    assert (body["exit_code"], body["findings"][-1]["rule"]) == (6, "out-of-memory")
    tried = [one for one in body["findings"] if "again with less" in one["message"]]
    assert len(tried) == 4
    assert len((tmp_path / "fails").read_text().splitlines()) == 20 - 5


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real pair of a few MB with a cache of 1 GiB at 32k."""
    shape = Shape(layers=(True, False) * 4, heads=8, kv_heads_full=8, head_full=256,
                  head_sliding=32, context=65536)  # fmt: skip
    return make_pair(tmp_path_factory.mktemp("wide"), shape)[0]


def limited(folder: Path, kilobytes: int) -> Path:
    """The real engine with so much address space, when it is asked to serve."""
    from llmtp.engine.llama.find import find_engine

    engine = find_engine(None)
    program = folder / "limited" / "llama-server"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, resource, sys\n"
        'if "--ctx-size" in sys.argv and sys.argv[sys.argv.index("--ctx-size") + 1] != "512":\n'
        f"    resource.setrlimit(resource.RLIMIT_AS, ({kilobytes << 10},) * 2)\n"
        f"os.environ.update({dict(engine.env)!r})\n"
        f"os.execv({str(engine.path)!r}, sys.argv)\n"
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(("kilobytes", "is_too_little"), [(900_000, True), (2_000_000, False)])
def test_the_real_engine_runs_out_of_ram_and_serves_with_less(
    cli: Cli, tmp_path: Path, wide: Path, kilobytes: int, is_too_little: bool
) -> None:
    """With 900 MB of addresses it cannot have a cache of 1 GiB, which the plan cannot know. The
    crash that follows may cut off the lines that say so."""
    engine = limited(tmp_path, kilobytes)
    args = ("run", wide, "--n-max", "3", "--engine", engine, "--ask", "What is this?", "--json")
    body = cli(*args).json
    assert body["ok"] is True, body["findings"]
    assert body["data"]["answer"].startswith("Multi-token prediction pairs")
    assert body["data"]["accepted"] > 0
    again = [one for one in body["findings"] if "trying again with less" in one["message"]]
    assert bool(again) == bool(body["data"]["given_up"]) == is_too_little
    assert all(one["rule"] in ("out-of-memory", CRASHED) for one in again)
    assert all("KV type f16 → q8_0" in one["message"] for one in again[:1])
