"""What vLLM is started with: the recipe's flags, what fits, and what is refused."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fake_card import fake_card
from harness import Cli, assert_one_clear_line

from llmtp.engine.command import Serving
from llmtp.engine.vllm.argv import build_vllm_command
from llmtp.engine.vllm.find import VllmEngine
from llmtp.errors import DoesNotFitError, UsageError
from llmtp.gguf.kind import ASSISTANT, MAIN, Kind
from llmtp.hub.published import published_facts
from llmtp.hub.reference import Reference
from llmtp.machine.devices import Device, Host, Machine
from llmtp.plan.ladder import Step
from llmtp.plan.result import Plan
from llmtp.plan.vllm import make_vllm_plan, request_bytes, smaller_vllm_plan
from llmtp.plan.wishes import Nodes, Wishes
from llmtp.profiles import load_profile
from llmtp.units import GiB, MiB

SIZES = ("e2b", "e4b", "12b", "26b-a4b", "31b")


def card(total_gib: float, number: int = 0, free_gib: float | None = None) -> Device:
    free = total_gib if free_gib is None else free_gib
    return Device(
        f"CUDA{number}", "a card", "cuda", int(total_gib * GiB), int(free * GiB), "NVML"
    )  # fmt: skip


def machine(*cards: Device, ram_gib: float = 64) -> Machine:
    return Machine(Host("cpu", int(ram_gib * GiB), int(ram_gib * GiB), "operating system"), cards)


def reference(size: str, quant: str = "BF16", bits: float = 16.0) -> Reference:
    profile = load_profile(f"gemma-4-{size}")
    assert profile.shape is not None
    main = published_facts(profile.shape, Kind.MAIN, MAIN, Path("main"), quant, bits)
    draft = published_facts(profile.shape, Kind.ASSISTANT, ASSISTANT, Path("draft"), "BF16", 16.0)
    return Reference(profile.name, main, draft, profile)


def plan(size: str, *cards: Device, **wishes: object) -> Plan:
    return make_vllm_plan(reference(size), machine(*cards), Wishes(**wishes))  # type: ignore[arg-type]  # fields of Wishes


def test_a_request_takes_what_its_layers_keep() -> None:
    """31B: 10 full layers of 4 heads of 512, 50 sliding ones of 16 of 256, keys and values."""
    shape = reference("31b").main.shape
    per_token_full = 10 * 4 * 512 * 2 * 2
    per_token_sliding = 50 * 16 * 256 * 2 * 2
    for length in (1024, 3072, 32768, 262144):
        kept = length * per_token_full + min(length, 1024 + 2048) * per_token_sliding
        assert request_bytes(shape, length, 2, 1) == round(kept * 1.15)
        assert request_bytes(shape, length, 1, 1) == pytest.approx(kept * 1.15 / 2, abs=1)
        assert request_bytes(shape, length, 2, 4) == pytest.approx(kept * 1.15 / 4, abs=1)
    # On 8 cards each of the 4 heads of a full layer is kept twice.
    on_8 = 3072 * (per_token_full // 4 + per_token_sliding // 8)
    assert request_bytes(shape, 3072, 2, 8) == round(on_8 * 1.15)


@pytest.mark.parametrize(
    ("size", "n_max"), [("e2b", 2), ("e4b", 4), ("12b", 4), ("26b-a4b", 4), ("31b", 4)]
)
def test_the_recipes_say_how_much_is_drafted(size: str, n_max: int) -> None:
    found = plan(size, card(80))
    assert (found.n_max, found.ctx_size // found.parallel) == (n_max, 32768)
    assert "recipe" in found.why[2]
    assert plan(size, card(80), n_max=7).n_max == 7
    assert plan(size, card(80), n_max=0).draft is None


@pytest.mark.parametrize(("count", "used"), [(1, 1), (2, 2), (3, 2), (4, 4), (7, 4), (8, 8)])
def test_the_cards_that_there_are_share_the_heads(count: int, used: int) -> None:
    found = plan("31b", *(card(80, i) for i in range(count)))
    assert found.shards is not None
    assert (found.shards.tensor_parallel, len(found.gpus)) == (used, used)
    assert all(usage.parts.total <= 0.9 * 80 * GiB for usage in found.devices)
    weights = [usage.parts.weights for usage in found.devices]
    assert weights == [found.main.file_bytes // used] * used + [0] * (count - used)


def test_of_unlike_cards_the_best_equal_ones_are_taken(cli: Cli) -> None:
    mixed = plan("31b", card(24), *(card(80, i) for i in (1, 2)))
    assert [gpu.id for gpu in mixed.gpus] == ["CUDA1", "CUDA2"]
    argv = ("plan", "gemma-4-31b", "--engine", "vllm", "--offline", "--json", "--vram")
    data = cli(*argv, "80GiB,24GiB,80GiB").json["data"]
    assert [bool(one["weights_bytes"]) for one in data["devices"]] == [True, False, True]


def test_a_card_that_others_use_gives_less() -> None:
    alone, shared = plan("12b", card(80)), plan("12b", card(80, free_gib=40))
    assert alone.shards is not None
    assert shared.shards is not None
    assert (alone.shards.memory_share, shared.shards.memory_share) == (0.90, 0.49)
    assert shared.parallel < alone.parallel
    assert shared.used_devices[0].parts.total <= 40 * GiB - 256 * MiB


def test_where_memory_is_short_the_context_goes_and_is_told() -> None:
    needed = plan("31b", card(80))
    weights = needed.used_devices[0].parts
    tight = (weights.total - weights.kv) / GiB / 0.9
    short = plan("31b", card(tight + 4.5))
    assert 8192 <= short.ctx_size // short.parallel < 32768
    assert [one.step for one in short.given_up] == [Step.SHORT_CONTEXT]
    assert [one.rule for one in short.findings] == ["step-down-short-context"]
    with pytest.raises(DoesNotFitError) as caught:
        plan("31b", card(tight + 0.5))
    (finding,) = caught.value.findings
    assert "--quant w4a16" in (finding.fix or "")
    strict = pytest.raises(DoesNotFitError)
    with strict:
        plan("31b", card(tight + 4.5), strict=True)


def test_after_a_start_that_ran_out_of_memory_less_is_asked_for() -> None:
    """Of the cache half the length, with as much of the card; of the card less of that, too."""
    there, wishes, ref = machine(card(80)), Wishes(), reference("31b")
    first = make_vllm_plan(ref, there, wishes)
    second = smaller_vllm_plan(ref, there, wishes, first, "the cache")
    third = smaller_vllm_plan(ref, there, wishes, second, "device memory")
    assert [one.ctx_size // one.parallel for one in (first, second, third)] == [32768, 16384, 8192]
    shares = [one.shards.memory_share for one in (first, second, third) if one.shards]
    assert shares == [0.90, 0.90, 0.84]
    assert [one.step for one in second.given_up] == [Step.SHORT_CONTEXT]
    for failed, asked in ((third, wishes), (first, Wishes(ctx=32768))):
        with pytest.raises(DoesNotFitError):
            smaller_vllm_plan(ref, there, asked, failed, "the cache")


def test_the_largest_context_and_a_smaller_cache() -> None:
    most = plan("12b", card(48), ctx="max")
    assert 32768 < most.ctx_size // most.parallel <= most.main.shape.context_train
    fp8 = plan("12b", card(48), kv_type="q8_0", ctx=32768)
    assert fp8.parallel > plan("12b", card(48), ctx=32768).parallel


def test_machines_share_it_too() -> None:
    nodes = Nodes(2, 0, "10.0.0.1", 29501)
    found = plan("31b", card(80), nodes=nodes)
    assert found.shards is not None
    assert found.shards.tensor_parallel == 2
    assert found.used_devices[0].parts.weights == found.main.file_bytes // 2


def test_on_a_cpu_the_drafter_is_left_away_unless_somebody_insists() -> None:
    found = plan("e2b")
    assert (found.mtp, found.gpus) == (False, ())
    assert "noise" in found.why[2]
    insisted = plan("e2b", n_max=2, draft_is_wanted=True)
    assert insisted.mtp
    assert [one.rule for one in insisted.findings] == ["noise-on-cpu"]


def dry_run(cli: Cli, *words: str) -> list[str]:
    result = cli("run", "--engine", "vllm", "--dry-run", "--offline", "--json", *words)
    assert result.code == 0, result.stdout
    argv = result.json["data"]["argv"]
    assert isinstance(argv, list)
    return argv


@pytest.mark.parametrize("size", SIZES)
def test_the_command_is_that_of_the_recipe_and_then_ours(cli: Cli, size: str) -> None:
    """Without vLLM, cards or a network: for the machine that the recipe is for."""
    argv = dry_run(cli, f"gemma-4-{size}", "--port", "8000")
    big = size.upper()
    speculative = (
        f'{{"method":"mtp","model":"google/gemma-4-{big}-it-assistant",'
        f'"num_speculative_tokens":{2 if size == "e2b" else 4}}}'
    )
    parallel = {"31b": ["--tensor-parallel-size", "2"], "26b-a4b": ["--tensor-parallel-size", "2"]}
    assert argv == [
        "vllm", "serve", f"google/gemma-4-{big}-it",
        *parallel.get(size, []),
        "--max-model-len", "32768",
        "--gpu-memory-utilization", "0.9",
        "--language-model-only",
        "--speculative-config", speculative,
        "--served-model-name", f"gemma-4-{size}", f"google/gemma-4-{big}-it",
        "--override-generation-config", '{"temperature":1.0,"top_k":64,"top_p":0.95}',
        "--host", "127.0.0.1", "--port", "8000", "--allowed-origins", "[]",
    ]  # fmt: skip


def test_the_printed_command_is_one_of_a_shell_with_its_parts_told(cli: Cli) -> None:
    result = cli("run", "gemma-4-31b", "--engine", "vllm", "--dry-run", "--offline")
    assert result.code == 0
    comment, *rest = result.stdout.splitlines()
    assert comment.startswith("# vllm's recipe")
    assert rest[0].endswith("\\")
    assert "--speculative-config" in rest[0]
    assert rest[1].strip().startswith("--served-model-name")
    words = shlex.split("\n".join(rest).replace("\\\n", ""))
    argv = dry_run(cli, "gemma-4-31b")
    assert words[words.index("vllm") :][:-3] == argv[:-3]
    assert "VLLM_NO_USAGE_STATS=1" in words
    assert "there is no vLLM on this machine" in result.stderr


def test_images_are_for_who_asks(cli: Cli) -> None:
    assert "--language-model-only" in dry_run(cli, "gemma-4-12b")
    assert "--language-model-only" not in dry_run(cli, "gemma-4-12b", "--mmproj", "auto")


def test_each_machine_has_its_own_command(cli: Cli) -> None:
    words = ("run", "gemma-4-31b", "--engine", "vllm", "--dry-run", "--offline", "--nodes", "2",
             "--master", "192.168.1.10")  # fmt: skip
    text = cli(*words).stdout
    commands = [shlex.split(one) for one in text.replace("\\\n", "").splitlines()
                if not one.startswith("#")]  # fmt: skip
    ranks = [one[one.index("--node-rank") + 1] for one in commands]
    assert ranks == ["0", "1"]
    assert ["--headless" in one for one in commands] == [False, True]
    assert all("--master-addr 192.168.1.10 --master-port 29501" in " ".join(one)
               for one in commands)  # fmt: skip
    mine = cli(*words, "--node-rank", "1", "--json").json["data"]
    assert mine["argv"][-1] == "--headless"
    assert mine["nodes"] == 2
    # Nothing of it may be bound to this machine alone.
    assert "VLLM_HOST_IP" not in mine["env"]


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--pipeline-parallel-size", "2"], "does not go with MTP"),
        (["-pp=2"], "does not go with MTP"),
        (["--api-key", "x"], "--api-key-file"),
        (["--port=1"], "--port of llmtp"),
        (["--max_model_len", "99"], "--ctx of llmtp"),
        (["-sc", "{}"], "--n-max of llmtp"),
        (["--spec-tokens", "9"], "--n-max of llmtp"),
        (["--uds", "/x"], "hides the server"),
        (["--pipeline-parallel", "2"], "in full"),
        (["--api-k", "x"], "in full"),
        (["--hos", "0.0.0.0"], "in full"),
        (["--speculative-config.num_speculative_tokens", "9"], "--n-max of llmtp"),
        (["--hf-token", "x"], "HF_TOKEN"),
        (["--disable-log-stats"], "hides from llmtp"),
        (["--nnodes", "2"], "use --nodes"),
        (["word"], "is no flag of vLLM"),
    ],
)
def test_flags_that_contradict_the_plan_are_refused(extra: Sequence[str], told: str) -> None:
    engine = VllmEngine(Path("vllm"), "PATH", "0.32.0", on_cpu=False, env={})
    with pytest.raises(UsageError) as caught:
        build_vllm_command(plan("31b", card(80)), engine, Serving("127.0.0.1", 8000), extra)
    (finding,) = caught.value.findings
    assert told in f"{finding.message} {finding.fix}"
    assert finding.fix


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--nodes", "3", "--master", "10.0.0.1"], 2, "cannot share the 32 heads"),
        (["--parallel", "0"], 2, "1 to 1024"),
        (
            ["--nodes", "2", "--master", "10.0.0.1", "--node-rank", "1", "--make-key"],
            2,
            "for machine 0",
        ),
        (["--", "-pp=2"], 2, "does not go with MTP"),
        (["--nodes", "2"], 2, "needs --master"),
        (["--nodes", "2", "--master", "host"], 2, "is not an address"),
        (["--nodes", "2", "--master", "10.0.0.1:99999"], 2, "is not an address"),
        (["--nodes", "2", "--node-rank", "2", "--master", "10.0.0.1"], 2, "0 to 1"),
        (["--node-rank", "1"], 2, "add --nodes 2"),
        (["--kv-type", "q4_0"], 2, "no KV cache of type q4_0"),
        (["--ctx", "1000000"], 2, "trained for"),
        (["--draft", "off", "--n-max", "2"], 2, "needs a drafter"),
        (["--quant", "Q4_K_M"], 8, "bf16, w4a16"),
        (["--mmproj", "x.gguf"], 2, "part of the model"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    cli: Cli, words: Sequence[str], code: int, told: str
) -> None:
    result = cli("run", "gemma-4-31b", "--engine", "vllm", "--dry-run", "--offline", *words)
    assert_one_clear_line(result, code, told)


def test_without_mtp_a_pipeline_is_the_users_own_business(cli: Cli) -> None:
    argv = dry_run(cli, "gemma-4-31b", "--draft", "off", "--", "--pipeline-parallel-size", "2")
    assert argv[-2:] == ["--pipeline-parallel-size", "2"]
    assert "--speculative-config" not in argv


def test_several_machines_are_no_business_of_llama_server(cli: Cli) -> None:
    result = cli("run", "demo", "--nodes", "2", "--master", "10.0.0.1", "--dry-run")
    assert_one_clear_line(result, 2, "--engine vllm")


def test_a_key_goes_by_the_environment(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("secret-of-the-test\n")
    words = ("run", "gemma-4-31b", "--engine", "vllm", "--dry-run", "--offline",
             "--api-key-file", str(file))  # fmt: skip
    plain, told = cli(*words), cli(*words, "--json")
    assert "secret-of-the-test" not in plain.stdout + told.stdout
    command = plain.stdout.splitlines()[1:]
    program = tmp_path / "vllm"
    program.write_text(f"#!{sys.executable}\nimport os\nprint(os.environ['VLLM_API_KEY'])\n")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", "\n".join(command)], env={"PATH": path}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "secret-of-the-test"
    file.unlink()
    without = subprocess.run(
        ["sh", "-c", "\n".join(command)], env={"PATH": path}, capture_output=True, text=True
    )
    assert (without.returncode, without.stdout) == (1, "") or without.returncode == 2


def test_variables_that_would_change_the_plan_are_not_passed_on(cli: Cli) -> None:
    env = {"VLLM_API_KEY": "secret-of-the-test", "VLLM_CPU_KVCACHE_SPACE": "40"}
    words = ("run", "gemma-4-31b", "--engine", "vllm", "--dry-run", "--offline")
    told = cli(*words, "--json", env=env)
    data = told.json["data"]
    assert {data["env"][name] for name in env} == {None}
    assert "secret-of-the-test" not in told.stdout
    assert "-u VLLM_API_KEY -u VLLM_CPU_KVCACHE_SPACE" in cli(*words, env=env).stdout


def fake_vllm(tmp_path: Path, version: str, distribution: str = "vllm") -> Path:
    """A program of a virtual environment where pip has put that version."""
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    (packages / f"{distribution}-{version}.dist-info").mkdir(parents=True)
    program = tmp_path / "venv" / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(f"#!{program.parent / 'python'}\n")
    program.chmod(0o755)
    return program


def test_one_that_is_too_old_is_named(cli: Cli, vllm_pairs: Path, tmp_path: Path) -> None:
    program = fake_vllm(tmp_path, "0.20.1")
    result = cli("run", vllm_pairs / "main", "--engine", program, "--dry-run")
    assert_one_clear_line(result, 9, "is vLLM 0.20.1", "0.21")


def test_one_for_gpus_says_so_where_there_is_none(
    cli: Cli, vllm_pairs: Path, tmp_path: Path
) -> None:
    program = fake_vllm(tmp_path, "0.32.0")
    assert cli("run", vllm_pairs / "main", "--engine", program, "--dry-run").code == 0
    result = cli("run", vllm_pairs / "main", "--engine", program, "--ask", "x")
    assert_one_clear_line(result, 9, "no NVIDIA GPU is seen")


def test_none_at_all_is_no_reason_for_a_traceback(cli: Cli, vllm_pairs: Path) -> None:
    result = cli("run", vllm_pairs / "main", "--engine", "vllm", "--ask", "x", env={"PATH": ""})
    assert_one_clear_line(result, 9, "no vLLM on this machine", "pip install vllm")
    result = cli("run", vllm_pairs / "main", "--engine", "/nowhere/vllm", "--ask", "x")
    assert_one_clear_line(result, 9, "no vLLM at /nowhere/vllm")


def test_a_plan_is_told_like_any_other(cli: Cli) -> None:
    result = cli("plan", "gemma-4-31b", "--engine", "vllm", "--offline", "--vram", "80GiB,80GiB",
                 "--json")  # fmt: skip
    data = result.json["data"]
    assert (data["engine"], data["tensor_parallel"], data["memory_share"]) == ("vllm", 2, 0.9)
    shown = cli("plan", "gemma-4-31b", "--engine", "vllm", "--offline", "--vram", "80GiB").stdout
    assert "vLLM takes 0.90 of its memory" in shown
    assert "ubatch" not in shown
    small = cli("plan", "gemma-4-31b", "--engine", "vllm", "--offline", "--vram", "48GiB", "--json")
    assert small.json["data"]["quant"] == "W4"


def test_a_smaller_model_is_taken_where_the_first_does_not_fit() -> None:
    small = replace(reference("31b", "W4", 4.25))
    fits = make_vllm_plan(small, machine(card(40)), Wishes())
    assert fits.ctx_size // fits.parallel == 32768
    with pytest.raises(DoesNotFitError):
        plan("31b", card(40))


def test_a_real_card_is_asked_by_the_driver(cli: Cli, vllm_pairs: Path, tmp_path: Path) -> None:
    env = fake_card(tmp_path)
    words = ("run", vllm_pairs / "main", "--engine", fake_vllm(tmp_path, "0.32.0"), "--dry-run",
             "--json")  # fmt: skip
    data = cli(*words, env=env).json["data"]
    (device,) = data["devices"]
    assert (device["source"], device["id"], data["tensor_parallel"]) == ("NVML", "CUDA0", 1)
    assert data["n_max"] == 1
    share = data["argv"][data["argv"].index("--gpu-memory-utilization") + 1]
    assert float(share) == data["memory_share"] <= device["free_bytes"] / device["total_bytes"]
    hidden = cli(*words, env=env | {"CUDA_VISIBLE_DEVICES": ""}).json["data"]
    assert hidden["devices"][0]["source"] == "recipe"
