"""Which files a name means: sources, quants by plan, the drafter's family, what is on this disk."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import make_pair
from fake_hub import FakeHub, Fault, Repo, fake_hub
from harness import Cli, assert_one_clear_line
from make_real_size import make_real_size_pair

PLAIN, QAT = "unsloth/gemma-4-12b-it-GGUF", "unsloth/gemma-4-12B-it-qat-GGUF"
QUANTS = {"Q8_0": "Q8_0", "Q6_K": "Q6_K", "Q5_K_M": "Q5_K", "Q4_K_M": "Q4_K", "Q3_K_M": "Q3_K"}


@pytest.fixture(scope="module")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Main model and drafter of the 12B's shape in each type, with holes for weights."""
    folder = tmp_path_factory.mktemp("hollow")
    made = {}
    for quant in ("Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q4_0"):
        (folder / quant).mkdir()
        made[quant] = make_real_size_pair(folder / quant, 0, quant, quant, whole=False)
    return made


@pytest.fixture
def hub(hollow: dict[str, list[Path]]) -> Iterator[FakeHub]:
    """The 12B as it is published: the plain release and the QAT one."""
    plain = {f"gemma-4-12b-it-{q}.gguf": hollow[kind][0] for q, kind in QUANTS.items()}
    plain["mtp-gemma-4-12b-it.gguf"] = hollow["Q8_0"][1]
    qat = {
        "gemma-4-12B-it-qat-UD-Q4_K_XL.gguf": hollow["Q4_0"][0],
        "mtp-gemma-4-12B-it.gguf": hollow["Q4_0"][1],
        "MTP/gemma-4-12B-it-Q8_0-MTP.gguf": hollow["Q8_0"][1],
    }
    with fake_hub() as running:
        running.repos = {PLAIN: Repo(plain), QAT: Repo(qat)}
        yield running


@pytest.fixture
def alone(cli: Cli, hub: FakeHub, tmp_path: Path) -> Cli:
    """llmtp with an empty cache of the Hub, talking to ours."""
    cli.env |= hub.env() | {"HF_HOME": str(tmp_path / "hf")}
    return cli


def plan(cli: Cli, *args: str | Path, model: str = "gemma-4-12b") -> dict[str, Any]:
    """The data of a plan; for a card, unless `args` say otherwise."""
    result = cli("plan", model, *args, "--json")
    assert result.code == 0, result.stdout
    data = result.json["data"]
    assert isinstance(data, dict)
    return data


def names(data: dict[str, Any]) -> tuple[str, str | None]:
    draft = data["draft"]
    return Path(data["main"]).name, None if draft is None else Path(draft).name


@pytest.mark.parametrize(
    ("vram", "quant", "ctx"),
    [
        ("24GiB", "Q8_0", 32768),
        ("12GiB", "Q6_K", 32768),
        ("10GiB", "Q6_K", 32768),
        ("9GiB", "qat-UD-Q4_K_XL", 32768),
        ("6900MiB", "Q3_K_M", 32768),
    ],
)
def test_the_best_quant_that_leaves_a_useful_context(
    alone: Cli, vram: str, quant: str, ctx: int
) -> None:
    data = plan(alone, "--vram", vram, "--backend", "cuda")
    chosen = [one["quant"] for one in data["alternatives"] if one["chosen"]]
    assert (chosen, data["ctx_size"], data["mtp"]) == ([quant], ctx, True), data["alternatives"]
    assert data["devices"][0]["used_bytes"] <= data["devices"][0]["free_bytes"]
    assert data["why"][0].startswith(quant)
    assert len(data["alternatives"]) == 6


