"""The JSON that scripts rely on: its keys are pinned here."""

from __future__ import annotations

from pathlib import Path

from harness import Cli

ENVELOPE = {"schema", "command", "ok", "exit_code", "data", "findings"}
FINDING = {"rule", "level", "message", "expected", "observed", "fix"}
PLACE = {"id", "name", "backend", "total_bytes", "free_bytes", "used_bytes", "weights_bytes",
         "kv_bytes", "compute_bytes", "draft_bytes", "overhead_bytes"}  # fmt: skip
PLAN = {"ctx_size", "ctx_per_slot", "n_max", "mtp", "quant", "parallel", "kv_type", "gpu_layers",
        "argv", "env", "why", "devices", "host", "sources", "is_published", "checkpoints",
        "checkpoint_bytes", "prompt_cache_bytes", "ubatch", "cpu_experts", "tensor_split",
        "margin_bytes", "given_up", "alternatives",
        "step_costs", "step_costs_source", "p_min", "draft_sampling", "tuned"}  # fmt: skip
ALTERNATIVE = {"quant", "repository", "file_bytes", "on_disk", "fits", "ctx_size", "n_max",
               "device", "chosen", "reason", "grid"}  # fmt: skip
SOURCES = {"weights", "kv", "compute", "draft", "mmproj", "overhead", "free"}
MEMORY = {"event", "at", "parts", "planned_bytes", "taken_bytes", "overhead_planned_bytes",
          "overhead_bytes", "difference_bytes"}  # fmt: skip


def test_every_command_has_the_one_envelope(cli: Cli) -> None:
    for command in (["check", "crafted"], ["plan", "crafted"], ["run", "crafted", "--ask", "x"],
                    ["run", "crafted", "--dry-run"]):  # fmt: skip
        body = cli(*command, "--json").json
        assert set(body) == ENVELOPE
        assert (body["schema"], body["command"], body["ok"]) == (1, command[0], True)
        assert (body["exit_code"], body["findings"]) == (0, [])


def test_a_failure_has_it_too_with_at_least_one_error(cli: Cli) -> None:
    for command in (["check", "none"], ["plan", "none"], ["run", "none", "--ask", "x"],
                    ["plan", "crafted", "--bogus"], ["plan"]):  # fmt: skip
        result = cli(*command, "--json")
        assert set(result.json) == ENVELOPE
        assert result.json["ok"] is False
        assert result.json["exit_code"] == result.code != 0
        assert set(result.json["findings"][0]) == FINDING
        assert result.json["findings"][0]["level"] == "error"
        assert result.stderr == ""


def test_plan(cli: Cli) -> None:
    cards = ("--vram", "4GiB,8GiB", "--backend", "vulkan")
    data = cli("plan", "crafted", *cards, "--json").json["data"]
    assert set(data) >= PLAN
    assert set(data["sources"]) == SOURCES
    assert data["is_published"] is False
    assert 0 < data["host"]["mapped_bytes"] < data["host"]["used_bytes"]
    assert [set(place) >= PLACE for place in (*data["devices"], data["host"])] == [True] * 3
    assert [d["total_bytes"] for d in data["devices"]] == [4 << 30, 8 << 30]
    assert (data["given_up"], data["tensor_split"], data["cpu_experts"]) == ([], [], 0)
    (alone,) = data["alternatives"]
    assert set(alone) == ALTERNATIVE
    assert alone["chosen"] is True
    assert [(cell["ctx_size"], cell["mtp"]) for cell in alone["grid"]] == [
        (8192, True),
        (8192, False),
    ]
    assert all(cell["fits"] and cell["used_bytes"] > 0 for cell in alone["grid"])
    assert [d["used_bytes"] > 0 for d in data["devices"]] == [False, True]
    assert (data["n_max"], data["mtp"], data["kv_type"], data["quant"]) == (3, True, "f16", "F32")


def test_a_plan_for_a_short_model_shows_all_that_it_was_trained_for(cli: Cli) -> None:
    (alone,) = cli("plan", "demo", "--json").json["data"]["alternatives"]
    assert [(cell["ctx_size"], cell["mtp"]) for cell in alone["grid"]] == [
        (4096, True),
        (4096, False),
    ]


def test_the_memory_of_a_start(cli: Cli) -> None:
    with cli.start("run", "crafted", "--json") as running:
        event = running.wait_event("memory")
        assert running.interrupt() == 130
    assert set(event) == MEMORY
    for part in event["parts"]:
        assert set(part) == {"part", "planned_bytes", "engine_bytes"}


def test_what_is_given_up(cli: Cli, crafted: Path) -> None:
    """A card with no room, and an n-max that was asked for: only the place goes."""
    args = ("plan", crafted / "crafted.gguf", "--vram", "100MiB", "--n-max", "2", "--json")
    body = cli(*args).json
    (step,) = body["data"]["given_up"]
    assert step == {"step": "offload", "from": "all on the GPU", "to": "all on the CPU"}
    assert [finding["rule"] for finding in body["findings"]] == ["step-down-offload"]
    assert body["data"]["n_max"] == 2


def test_plan_without_mtp(cli: Cli) -> None:
    data = cli("plan", "crafted", "--draft", "off", "--json").json["data"]
    assert (data["n_max"], data["mtp"]) == (0, False)
    assert "--spec-type" not in data["argv"]


def test_check(cli: Cli) -> None:
    data = cli("check", "crafted", "--json").json["data"]
    assert set(data) == {"main", "draft", "compatible", "fetched_bytes"}
    for part in ("main", "draft"):
        assert set(data[part]) >= {"path", "architecture", "name", "size_label", "file_bytes"}


def test_check_of_a_lone_drafter_tells_what_it_is(cli: Cli, crafted: Path) -> None:
    body = cli("check", crafted / "mtp-crafted.gguf", "--json").json
    assert (body["exit_code"], body["data"]["compatible"], body["data"]["draft"]) == (
        3,
        False,
        None,
    )
    assert body["data"]["main"]["architecture"] == "gemma4-assistant"
