"""What `plan` shows a person: verdict, bar, table, and where each number comes from."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from harness import Cli, fake_engine
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from llmtp.cli.render.bars import stacked
from llmtp.cli.render.plans import grid_table
from llmtp.plan.grid import Cell
from llmtp.tried import Alternative

GLYPHS = "█▓▒░▚╱"


@given(
    st.lists(st.integers(0, 1 << 40), min_size=6, max_size=6),
    st.integers(0, 1 << 41),
    st.integers(6, 200),
)
def test_a_bar_is_full_and_shows_every_part(sizes: list[int], total: int, width: int) -> None:
    cells = stacked(sizes, GLYPHS, total, width)
    assert [glyph for glyph, _ in cells] == [*GLYPHS, "·"]
    assert sum(count for _, count in cells) == width
    for size, (_, count) in zip(sizes, cells, strict=False):
        assert (count > 0) == (size > 0)


def test_a_bar_is_as_long_as_its_parts() -> None:
    half = stacked([30, 20, 0, 0, 0, 0], GLYPHS, 100, 10)
    assert half == [("█", 3), ("▓", 2), ("▒", 0), ("░", 0), ("▚", 0), ("╱", 0), ("·", 5)]


def test_the_verdict_comes_first_and_every_row_says_its_source(cli: Cli) -> None:
    lines = cli("plan", "crafted").stdout.splitlines()
    assert lines[0].startswith("crafted: F32, context 8,192, n-max 3")
    assert lines[1].startswith("fits: ")
    assert lines[1].endswith("to spare (margin 1.00 GiB)")
    bar = next(line for line in lines if "█" in line)
    assert bar.split()[0] == "RAM"
    rows = {line[2:10].strip(): line for line in lines if line[:1] in GLYPHS and line[1:2] == " "}
    assert list(rows) == ["weights", "KV cache", "compute", "drafter", "overhead"]
    assert rows["weights"].rstrip().endswith("header")
    assert "b10068" in rows["compute"]


def test_in_a_narrow_terminal_sources_stand_below(cli: Cli) -> None:
    args = ("plan", "crafted", "--vram", "1GiB,2GiB")
    wide = cli(*args, env={"COLUMNS": "140"}).stdout
    narrow = cli(*args, env={"COLUMNS": "60"}).stdout
    assert "weights: header" not in wide
    assert "weights: header" in narrow
    tables = [line for line in narrow.splitlines() if not line.startswith(("•", "llmtp run"))]
    assert max(map(len, tables)) <= 60
    assert "\x1b" not in narrow


def test_of_two_cards_of_one_name_the_used_one_is_judged(cli: Cli, tmp_path: Path) -> None:
    env = {"FAKE_ENGINE": "twins"}
    shown = cli("plan", "crafted", "--engine", fake_engine(tmp_path), env=env).stdout.splitlines()
    assert "of 23.44 GiB in NVIDIA Twin (CUDA1)" in shown[1]
    assert any(line.startswith("NVIDIA Twin (CUDA1)  ") for line in shown[2:6])


def test_the_place_with_the_layers_is_the_one_that_is_judged(cli: Cli) -> None:
    cards = ("--vram", "1GiB,2GiB", "--backend", "vulkan")
    shown = cli("plan", "crafted", *cards).stdout
    assert "of 2.00 GiB in imagined card 1" in shown.splitlines()[1]
    data = cli("plan", "crafted", *cards, "--json").json["data"]
    assert set(data["sources"]) == {"weights", "kv", "compute", "draft", "mmproj", "overhead",
                                    "free"}  # fmt: skip
    assert data["checkpoints"] == 32


def test_the_grid_keeps_its_columns_where_one_has_no_drafter() -> None:
    """What a quant without a drafter takes stands in the columns without one."""
    cells = [Cell(8192, True, 3 << 30, True), Cell(8192, False, 2 << 30, False)]
    rows = [
        Alternative("A", "o/r", 1 << 30, False, 8192, 3, "GPU", True, None, tuple(cells)),
        Alternative("B", "o/r", 1 << 30, False, None, None, None, False, "no", (cells[1],)),
        Alternative("C", "o/r", 1 << 30, False, None, None, None, False, "gone", ()),
    ]
    sheet = Console(width=100, file=StringIO())
    sheet.print(grid_table(rows, 100))
    assert isinstance(sheet.file, StringIO)
    shown = [line.split() for line in sheet.file.getvalue().splitlines()]
    assert shown == [
        ["GiB", "by", "context", "file", "8k", "8k", "off"],
        ["A", "1.00", "3.00", "(2.00)", "chosen,", "8k,", "n-max", "3"],
        ["B", "1.00", "-", "(2.00)", "no"],
        ["C", "1.00", "-", "-", "gone"],
    ]