def test_every_alternative_shows_its_context(alone: Cli) -> None:
    data = plan(alone, "--vram", "9GiB", "--backend", "cuda")
    shown = {one["quant"]: one for one in data["alternatives"]}
    order = ["Q8_0", "Q6_K", "qat-UD-Q4_K_XL", "Q5_K_M", "Q4_K_M", "Q3_K_M"]
    assert list(shown) == order
    assert (shown["Q8_0"]["fits"], shown["Q8_0"]["device"]) == (False, None)
    assert re.fullmatch(r"\d\.\d\d GiB short", shown["Q8_0"]["reason"])
    assert shown["qat-UD-Q4_K_XL"]["ctx_size"] == 32768
    assert shown["Q3_K_M"]["file_bytes"] < shown["Q4_K_M"]["file_bytes"]
    assert {one["repository"] for one in shown.values()} == {PLAIN, QAT}
    text = alone("plan", "gemma-4-12b", "--vram", "9GiB").stdout
    assert "chosen" in text
    for quant in order:
        assert quant in text


def test_less_context_goes_before_a_smaller_drafter_and_before_no_mtp(
    alone: Cli, hub: FakeHub, hollow: dict[str, list[Path]]
) -> None:
    files = hub.repos[PLAIN].files
    for name in [n for n in files if "Q4_K_M" not in n and "mtp" not in n]:
        del files[name]
    files["MTP/gemma-4-12b-it-Q3_K-MTP.gguf"] = hollow["Q3_K"][1]
    del hub.repos[QAT]
    needed = plan(alone, "--vram", "24GiB")["devices"][0]["used_bytes"]
    seen = []
    for less in (500, 650, 900, 1000, 2000):
        args = ("--vram", f"{needed - (less << 20)}", "--margin", "0", "--json")
        body = alone("plan", "gemma-4-12b", *args).json
        data, rules = body["data"], {finding["rule"] for finding in body["findings"]}
        if "step-down-offload" in rules:
            break
        small = names(data)[1] == "gemma-4-12b-it-Q3_K-MTP.gguf"
        assert small == ("step-down-drafter" in rules)
        assert data["mtp"] != ("step-down-mtp" in rules)
        full = data["ctx_size"] == 32768
        seen.append("MTP off" if not data["mtp"] else "drafter" if small
                    else "all" if full else "context")  # fmt: skip
    assert list(dict.fromkeys(seen)) == ["all", "context", "drafter", "MTP off"]


def test_the_drafter_is_of_the_same_family(alone: Cli, hub: FakeHub) -> None:
    plain = plan(alone, "--quant", "Q4_K_M")
    assert f"models--{PLAIN.replace('/', '--')}" in plain["draft"]
    qat = plan(alone, "--quant", "qat")
    assert names(qat)[0] == "gemma-4-12B-it-qat-UD-Q4_K_XL.gguf"
    assert f"models--{QAT.replace('/', '--')}" in qat["draft"]
    google = "google/gemma-4-12B-it-qat-q4_0-gguf"
    main = hub.repos[QAT].files.pop("gemma-4-12B-it-qat-UD-Q4_K_XL.gguf")
    hub.repos[google] = Repo({"gemma-4-12b-it-qat-q4_0.gguf": main})
    elsewhere = plan(alone, "--quant", "qat-Q4_0")
    assert names(elsewhere)[0] == "gemma-4-12b-it-qat-q4_0.gguf"
    assert f"models--{QAT.replace('/', '--')}" in elsewhere["draft"]


def test_a_repository_without_drafters_takes_the_published_ones(alone: Cli, hub: FakeHub) -> None:
    main = hub.repos[PLAIN].files["gemma-4-12b-it-Q4_K_M.gguf"]
    hub.repos["bartowski/google_gemma-4-12B-it-GGUF"] = Repo(
        {"google_gemma-4-12B-it-Q4_K_M.gguf": main}
    )
    data = plan(alone, model="hf:bartowski/google_gemma-4-12B-it-GGUF:Q4_K_M")
    assert f"models--{PLAIN.replace('/', '--')}" in data["draft"]


def test_a_source_that_is_gone_leaves_its_place_to_the_next(alone: Cli, hub: FakeHub) -> None:
    other = "bartowski/google_gemma-4-12B-it-GGUF"
    hub.repos[other] = Repo(
        {
            name.replace("gemma", "google_gemma"): path
            for name, path in hub.repos[PLAIN].files.items()
        }
    )
    del hub.repos[PLAIN]
    assert f"models--{other.replace('/', '--')}" in plan(alone, "--quant", "Q8_0")["main"]
    hub.repos.clear()
    gone = alone("plan", "gemma-4-12b")
    assert_one_clear_line(gone, 8, "there is no repository unsloth/gemma-4-12b-it-GGUF")


