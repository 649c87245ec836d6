"""`plan --users`: the engine, the cards, where MTP ends, and the words for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import Cli, Result, assert_one_clear_line, fake_engine
from test_sizing import KV, SIZES


def sized(cli: Cli, *words: str | Path) -> Result:
    result = cli("plan", *words, "--json", env={"HF_HUB_OFFLINE": "1"})
    assert result.code == 0, result.stdout
    return result


@pytest.mark.parametrize("size", SIZES)
def test_every_profile_can_be_sized_without_a_file(cli: Cli, size: str) -> None:
    data = sized(cli, f"gemma-4-{size}", "--users", "100", "--vram", "H100").json["data"]
    sizing = data["sizing"]
    assert (sizing["engine"], sizing["users"], sizing["ctx_per_user"]) == ("vllm", 100, 8192)
    assert (sizing["card"], sizing["nodes"], data["parallel"]) == ("H100", 1, 1)
    assert sizing["slots"] * sizing["replicas"] >= 100
    full, sliding, window = KV[size]
    assert sizing["kv_per_user_bytes"] >= full * 8192 + sliding * window
    assert sizing["total_bytes"] <= sizing["cards"] * sizing["card_bytes"]
    assert sizing["command"].startswith(f"llmtp run gemma-4-{size} --engine vllm")
    assert sizing["engines"][0]["reason"] == "64 slots at most"
    assert {arm["n_max"] for arm in sizing["batches"][0]["arms"]} >= {1}


def test_few_users_have_slots_and_a_plan_of_that(cli: Cli) -> None:
    words = ("gemma-4-12b", "--users", "4", "--vram", "24GiB")
    data = sized(cli, *words).json["data"]
    sizing = data["sizing"]
    assert (sizing["engine"], sizing["cards"], sizing["slots"]) == ("llama-server", 1, 4)
    assert (data["parallel"], data["ctx_size"], data["ctx_per_slot"]) == (4, 32768, 8192)
    assert sizing["total_bytes"] == data["devices"][0]["used_bytes"]
    assert sizing["kv_bytes"] == data["devices"][0]["kv_bytes"]
    assert sizing["command"].startswith("llmtp run gemma-4-12b --parallel 4 --ctx 32k")
    assert sizing["engine_args"] == []
    none = sized(cli, "gemma-4-12b", "--vram", "24GiB").json["data"]
    assert none["sizing"] is None


def test_a_file_is_sized_by_its_shape(cli: Cli, real_size: list[Path]) -> None:
    main, draft = real_size
    words = (main, "--draft", draft, "--users", "100", "--ctx-per-user", "16k", "--vram", "H100")
    sizing = sized(cli, *words).json["data"]["sizing"]
    full, sliding, window = KV["12b"]
    assert sizing["kv_per_user_bytes"] >= full * 16384 + sliding * window
    assert sizing["command"].startswith("llmtp run gemma-4-12b --engine vllm")
    assert any("not this file" in reason for reason in sizing["why"])


def test_the_cards_of_this_machine_are_counted(
    cli: Cli, tmp_path: Path, real_size: list[Path]
) -> None:
    """Of two of a kind one is in use, and no measure for others."""
    main, draft = real_size
    words = (main, "--draft", draft, "--users", "300", "--engine", fake_engine(tmp_path))
    result = cli("plan", *words, "--json", env={"FAKE_ENGINE": "twins"})
    sizing = result.json["data"]["sizing"]
    assert (sizing["card"], sizing["cards_named"]) == ("NVIDIA Twin", 2)
    more = sizing["cards"] - 2
    assert more > 0
    assert any(f"{more} more than are here" in reason for reason in sizing["why"])


def test_without_a_card_the_number_of_cards_is_unknown(cli: Cli) -> None:
    body = sized(cli, "gemma-4-e2b", "--users", "100").json
    sizing = body["data"]["sizing"]
    if sizing["card"] is None:
        assert (sizing["fits"], sizing["cards"], sizing["other_bytes"]) == (None, None, None)
        assert body["findings"][-1]["rule"] == "no-card"


def test_without_a_drafter_there_is_nothing_to_gain(cli: Cli) -> None:
    words = ("gemma-4-31b", "--users", "100", "--vram", "H200")
    for off in (("--draft", "off"), ("--n-max", "off")):
        sizing = sized(cli, *words, *off).json["data"]["sizing"]
        assert (sizing["n_max"], sizing["batches"], sizing["draft_bytes"]) == (0, [], 0)
        assert sizing["command"].endswith(" ".join(off))


def test_a_person_sees_the_answer_first_and_what_to_type_last(cli: Cli) -> None:
    words = ("plan", "gemma-4-31b", "--users", "90", "--ctx-per-user", "16k", "--vram", "H100")
    for columns in (60, 100):
        env = {"HF_HUB_OFFLINE": "1", "COLUMNS": str(columns)}
        lines = cli(*words, env=env).stdout.splitlines()
        assert lines[0] == (
            "gemma-4-31b for 90 users with 16,384 tokens each: vLLM on 4 cards of 79.65 GiB"
        )
        assert lines[-1].startswith("next: llmtp run gemma-4-31b --engine vllm")
        assert any(line.split()[:1] == ["90"] and "all of a server" in line for line in lines)
        assert any(
            line.startswith("• KV of a user = 10 full layers x 4 heads x ") for line in lines
        )
        assert ("prose" in next(line for line in lines if "at once  " in line)) == (columns == 100)
        tables = [line for line in lines[1:] if not line.startswith(("•", "vLLM", "next"))]
        assert max(map(len, tables)) <= columns


def test_the_break_even_is_marked_where_it_is(cli: Cli) -> None:
    words = ("gemma-4-e2b", "--users", "4", "--vram", "24GiB")
    ends = sized(cli, *words).json["data"]["sizing"]["break_even"]
    shown = cli("plan", *words, env={"HF_HUB_OFFLINE": "1"}).stdout.splitlines()
    for one in ends:
        at = next(line for line in shown if f"n-max {one['n_max']} ends" in line).split()[0]
        assert int(at) // 2 < one["users"] <= int(at)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--ctx-per-user", "8k"], ["--ctx-per-user goes with --users", "add --users"]),
        (["--users", "0"], ["--users 0 is not possible", "1 to 100,000"]),
        (["--users", "100001"], ["--users 100001 is not possible", "1 to 100,000"]),
        (["--users", "many"], ["--users", "many"]),
        (["--users", "2", "--ctx-per-user", "0"], ["--ctx-per-user '0'", "8192 or 32k"]),
        (["--users", "2", "--ctx-per-user", "300k"], ["trained for", "262,144"]),
        (["--users", "2", "--ctx", "8k"], ["--users and --ctx exclude", "leave out --ctx"]),
        (["--users", "2", "--parallel", "2"], ["--users and --parallel exclude"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(cli: Cli, words: list[str], says: list[str]) -> None:
    vram = ("--vram", "80GiB")
    result = cli("plan", "gemma-4-12b", *vram, *words, env={"HF_HUB_OFFLINE": "1"})
    assert_one_clear_line(result, 2, *says)


def test_cards_that_hold_nothing_are_said_to(cli: Cli) -> None:
    words = ("plan", "gemma-4-e2b", "--users", "80", "--vram", "2GiB")
    result = cli(*words, env={"HF_HUB_OFFLINE": "1"})
    assert_one_clear_line(result, 4, "no number of cards of 2.00 GiB", "--vram 80GiB")


def test_a_model_of_no_release_has_only_slots(cli: Cli) -> None:
    assert_one_clear_line(cli("plan", "crafted", "--users", "65"), 4, "64 slots", "safetensors")


def test_the_default_context_is_no_more_than_the_model_was_trained_for(cli: Cli) -> None:
    sizing = sized(cli, "demo", "--users", "2").json["data"]["sizing"]
    assert (sizing["ctx_per_user"], sizing["engine"]) == (4096, "llama-server")


def test_slots_over_two_cards_are_told_of_vllm(cli: Cli) -> None:
    words = ("gemma-4-12b", "--users", "40", "--vram", "24GiB,24GiB")
    sizing = sized(cli, *words).json["data"]["sizing"]
    assert (sizing["engine"], sizing["cards"], sizing["n_max"]) == ("llama-server", 2, 0)
    assert any("vLLM" in reason for reason in sizing["why"][1:])
    assert sizing["command"].endswith("--n-max off")
