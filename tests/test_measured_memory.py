"""The memory model against what engines and drivers said of all released sizes.

scripts/measure_memory.py writes the table; its rows that llmtp would never ask for (no flash
attention, a part of the layers in RAM) are kept for the day when it does.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from make_real_size import TOKENS, make_real_size_pair

from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.gguf.model import ModelFacts
from llmtp.plan.compute import draft_compute_bytes, host_compute_bytes, main_compute_bytes
from llmtp.plan.kv import kv_bytes
from llmtp.plan.memory import beside_device, on_device
from llmtp.plan.settings import Settings
from llmtp.units import MiB

TABLE = Path(__file__).with_name("measured_memory.csv")
README = Path(__file__).resolve().parent.parent / "README.md"
Facts = dict[tuple[str, str], tuple[ModelFacts, ModelFacts]]


@dataclass(frozen=True)
class Row:
    """MiB of one start."""

    values: dict[str, str]

    def __str__(self) -> str:
        names = ("backend", "size", "quant", "ctx", "parallel", "unified", "kv_type", "ubatch")
        return " ".join(self.values[name] for name in names)

    def mib(self, *columns: str) -> float:
        return sum(float(self.values[column] or 0) for column in columns)

    @property
    def backend(self) -> str:
        return self.values["backend"]

    @property
    def drafts(self) -> bool:
        return self.values["n_max"] != "0"

    @property
    def settings(self) -> Settings:
        return Settings(
            int(self.values["ctx"]),
            int(self.values["parallel"]),
            self.values["kv_type"],
            self.drafts,
            int(self.values["ubatch"]),
            self.values["unified"] == "yes",
        )

    @property
    def is_planned(self) -> bool:
        """All layers on one device, with flash attention: as llmtp starts it."""
        return (
            self.backend != "cpu"
            and self.values["placement"] == "all"
            and self.values["flash"] == "auto"
        )


def rows() -> list[Row]:
    with TABLE.open(newline="") as file:
        return [Row(values) for values in csv.DictReader(file)]


@pytest.fixture(scope="session")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Pairs of every size and quant in the table, with all tokens but not their texts."""
    found = {}
    for size, quant in sorted({(row.values["size"], row.values["quant"]) for row in rows()}):
        folder = tmp_path_factory.mktemp(size)
        pair = make_real_size_pair(folder, 0, quant, quant, size=size, whole=False)
        main, draft = (with_all_tokens(read_facts(open_model(path))) for path in pair)
        found[size, quant] = main, draft
    return found


def with_all_tokens(facts: ModelFacts) -> ModelFacts:
    embeddings = facts.tensor_bytes.token_embd // (facts.vocabulary_size or 1) * TOKENS
    tensor_bytes = replace(facts.tensor_bytes, token_embd=embeddings)
    return replace(facts, tensor_bytes=tensor_bytes, vocabulary_size=TOKENS)


def planned(facts: Facts) -> Iterator[tuple[Row, ModelFacts, ModelFacts]]:
    found = [row for row in rows() if row.is_planned]
    assert len(found) >= 40, "the table has become thin"
    for row in found:
        yield row, *facts[row.values["size"], row.values["quant"]]


def test_kv_is_right_to_the_mib(facts: Facts) -> None:
    """On any back end, wherever the layers are; without flash attention V is padded."""
    for row in rows():
        if row.values["flash"] == "off":
            continue
        main, _ = facts[row.values["size"], row.values["quant"]]
        measured = row.mib("main_kv_device", "main_kv_host")
        assert kv_bytes(main.shape, row.settings) / MiB == pytest.approx(measured, abs=0.1), row
        assert row.mib("draft_kv_device", "draft_kv_host") == 0, row