def test_a_failing_hub_is_no_missing_source(alone: Cli, hub: FakeHub) -> None:
    hub.hub_faults = [Fault(status=503)] * 20
    assert_one_clear_line(alone("plan", "gemma-4-12b"), 5, "the Hub answers 503")


def test_a_file_that_lies_about_itself_is_passed_over(
    alone: Cli, hub: FakeHub, tmp_path: Path
) -> None:
    """Names propose, headers decide: the best quant by its name is another model."""
    other, _ = make_pair(tmp_path)
    hub.repos[PLAIN].files["gemma-4-12b-it-Q8_0.gguf"] = other
    hub.repos[PLAIN].files["gemma-4-12b-it-Q6_K.gguf"] = hub.repos[PLAIN].files[
        "mtp-gemma-4-12b-it.gguf"
    ]
    data = plan(alone, "--vram", "24GiB")
    assert names(data)[0] == "gemma-4-12B-it-qat-UD-Q4_K_XL.gguf"
    why = {one["quant"]: one["reason"] for one in data["alternatives"] if not one["fits"]}
    assert "there is no drafter" in why["Q8_0"]
    assert "is an MTP drafter" in why["Q6_K"]


def test_an_unknown_quant_shows_the_known_ones(alone: Cli) -> None:
    wrong = alone("plan", "gemma-4-12b", "--quant", "Q9")
    assert_one_clear_line(wrong, 8, "there is no Q9 of gemma-4-12b", "Q8_0, Q6_K, qat-UD-Q4_K_XL")
    file = alone("plan", "crafted", "--quant", "Q8_0")
    assert_one_clear_line(file, 2, "--quant Q8_0 does not go with")
    twice = alone("plan", f"hf:{PLAIN}:Q4_K_M", "--quant", "Q8_0")
    assert_one_clear_line(twice, 2, "--quant Q8_0 does not go with")
    assert names(plan(alone, "--quant", "Q8_0", model=f"hf:{PLAIN}"))[0].endswith("Q8_0.gguf")


def test_a_plan_downloads_nothing_and_says_how_much_run_would(alone: Cli, hub: FakeHub) -> None:
    data = plan(alone, "--quant", "Q4_K_M")
    files = hub.repos[PLAIN].files
    sizes = [files[name].stat().st_size for name in names(data) if name]
    assert data["download_bytes"] == sum(sizes)
    assert hub.sent_bytes < 4 << 20
    assert not (Path(alone.env["HF_HOME"]) / "hub").exists()
    line = alone("run", "gemma-4-12b", "--quant", "Q4_K_M", "--dry-run")
    assert (line.code, data["main"] in line.stdout) == (0, True), line.stderr


@pytest.fixture
def small(hub: FakeHub, crafted: Path) -> FakeHub:
    """Names and layout of the 12B, with the contents of the crafted pair."""
    main, draft = crafted / "crafted.gguf", crafted / "mtp-crafted.gguf"
    for repo in hub.repos.values():
        repo.files = {n: draft if "mtp" in n.lower() else main for n in repo.files}
    return hub


def test_what_is_on_this_disk_goes_before_the_network(alone: Cli, small: FakeHub) -> None:
    pulled = alone("pull", "gemma-4-12b", "--quant", "Q4_K_M")
    assert pulled.code == 0, pulled.stderr
    small.asked.clear()
    answer = alone("run", "gemma-4-12b", "--ask", "hi")
    assert (answer.code, "MTP is on" in answer.stdout) == (0, True), answer.stderr
    assert small.asked == []
    data = plan(alone)
    assert names(data)[0] == "gemma-4-12b-it-Q4_K_M.gguf"
    assert (data["download_bytes"], len(data["alternatives"])) == (0, 6)
    again = alone("pull", "gemma-4-12b", "--json").json["data"]
    assert (Path(again["main"]).name, again["fetched_bytes"]) == ("gemma-4-12b-it-Q4_K_M.gguf", 0)
    other = alone("run", "gemma-4-12b", "--quant", "Q6_K", "--ask", "hi", "--json").json
    assert other["exit_code"] == 0
    assert "gemma-4-12b-it-Q6_K.gguf" in {Path(p).name for p in cached(alone)}


