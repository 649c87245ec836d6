"""What a driver does in silence, and who has the card: seen, said, and stepped down from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_card import fake_card
from harness import Cli, fake_engine
from make_real_size import make_real_size_pair

from llmtp.machine.cgroup import least_room, oom_kills
from llmtp.machine.devices import parse_list_devices
from llmtp.units import GiB, MiB


@pytest.fixture(scope="module")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 12B whose weights nobody reads."""
    folder = tmp_path_factory.mktemp("hollow")
    return make_real_size_pair(folder, 0, "Q4_K", "Q8_0", whole=False)[0]


def taking(folder: Path, *mib: int) -> dict[str, str]:
    """A card on which each start takes so much."""
    file = folder / "takes"
    file.write_text("\n".join(map(str, mib)))
    return fake_card(folder) | {"FAKE_ENGINE_TAKES": str(file)}


def test_what_is_not_on_the_card_is_seen_and_less_is_tried(
    cli: Cli, tmp_path: Path, hollow: Path
) -> None:
    result = cli("run", hollow, "--ask", "x", "--json", env=taking(tmp_path, 7000, 20000))
    body = result.json
    assert (body["ok"], body["data"]["answer"]) == (True, "The answer")
    (told,) = (one["message"] for one in body["findings"] if one["rule"] == "spilled")
    assert "only 6.84 GiB are on the card" in told
    assert "trying again with less: ubatch 512 → " in told
    assert body["data"]["given_up"]


def test_a_driver_that_wants_less_than_an_h100_has_not_spilled(
    cli: Cli, tmp_path: Path, hollow: Path
) -> None:
    """Its share is only a default until a start has taught it."""
    env = fake_card(tmp_path)
    (planned,) = cli("plan", hollow, "--json", env=env).json["data"]["devices"]
    mib = (planned["used_bytes"] - planned["overhead_bytes"]) // MiB + 330
    body = cli("run", hollow, "--ask", "x", "--json", env=env | {"TAKEN_MIB": str(mib)}).json
    assert (body["data"]["given_up"], body["findings"]) == ([], [])


def test_after_the_last_try_a_server_that_spilled_runs_on(
    cli: Cli, tmp_path: Path, hollow: Path
) -> None:
    env = taking(tmp_path, *[2000] * 9)
    body = cli("run", hollow, "--ask", "x", "--n-max", "3", "--json", env=env).json
    assert (body["ok"], body["data"]["answer"]) == (True, "The answer")
    told = [one["message"] for one in body["findings"] if one["rule"] == "spilled"]
    assert len(told) == 5
    assert [("trying again" in one) for one in told] == [True] * 4 + [False]


def test_what_may_not_be_given_up_runs_slowly_and_says_so(
    cli: Cli, tmp_path: Path, hollow: Path
) -> None:
    env = taking(tmp_path, 7000)
    body = cli("run", hollow, "--ask", "x", "--strict", "--json", env=env).json
    assert (body["ok"], body["data"]["given_up"]) == (True, [])
    assert [one["rule"] for one in body["findings"]] == ["spilled"]


def test_a_start_much_slower_than_before_has_spilled(
    cli: Cli, tmp_path: Path, hollow: Path
) -> None:
    """Where no driver tells: by the proof of the last start of its kind."""
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "FAKE_ENGINE": "gpu"}
    args = ("run", hollow, "--ask", "x", "--json", "--engine", fake_engine(tmp_path))
    fast = cli(*args, env=env).json
    assert (fast["ok"], fast["data"]["given_up"], fast["findings"]) == (True, [], [])
    (speed,) = json.loads((tmp_path / "cache" / "llmtp" / "speeds.json").read_text()).values()
    assert speed == pytest.approx(17 / 0.2)
    a_little = cli(*args, env=env | {"FAKE_ENGINE_MS": "380"}).json
    assert a_little["findings"] == []
    slow = cli(*args, env=env | {"FAKE_ENGINE_MS": "900"}).json
    (told, *_) = (one["message"] for one in slow["findings"] if one["rule"] == "spilled")
    assert "it decodes 18.9 tokens/s, where such a start had 85.0: it seems to have" in told
    assert slow["data"]["given_up"]


