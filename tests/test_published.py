"""Plans without a header: published shapes against files of the released sizes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from fake_hub import fake_hub
from harness import Cli
from make_real_size import SIZES, make_real_size_pair

from llmtp.errors import UsageError
from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.gguf.shape import TextModel
from llmtp.gguf.weights import estimate_tensor_bytes
from llmtp.hub.published import TOKENS, PublishedCatalogue
from llmtp.hub.reference import Asked, Reference
from llmtp.paths import shipped_profiles
from llmtp.plan.kv import kv_bytes
from llmtp.plan.settings import Settings
from llmtp.profiles import load_profile, load_profile_file

#: Bytes of files that were reported: main models, and drafters by family.
REPORTED = {
    ("31b", "UD-Q4_K_XL"): 18_822_970_304,
    ("31b", "qat-Q4_0"): 17_651_001_568,
    ("26b-a4b", "qat-UD-Q4_K_XL"): 14_200_000_000,
    ("e4b", "Q4_K_M"): 5_335_289_824,
    ("e4b", "Q8_0"): 8_031_223_872,
}
DRAFTERS = {("31b", "Q8_0"): 514_687_104, ("31b", "qat-Q4_0"): 279_954_368,
            ("e4b", "Q8_0"): 98_653_248, ("26b-a4b", "qat-Q4_0"): 251_937_728}  # fmt: skip


def published(size: str, quant: str | None = None, draft: str = "auto") -> PublishedCatalogue:
    profile = load_profile(f"gemma-4-{size}")
    assert profile.shape is not None
    asked = Asked(profile.name, draft=draft, quant=quant)
    return PublishedCatalogue(asked, profile, profile.shape, "no network")


def pair(size: str, quant: str) -> Reference:
    catalogue = published(size, quant)
    return catalogue.pair(next(o for o in catalogue.offers() if o.label == quant))


@pytest.mark.parametrize("size", SIZES)
def test_the_published_shape_is_that_of_the_files(size: str, tmp_path: Path) -> None:
    """In a quant of one type for all matrices, the bytes agree too: norms are what is left out."""
    reference = pair(size, "Q8_0")
    assert reference.draft is not None
    paths = make_real_size_pair(tmp_path, 0, "Q4_0", "Q4_0", size=size, whole=False)
    full_values = published(size).shape.full_values
    for one, path in zip((reference.main, reference.draft), paths, strict=True):
        facts = read_facts(open_model(path))
        unsaid = {"rope_base", "rope_base_sliding"}
        assert _without(one.shape, unsaid) == _without(facts.shape, unsaid)
        estimate = estimate_tensor_bytes(
            one.shape, facts.vocabulary_size or 0, 4.5, 4.5, full_values=full_values
        )
        sizes = facts.tensor_bytes.by_name
        large = {tensor for tensor, count in sizes.items() if count > 1 << 20}
        assert large <= set(estimate.by_name)
        for tensor in {"token_embd.weight", *large}:
            # Vectors are left out, and rows that no block of 256 divides are of a larger type.
            shorter = tensor == "per_layer_token_embd.weight"  # here the token list is short
            scale = TOKENS / (facts.vocabulary_size or 1) if shorter else 1
            assert estimate.by_name[tensor] * scale == pytest.approx(sizes[tensor], rel=0.001)


def _without(shape: TextModel, names: set[str]) -> dict[str, object]:
    return {name: value for name, value in asdict(shape).items() if name not in names}


@pytest.mark.parametrize(("which", "file_bytes"), REPORTED.items())
def test_sizes_are_near_those_that_were_reported(which: tuple[str, str], file_bytes: int) -> None:
    assert pair(*which).main.file_bytes == pytest.approx(file_bytes, rel=0.035)


@pytest.mark.parametrize(("which", "file_bytes"), DRAFTERS.items())
def test_drafters_are_near_those_that_were_reported(
    which: tuple[str, str], file_bytes: int
) -> None:
    """A third of the smallest is its tokenizer, 14 MiB, which no tensor holds."""
    draft = pair(*which).draft
    assert draft is not None
    assert draft.file_bytes + 14 * (1 << 20) == pytest.approx(file_bytes, rel=0.05)


def test_every_quant_of_the_profile_is_offered_once() -> None:
    labels = [offer.label for offer in published("31b").offers()]
    assert labels[:5] == ["Q8_0", "UD-Q6_K_XL", "Q6_K", "qat-UD-Q4_K_XL", "qat-Q4_0"]
    assert len(labels) == len(set(labels))
    assert [o.label for o in published("31b", "QAT-q4_0").offers()] == ["qat-Q4_0"]


def test_a_plan_needs_no_network_and_says_what_it_goes_by(cli: Cli) -> None:
    result = cli("plan", "gemma-4-31b", "--vram", "24GiB", "--backend", "cuda", "--offline",
                 "--json")  # fmt: skip
    assert result.code == 0
    data, (bits, finding) = result.json["data"], result.json["findings"]
    assert (data["quant"], data["ctx_size"], data["n_max"]) == ("Q4_0", 32768, 3)
    assert data["devices"][0]["kv_bytes"] == kv_bytes(pair("31b", "Q8_0").main.shape,
                                                      Settings(32768))  # fmt: skip
    assert data["devices"][0]["used_bytes"] < 24 << 30
    assert data["download_bytes"] == pytest.approx(17_651_001_568 + 279_954_368, rel=0.02)
    assert data["sources"]["weights"] == "estimated for the published shape"
    assert (finding["rule"], finding["level"]) == ("published-shape", "warning")
    assert "on this disk" in finding["message"]
    assert bits["rule"] == "draft-quant"
    assert TOKENS == 262_144


def test_where_the_hub_cannot_be_reached_it_is_the_same(cli: Cli) -> None:
    with fake_hub() as hub:
        gone = hub.env()
    result = cli("plan", "gemma-4-12b", "--vram", "12GiB", "--draft", "off", "--json", env=gone)
    assert result.code == 0, result.stdout
    assert result.json["data"]["n_max"] == 0
    (finding,) = result.json["findings"]
    assert finding["rule"] == "published-shape"
    assert "cannot be reached" in finding["message"]


@pytest.mark.parametrize(
    "args",
    [
        ("run", "gemma-4-12b", "--dry-run"),
        ("check", "gemma-4-12b"),
        ("pull", "gemma-4-12b"),
        ("plan", "gemma-4-12b", "--mmproj", "auto"),
        ("plan", "gemma-4-12b", "--draft", "hf:someone/drafter"),
        ("plan", "hf:unsloth/gemma-4-12b-it-GGUF"),
    ],
)
def test_nothing_but_a_plan_of_a_profile_goes_by_it(cli: Cli, args: tuple[str, ...]) -> None:
    result = cli(*args, "--offline", "--json")
    assert result.code == 8
    assert result.json["findings"][0]["rule"] == "not-on-disk"


def test_a_quant_that_nobody_offers_is_none(cli: Cli) -> None:
    result = cli("plan", "gemma-4-12b", "--quant", "Q2_K", "--offline", "--json")
    assert result.code == 8
    assert result.json["findings"][0]["rule"] in ("quant-not-found", "not-on-disk")


BROKEN = {
    "full_every": "full_every: 1",
    "layers": "layers: 50",
    "shared_kv": "shared_kv: 47",
    "heads": "heads: 12",
    "width": "width: 0",
    "window": "window: wide",
    "experts_used": "experts: 8\n  expert_feed_forward: 64",
    "expert_feed_forward": "experts: 8\n  experts_used: 2",
    "experts": "experts: 5000",
    "wide": "wide: 1",
}


def broken(folder: Path, line: str) -> Path:
    """A profile of ours with another line in its shape."""
    text = (shipped_profiles() / "gemma-4-12b.yaml").read_text(encoding="utf-8")
    assert "  window: 1024\n" in text
    key = line.split(":")[0]
    kept = [row for row in text.splitlines() if not row.startswith(f"  {key}:")]
    kept.insert(kept.index("shape:") + 1, f"  {line}")
    path = folder / "mine.yaml"
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("field", "line"), BROKEN.items(), ids=BROKEN)
def test_an_impossible_shape_is_named_with_its_line(tmp_path: Path, field: str, line: str) -> None:
    with pytest.raises(UsageError, match=rf"mine\.yaml:\d+: .*shape\.{field}\b"):
        load_profile_file(broken(tmp_path, line))


def test_a_plan_with_an_impossible_shape_is_refused(cli: Cli) -> None:
    broken(cli.profiles, BROKEN["heads"])
    result = cli("plan", "mine", "--offline", "--json")
    assert result.code == 2, result.stdout
    message = result.json["findings"][0]["message"]
    assert "shape.heads" in message
    assert "mine.yaml:" in message


def test_what_cannot_be_planned_says_so(cli: Cli) -> None:
    result = cli("plan", "gemma-4-e2b", "--offline", "--quant", "F16", "--json")
    assert result.code == 8
    assert "cannot be planned without its header" in result.json["findings"][0]["message"]


def test_an_engine_that_is_missing_hides_no_other_error(cli: Cli) -> None:
    assert cli("plan", "nope", "--engine", "/nonexistent", "--json").code == 8