def cached(cli: Cli) -> list[Path]:
    return sorted((Path(cli.env["HF_HOME"]) / "hub").glob("models--*/snapshots/*/**/*.gguf"))


def test_a_newer_commit_is_fetched_by_pull_and_not_by_run(
    alone: Cli, small: FakeHub, tmp_path: Path
) -> None:
    assert alone("pull", "gemma-4-12b", "--quant", "Q4_K_M").code == 0
    repo = small.repos[PLAIN]
    newer = tmp_path / "newer.gguf"
    newer.write_bytes(repo.files["gemma-4-12b-it-Q4_K_M.gguf"].read_bytes() + b"newer")
    repo.files["gemma-4-12b-it-Q4_K_M.gguf"] = newer
    repo.commit = "d" * 40
    assert "c" * 40 in plan(alone)["main"]
    pulled = alone("pull", "gemma-4-12b", "--json").json["data"]
    assert Path(pulled["main"]).parts[-2:] == ("d" * 40, "gemma-4-12b-it-Q4_K_M.gguf")
    assert pulled["fetched_bytes"] == newer.stat().st_size
    assert "d" * 40 in plan(alone)["main"]


def test_a_drafter_that_is_missing_does_not_bring_another_main_model(
    alone: Cli, small: FakeHub
) -> None:
    assert alone("pull", "gemma-4-12b", "--quant", "Q4_K_M", "--draft", "off").code == 0
    data = plan(alone, "--n-max", "3")
    assert names(data) == ("gemma-4-12b-it-Q4_K_M.gguf", "mtp-gemma-4-12b-it.gguf")
    draft = small.repos[PLAIN].files["mtp-gemma-4-12b-it.gguf"]
    assert data["download_bytes"] == draft.stat().st_size


@pytest.mark.usefixtures("small")
def test_a_broken_copy_is_fetched_again_before_it_is_loaded(alone: Cli) -> None:
    assert alone("pull", "gemma-4-12b", "--quant", "Q8_0").code == 0
    (main,) = [path for path in cached(alone) if "Q8_0" in path.name]
    main.resolve().write_bytes(main.read_bytes()[:5000])
    offline = alone("run", "gemma-4-12b", "--ask", "hi", "--offline")
    assert_one_clear_line(offline, 5, "is truncated")
    answer = alone("run", "gemma-4-12b", "--quant", "Q8_0", "--ask", "hi")
    assert (answer.code, "MTP is on" in answer.stdout) == (0, True), answer.stderr


@pytest.mark.usefixtures("small")
def test_run_from_an_empty_cache(alone: Cli) -> None:
    """The main job: names, headers, download, plan, server, proof."""
    with alone.start("run", "gemma-4-12b", "--json") as running:
        running.wait_event("mtp")
        assert running.interrupt() == 130
        events = [line["event"] for line in map(json.loads, running.rest())]
    order = list(dict.fromkeys(events))
    assert order[:6] == ["downloading", "checked", "planned", "starting", "ready", "mtp"]
    assert order[-2:] == ["stopped", "exit"]
    assert {path.name for path in cached(alone)} == {
        "gemma-4-12b-it-Q8_0.gguf", "mtp-gemma-4-12b-it.gguf",
    }  # fmt: skip
    assert alone("run", "gemma-4-12b", "--offline", "--ask", "hi").code == 0


def test_offline_with_nothing_here(alone: Cli, small: FakeHub) -> None:
    small.asked.clear()
    for args, env in ((["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"})):
        result = alone("run", "gemma-4-12b", *args, env=env)
        assert_one_clear_line(result, 8, "is on this disk", "llmtp pull")
    assert small.asked == []