def test_weights_are_right_to_the_mib(facts: Facts) -> None:
    for row, main, draft in planned(facts):
        device = on_device(main, draft, row.settings, row.backend)
        host = beside_device(main, draft, row.settings)
        assert device.weights / MiB == pytest.approx(row.mib("main_weights_device"), abs=1), row
        mapped = row.mib("main_weights_host")
        if main.shape.per_layer_width:  # what is mapped reaches from its first tensor to its last
            assert host.weights / MiB < mapped, row
        else:
            assert host.weights / MiB == pytest.approx(mapped, abs=1), row
        if row.drafts:
            weights = draft.tensor_bytes.total / MiB
            assert weights == pytest.approx(row.mib("draft_weights_device"), abs=1), row


#: How far the compute of a back end may be off, as a share of it.
COMPUTE = {"cuda": 0.035, "vulkan": 0.07}
FEW_MIB = 2.5


def test_compute_is_near(facts: Facts) -> None:
    """On CUDA most rows agree to a tenth of a MiB; a drafter's 2 MiB are 7 percent of it."""
    exact = 0
    for row, main, draft in planned(facts):
        predicted = main_compute_bytes(main.shape, row.settings, row.backend) / MiB
        measured, share = row.mib("main_compute_device"), COMPUTE[row.backend]
        assert predicted == pytest.approx(measured, rel=share, abs=FEW_MIB), row
        exact += row.backend == "cuda" and abs(predicted - measured) < 0.1
        if row.drafts:
            own = draft_compute_bytes(draft.shape, main.shape, row.settings, row.backend) / MiB
            reserved = row.mib("draft_compute_device")
            assert own == pytest.approx(reserved, rel=share, abs=8), row
    assert exact >= 14


def test_compute_on_the_cpu_is_near(facts: Facts) -> None:
    found = [row for row in rows() if row.backend == "cpu" and row.values["flash"] == "auto"]
    assert len(found) >= 10
    for row in found:
        main, draft = facts[row.values["size"], row.values["quant"]]
        predicted = main_compute_bytes(main.shape, row.settings, row.backend) / MiB
        assert predicted == pytest.approx(row.mib("main_compute_host"), rel=0.08), row
        if row.drafts:
            own = draft_compute_bytes(draft.shape, main.shape, row.settings, row.backend) / MiB
            assert own == pytest.approx(row.mib("draft_compute_host"), abs=8), row


def test_what_is_pinned_in_ram_is_near(facts: Facts) -> None:
    """CUDA's figure; Vulkan pins a little less."""
    for row, main, _ in planned(facts):
        for owner in ("main", "draft") if row.drafts else ("main",):
            pinned = host_compute_bytes(main.shape, row.settings, draft=owner == "draft") / MiB
            measured = row.mib(f"{owner}_compute_host")
            assert pinned >= 0.98 * measured, row
            if row.backend == "cuda":
                assert pinned == pytest.approx(measured, rel=0.03, abs=1), row


def test_the_total_is_what_the_driver_shows(facts: Facts) -> None:
    """Within 1 percent or 64 MiB, as llmtp plans it: ubatches of 512."""
    seen = 0
    for row, main, draft in planned(facts):
        if row.settings.ubatch != Settings(0).ubatch:
            continue
        total = on_device(main, draft, row.settings, row.backend).total / MiB
        driver = row.mib("driver")
        assert total == pytest.approx(driver, rel=0.01, abs=64), row
        seen += 1
    assert seen >= 15


def readme_line(row: Row, main: ModelFacts, draft: ModelFacts) -> str:
    parts = on_device(main, draft, row.settings, row.backend)
    sizes = [parts.weights, parts.kv, parts.compute, parts.draft, parts.overhead, parts.total]
    cells = [*(f"{size / MiB:,.0f}" for size in sizes), f"{row.mib('driver'):,.0f}"]
    name = f"{row.values['size']} | {row.backend} {row.values['build']}"
    return f"| {name} | {' | '.join(cells)} |"


def test_the_readme_shows_the_plain_rows(facts: Facts) -> None:
    """Every size at its plainest, on each back end that was measured."""
    text = README.read_text(encoding="utf-8")
    plain = Settings(8192)
    lines = [readme_line(*entry) for entry in planned(facts) if entry[0].settings == plain]
    assert len(lines) == 10
    assert "\n".join(sorted(lines)) in text, "\n".join(sorted(lines))
