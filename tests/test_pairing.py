"""The pair rules: what we reject is what the engine aborts on, refuses, or never hits with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from builders import make_pair
from harness import Cli, assert_one_clear_line
from make_crafted_pair import CRAFTED, Shape

from llmtp.engine.ask import ask
from llmtp.engine.llama.find import find_engine
from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.pairing import check_pair

WRONG: dict[str, tuple[Shape, str]] = {
    "width": (replace(CRAFTED, width=160), "draft-width"),
    "full head": (replace(CRAFTED, head_full=64), "head-size"),
    "sliding head": (replace(CRAFTED, head_sliding=32), "head-size"),
    "sliding kv heads": (replace(CRAFTED, kv_heads_sliding=4), "kv-heads"),
    "full kv heads": (replace(CRAFTED, kv_heads_full=2), "kv-heads"),
}


def rules(main: Path, draft: Path) -> dict[str, str]:
    findings = check_pair(read_facts(open_model(main)), read_facts(open_model(draft)))
    return {finding.rule: finding.level for finding in findings}


def test_the_crafted_pair_is_right(crafted: Path) -> None:
    assert rules(crafted / "crafted.gguf", crafted / "mtp-crafted.gguf") == {}


@pytest.mark.parametrize("case", WRONG)
def test_a_drafter_of_another_shape_is_rejected(case: str, tmp_path: Path) -> None:
    shape, rule = WRONG[case]
    assert rules(*make_pair(tmp_path, draft=shape))[rule] == "error"


def test_another_window_only_warns(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, draft=replace(CRAFTED, window=256))
    assert rules(*pair) == {"sliding-window": "warning"}


def test_roles_are_recognised(crafted: Path) -> None:
    main, draft = crafted / "crafted.gguf", crafted / "mtp-crafted.gguf"
    assert rules(draft, main) == {"pair-swapped": "error"}
    assert rules(main, main) == {"draft-kind": "error"}
    assert rules(draft, draft) == {"main-is-drafter": "error"}


def test_the_engine_does_worse_than_reject(tmp_path: Path) -> None:
    """Why the check exists: a wrong width kills the engine, with a signal or an assertion."""
    main, draft = make_pair(tmp_path, draft=WRONG["width"][0])
    engine = find_engine(None)
    argv = [str(engine.path), "-m", str(main), "--model-draft", str(draft)]
    argv += ["--spec-type", "draft-mtp", "--port", "1", "--fit", "off"]
    answer = ask(argv, engine.child_env(), 60)
    assert answer.returncode is not None
    assert answer.returncode < 0, answer.output[-500:]


def test_check_says_compatible(cli: Cli) -> None:
    result = cli("check", "crafted", "--json")
    assert result.code == 0
    data = result.json["data"]
    assert data["compatible"] is True
    assert (data["main"]["architecture"], data["draft"]["architecture"]) == (
        "gemma4",
        "gemma4-assistant",
    )
    assert set(data["main"]) >= {"path", "architecture", "name", "size_label", "file_bytes"}


def test_check_rejects_with_exit_3_in_words_and_json(cli: Cli, tmp_path: Path) -> None:
    main, draft = make_pair(tmp_path, draft=WRONG["width"][0])
    result = cli("check", main, draft)
    assert result.code == 3
    assert "rejected" in result.stdout
    assert "hidden size 128" in result.stderr
    body = cli("check", main, draft, "--json")
    assert (body.code, body.json["ok"], body.json["data"]["compatible"]) == (3, False, False)
    assert body.json["findings"][0]["rule"] == "draft-width"


def test_run_refuses_a_rejected_pair_before_any_process(cli: Cli, tmp_path: Path) -> None:
    main, draft = make_pair(tmp_path, draft=WRONG["width"][0])
    result = cli("run", main, "--draft", draft, "--ask", "x", "--engine", "/nowhere")
    assert_one_clear_line(result, 3, "made for another model")


def test_a_drafter_beside_the_model_is_found(cli: Cli, tmp_path: Path) -> None:
    main, _ = make_pair(tmp_path)
    assert cli("check", main, "--json").json["data"]["draft"]["path"].endswith("mtp-main.gguf")
    (tmp_path / "MTP").mkdir()
    (tmp_path / "mtp-main.gguf").rename(tmp_path / "MTP" / "main-assistant.gguf")
    found = cli("check", main, "--json").json["data"]["draft"]["path"]
    assert found.endswith("MTP/main-assistant.gguf")
