"""What the engine says that it allocates, and the plan against it."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path

import pytest
from fake_card import fake_card
from harness import Cli, fake_engine

from llmtp.machine.learned import recall
from llmtp.metrics.allocations import Allocations
from llmtp.metrics.comparison import compare
from llmtp.plan.memory import Parts
from llmtp.units import MiB

CUDA_LOG = """\
0.00.5 I load_tensors:        CUDA0 model buffer size =  6390.19 MiB
0.00.5 I load_tensors:   CPU_Mapped model buffer size =   540.00 MiB
0.00.5 I load_tensors:   CPU_REPACK model buffer size =   100.00 MiB
0.00.6 I llama_context:  CUDA_Host  output buffer size =     1.00 MiB
0.00.6 I llama_kv_cache:      CUDA0 KV buffer size =   128.00 MiB
0.00.6 I llama_kv_cache:      CUDA0 KV buffer size =   480.00 MiB
0.00.7 I sched_reserve:      CUDA0 compute buffer size =   999.00 MiB
0.00.7 I sched_reserve:      CUDA0 compute buffer size =   129.52 MiB
0.00.7 I sched_reserve:  CUDA_Host compute buffer size =    39.53 MiB
0.00.8 I common_speculative_init_result: loading draft model '/x/mtp.gguf'
0.00.9 I load_tensors:        CUDA0 model buffer size =   226.90 MiB
0.00.9 I sched_reserve:      CUDA0 compute buffer size =    72.50 MiB
0.00.9 I nothing of size = 5 MiB here
"""
PLANNED = Parts(weights=6390 * MiB, kv=608 * MiB, compute=130 * MiB, draft=299 * MiB,
                overhead=629 * MiB)  # fmt: skip


def said(log: str) -> Allocations:
    return reduce(Allocations.add, log.splitlines(), Allocations())


def test_buffers_are_added_up_by_owner_part_and_place() -> None:
    found = said(CUDA_LOG)
    assert found.total("main", "kv", "device") == 608 * MiB
    assert found.total("main", "compute", "device") == round(129.52 * MiB), "the last one stays"
    assert found.total("main", "compute", "host") == round(39.53 * MiB)
    assert found.total("main", "weights", "host") == 540 * MiB, "without the copies"
    assert found.repacked == 100 * MiB
    assert found.total("draft", "weights", "device") == round(226.9 * MiB)
    assert found.total("draft", "kv", "device") is None


def test_a_plan_is_compared_and_the_drivers_share_is_what_no_line_names() -> None:
    result = compare(PLANNED, said(CUDA_LOG), "device", 8061 * MiB, drafts=True)
    named = 6390.19 + 608 + 129.52 + 226.9 + 72.5
    assert result.overhead_bytes == pytest.approx((8061 - named) * MiB, abs=4)
    assert result.difference_bytes == 8061 * MiB - PLANNED.total
    assert [part.part for part in result.parts] == ["weights", "kv", "compute", "draft"]


def test_what_is_not_told_stays_unknown() -> None:
    silent = compare(PLANNED, said(""), "device", 8061 * MiB, drafts=True)
    assert silent.overhead_bytes is None
    assert {part.engine_bytes for part in silent.parts} == {None}
    assert compare(PLANNED, said(CUDA_LOG), "device", None, drafts=True).difference_bytes is None


def test_run_tells_it_of_the_real_engine(cli: Cli) -> None:
    with cli.start("run", "crafted", "--json") as running:
        event = running.wait_event("memory")
        assert running.interrupt() == 130
    parts = {one["part"]: one for one in event["parts"]}
    assert list(parts) == ["weights", "kv", "compute", "draft"]
    for name in ("weights", "kv"):
        planned, real = parts[name]["planned_bytes"], parts[name]["engine_bytes"]
        assert real == pytest.approx(planned, abs=0.02 * MiB), name
    assert event["planned_bytes"] > sum(one["planned_bytes"] for one in event["parts"])
    assert event["taken_bytes"] is None


def test_only_verbose_shows_it_to_a_person(cli: Cli) -> None:
    quiet, verbose = (cli("run", "crafted", "--ask", "x", *more) for more in ((), ("-v",)))
    assert "planned" not in quiet.stderr
    lines = verbose.stderr.splitlines()
    start = next(i for i, line in enumerate(lines) if "planned" in line)
    assert [line.split()[0] for line in lines[start + 1 : start + 7]] == [
        "weights", "KV", "compute", "drafter", "overhead", "total",
    ]  # fmt: skip
    assert verbose.stdout == quiet.stdout


def test_what_a_start_taught_is_used_by_the_next_plan(cli: Cli, tmp_path: Path) -> None:
    """As `run` writes it after a start on a card of NVML, which cannot be had here."""
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "FAKE_ENGINE": "gpu"}
    args = ("plan", "crafted", "--engine", fake_engine(tmp_path))
    (before,) = cli(*args, "--json", env=env).json["data"]["devices"]
    name = "cuda: NVIDIA Imaginary 4090"
    taught = GOOD | {"overhead_bytes": before["overhead_bytes"] - 100 * MiB,
                     "planned_bytes": 700 * MiB, "taken_bytes": 600 * MiB}  # fmt: skip
    file = tmp_path / "cache" / "llmtp" / "devices.json"
    file.write_text(json.dumps({name: {"drafter": taught}}))
    after = cli(*args, "--json", env=env).json["data"]
    assert after["devices"][0]["overhead_bytes"] == before["overhead_bytes"] - 100 * MiB
    assert after["sources"]["overhead"] == "measured here on 2026-11-25"
    other = cli(*args, "--draft", "off", "--json", env=env).json["data"]
    assert "H100" in other["sources"]["overhead"], "another kind of start"
    shown = cli(*args, "-v", env=env).stdout
    assert "took 600.0 MiB where 700.0 were planned" in shown


GOOD = {"overhead_bytes": 600 * MiB, "planned_bytes": 1, "taken_bytes": 1, "at": "2026-11-25"}
BAD = ["7", '"1"', "[]", "null", json.dumps(GOOD | {"overhead_bytes": 1 << 40}),
       json.dumps(GOOD | {"overhead_bytes": -1}), json.dumps(GOOD | {"taken_bytes": 10**23}),
       json.dumps(GOOD | {"at": "\x1b[31m2026"}), json.dumps(GOOD | {"more": 1})]  # fmt: skip


@pytest.mark.parametrize(
    "record",
    ["", "[]", "{", "[" * 100_000, '{"cuda: NVIDIA Imaginary 4090": 7}']
    + [f'{{"cuda: NVIDIA Imaginary 4090": {{"drafter": {bad}}}}}' for bad in BAD],
    ids=range(5 + len(BAD)),
)
def test_a_record_that_cannot_be_used_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "llmtp" / "devices.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"cuda: NVIDIA Imaginary 4090": {"drafter": GOOD}}))
    assert list(recall("NVIDIA Imaginary 4090", "cuda")) == ["drafter"]
    file.write_text(record)
    assert recall("NVIDIA Imaginary 4090", "cuda") == {}


def test_a_plan_goes_on_without_a_record(cli: Cli, tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "FAKE_ENGINE": "gpu"}
    file = tmp_path / "cache" / "llmtp" / "devices.json"
    file.parent.mkdir(parents=True)
    engine = fake_engine(tmp_path)
    for record in ("{", f'{{"cuda: NVIDIA Imaginary 4090": {{"drafter": {BAD[-1]}}}}}'):
        file.write_text(record)
        result = cli("plan", "crafted", "--engine", engine, "--json", env=env)
        assert result.code == 0, result.stdout
        assert "H100" in result.json["data"]["sources"]["overhead"]


def test_a_share_that_another_program_made_small_is_not_believed_whole(
    cli: Cli, tmp_path: Path
) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "FAKE_ENGINE": "gpu"}
    args = ("plan", "crafted", "--engine", fake_engine(tmp_path), "--json")
    (before,) = cli(*args, env=env).json["data"]["devices"]
    file = tmp_path / "cache" / "llmtp" / "devices.json"
    record = {"drafter": GOOD | {"overhead_bytes": 1 * MiB}}
    file.write_text(json.dumps({"cuda: NVIDIA Imaginary 4090": record}))
    (after,) = cli(*args, env=env).json["data"]["devices"]
    assert after["overhead_bytes"] == before["overhead_bytes"] // 2


@pytest.fixture
def card(tmp_path: Path) -> dict[str, str]:
    return fake_card(tmp_path) | {"FAKE_ENGINE_LOG": CUDA_LOG}


@pytest.mark.parametrize("hides", ["", "1"])
def test_a_start_teaches_the_next_plan_on_that_card(
    cli: Cli, card: dict[str, str], hides: str
) -> None:
    """By what the driver says of the process, or in a container by what became less."""
    named = 6390.19 + 608 + 129.52 + 226.9 + 72.5
    env = card | {"TAKEN_MIB": str(round(named) + 700), "HIDES_PROCESSES": hides}
    (before,) = cli("plan", "crafted", "--json", env=env).json["data"]["devices"]
    assert before["source"] == "NVML"
    answered = cli("run", "crafted", "--ask", "x", "-v", env=env)
    assert answered.code == 0, answered.stderr
    (line,) = (line for line in answered.stderr.splitlines() if line.startswith("overhead"))
    assert line.split()[1:] == [f"{before['overhead_bytes'] / MiB:.1f}", "699.9"]
    data = cli("plan", "crafted", "--json", env=env).json["data"]
    assert data["devices"][0]["overhead_bytes"] == pytest.approx(700 * MiB, abs=MiB)
    assert data["sources"]["overhead"].startswith("measured here on 20")
    off = cli("plan", "crafted", "--draft", "off", "--json", env=env).json["data"]
    assert off["devices"][0]["overhead_bytes"] == 618 * MiB


def test_what_cannot_be_true_is_not_learned(cli: Cli, card: dict[str, str]) -> None:
    for taken in (100, 20_000):  # less than the engine itself names, and far more
        env = card | {"TAKEN_MIB": str(taken)}
        assert cli("run", "crafted", "--ask", "x", env=env).code == 0
        data = cli("plan", "crafted", "--json", env=env).json["data"]
        assert "H100" in data["sources"]["overhead"]