@pytest.mark.parametrize("place", [".", "MTP", "..", "../MTP"])
def test_a_main_model_finds_the_drafter_near_it(
    alone: Cli, crafted: Path, tmp_path: Path, place: str
) -> None:
    folder = tmp_path / "models" / "main"
    folder.mkdir(parents=True)
    (folder / place).mkdir(exist_ok=True)
    main = folder / "gemma-4-it.gguf"
    main.write_bytes((crafted / "crafted.gguf").read_bytes())
    (folder / place / "mtp-x.gguf").write_bytes((crafted / "mtp-crafted.gguf").read_bytes())
    result = alone("check", main, "--json")
    assert result.code == 0, result.stdout
    assert Path(result.json["data"]["draft"]["path"]).name == "mtp-x.gguf"


@pytest.mark.usefixtures("small")
def test_a_main_model_finds_a_drafter_in_the_cache(
    alone: Cli, crafted: Path, tmp_path: Path
) -> None:
    main = tmp_path / "apart" / "gemma-4-it.gguf"
    main.parent.mkdir()
    main.write_bytes((crafted / "crafted.gguf").read_bytes())
    assert_one_clear_line(alone("check", main), 8, "there is no drafter for", "in the cache")
    assert alone("pull", "gemma-4-12b", "--quant", "qat").code == 0
    assert alone("pull", "gemma-4-12b", "--quant", "Q8_0").code == 0
    found = alone("check", main, "--json").json["data"]["draft"]["path"]
    assert "hub/models--unsloth" in found
    qat = main.with_name("gemma-4-it-qat.gguf")
    main.rename(qat)
    found = alone("check", qat, "--json").json["data"]["draft"]["path"]
    assert QAT.replace("/", "--") in found


@pytest.mark.usefixtures("hub")
def test_the_makers_sampling_unless_the_user_says_otherwise(alone: Cli) -> None:
    argv = plan(alone, "--quant", "Q8_0")["argv"]
    flags = dict(itertools.pairwise(argv))
    assert (flags["--temp"], flags["--top-k"], flags["--top-p"]) == ("1", "64", "0.95")
    asked = ["--temp", "0.2", "--dry-run", "--", "--top-k", "20"]
    line = alone("run", "gemma-4-12b", "--quant", "Q8_0", *asked).stdout
    assert "--temp 0.2" in line
    assert (line.count("--top-k"), "--top-k 20" in line) == (1, True)


def test_every_claim_of_a_profile_can_be_checked_at_the_hub(alone: Cli, hub: FakeHub) -> None:
    script = Path(__file__).resolve().parent.parent / "scripts" / "check_profiles.py"

    def check(name: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(script), name], env=alone.env, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    code, said = check("gemma-4-12b")
    assert code == 1
    assert "ok    Q8_0: gemma-4-12b-it-Q8_0.gguf\n  ok    its header says 12B\n" in said
    assert "ok    drafter MTP/gemma-4-12B-it-Q8_0-MTP.gguf" in said
    assert "FAIL  UD-Q6_K_XL: no file" in said
    assert "FAIL  there is no repository ggml-org/gemma-4-12B-it-GGUF" in said
    lines = [f"sources: [{{repository: {PLAIN}, main: '*it-*', draft: '*mtp*', quants: [Q8_0]}}]"]
    (alone.profiles / "gemma-4-12b.yaml").write_text("\n".join(lines), encoding="utf-8")
    code, said = check("gemma-4-12b")
    assert (code, "0 claims are wrong" in said) == (0, True), said
    hub.repos.clear()
    assert check("gemma-4-12b")[0] == 1
    assert "there is no profile" in check("nonsense")[1]


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"XDG_CACHE_HOME": "/x/cache"},
        {"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/x/cache"},
        {"HUGGINGFACE_HUB_CACHE": "/old/place", "HF_HOME": "/x/hf"},
        {"HF_HUB_CACHE": "$HOME/hub", "HUGGINGFACE_HUB_CACHE": "/old/place"},
    ],
)
def test_the_cache_is_where_huggingface_hub_has_it(env: dict[str, str]) -> None:
    code = (
        "from huggingface_hub import constants; from llmtp import config; "
        "print(config.hub_cache()); print(constants.HF_HUB_CACHE)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"HOME": "/home/somebody"} | env,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ours, theirs = done.stdout.split()
    assert ours == theirs
