"""Cards by name: what `--vram H100` means, and which card a driver speaks of."""

from __future__ import annotations

import pytest
from harness import Cli, assert_one_clear_line

from llmtp.machine.peaks import known_cards, peak_of


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000"),
        ("rtx 3090", "RTX 3090"),
    ],
)
def test_cards_are_known_by_the_names_of_their_drivers(name: str, known: str) -> None:
    assert peak_of(name).name == known


def test_other_cards_are_not_taken_for_them() -> None:
    others = ["", "imagined card 0", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA H100 NVL",
              "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "Apple M3 Max"]  # fmt: skip
    assert {peak_of(name).is_known for name in others} == {False}
    assert {peak_of(name).name for name in known_cards()} == set(known_cards())


def test_vram_takes_the_names_of_cards(cli: Cli) -> None:
    words = ("plan", "crafted", "--vram", "rtx 3090,MI300X,12GiB", "--json")
    devices = cli(*words).json["data"]["devices"]
    assert [(one["id"], one["name"]) for one in devices] == [
        ("CUDA0", "RTX 3090"), ("ROCm1", "MI300X"), ("CUDA2", "imagined card 2"),
    ]  # fmt: skip
    assert devices[0]["total_bytes"] == 24_576 << 20
    assert cli(*words, "--backend", "vulkan").json["data"]["devices"][0]["id"] == "Vulkan0"


def test_another_name_is_one_clear_line(cli: Cli) -> None:
    for text in ("H900", "", "80GiB,"):
        result = cli("plan", "crafted", "--vram", text)
        assert_one_clear_line(result, 2, "neither a size nor a card", "12GiB", "RTX 4090")