def test_a_slow_start_with_all_of_it_on_the_card_is_only_said(
    cli: Cli, tmp_path: Path, hollow: Path
) -> None:
    """On a battery, for example: less memory would not help."""
    env = fake_card(tmp_path) | {"TAKEN_MIB": "20000"}
    args = ("run", hollow, "--ask", "x", "--json")
    assert cli(*args, env=env).json["findings"] == []
    slow = cli(*args, env=env | {"FAKE_ENGINE_MS": "900"}).json
    assert (slow["data"]["given_up"], [one["rule"] for one in slow["findings"]]) == (
        [],
        ["slow-start"],
    )


@pytest.mark.parametrize("record", ["{", "[]", '{"a": -1, "b": "x", "c": true, "d": 1e300}'])
def test_speeds_that_cannot_be_are_not_remembered(
    cli: Cli, tmp_path: Path, hollow: Path, record: str
) -> None:
    file = tmp_path / "cache" / "llmtp" / "speeds.json"
    file.parent.mkdir(parents=True)
    file.write_text(record)
    env = fake_card(tmp_path) | {"TAKEN_MIB": "20000"}
    assert cli("run", hollow, "--ask", "x", env=env).code == 0
    assert len(json.loads(file.read_text())) == 1


def test_plan_names_who_has_the_card(cli: Cli, tmp_path: Path, hollow: Path) -> None:
    env = fake_card(tmp_path) | {"OTHERS": "Xorg:200,blender:16000"}
    body = cli("plan", hollow, "--json", env=env).json
    (finding,) = (one for one in body["findings"] if one["rule"] == "card-in-use")
    assert "taken by blender (15.62 GiB), Xorg (200 MiB)" in finding["message"]
    alone = cli("plan", hollow, "--json", env=env | {"OTHERS": "Xorg:200"}).json
    assert alone["findings"] == []


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_group_with_the_least_room_counts(tmp_path: Path) -> None:
    """Version 2: ours has no limit, the one above it has."""
    root, ours = tmp_path / "cgroup", tmp_path / "self"
    ours.write_text("0::/user.slice/app.scope\n")
    write(root / "user.slice" / "app.scope", memory__max="max\n", memory__current="7\n",
          memory__events="low 0\noom_kill 3\n")  # fmt: skip
    (root / "user.slice" / "memory.max").write_text(f"{4 * GiB}\n")
    (root / "user.slice" / "memory.current").write_text(f"{3 * GiB}\n")
    (root / "user.slice" / "memory.stat").write_text(f"active_file {GiB}\ninactive_file 0\n")
    room = least_room(root, ours)
    assert room is not None
    assert (room.limit_bytes, room.free_bytes) == (4 * GiB, 2 * GiB)
    assert oom_kills(root, ours) == 3


def test_version_1_and_containers_are_read_too(tmp_path: Path) -> None:
    """The path of a container's group is not there; its root is the group."""
    root, ours = tmp_path / "cgroup", tmp_path / "self"
    ours.write_text("9:name=systemd:/\n4:memory:/docker/0123\n0::/\n")
    write(root / "memory", memory__limit_in_bytes=f"{GiB}\n",
          memory__usage_in_bytes=f"{900 * MiB}\n", memory__stat="total_inactive_file 0\n",
          memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")  # fmt: skip
    room = least_room(root, ours)
    assert room is not None
    assert room.free_bytes == GiB - 900 * MiB
    assert oom_kills(root, ours) == 2


def test_without_groups_the_whole_system_counts(tmp_path: Path) -> None:
    nothing, vmstat = tmp_path / "none", tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 7\noom_kill 5\n")
    assert least_room(nothing, nothing) is None
    assert oom_kills(nothing, nothing, vmstat) == 5
    assert oom_kills(nothing, nothing, nothing) is None


def test_integrated_gpus_share_ram() -> None:
    listed = parse_list_devices(
        "ggml_vulkan: Found 2 Vulkan devices:\n"
        "ggml_vulkan: 0 = Intel(R) Iris(R) Xe (intel) | uma: 1 | fp16: 1 | warp size: 32\n"
        "ggml_vulkan: 1 = NVIDIA Imaginary (NVIDIA) | uma: 0 | fp16: 1 | warp size: 32\n"
        "Available devices:\n"
        "  Vulkan0: Intel(R) Iris(R) Xe (16000 MiB, 12000 MiB free)\n"
        "  Vulkan1: NVIDIA Imaginary (8000 MiB, 7000 MiB free)\n"
        "  MTL0: Apple M3 Max (49152 MiB, 49000 MiB free)\n"
    )
    assert [device.shares_ram for device in listed] == [True, False, True]
