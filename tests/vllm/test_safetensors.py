"""Pairs of safetensors: judged by config.json and headers, on this disk and over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, Repo, fake_hub
from harness import Cli, assert_one_clear_line
from pairs import MAIN, MISMATCHED

from llmtp.errors import BadFileError
from llmtp.pairing import check_pair
from llmtp.safetensors.config import parse_config
from llmtp.safetensors.folder import load_folder

RULES = {
    "wrong-backbone": ("error", "draft-width"),
    "wrong-heads": ("error", "head-size"),
    "wrong-kv-heads": ("error", "kv-heads"),
    "wrong-vocabulary": ("error", "vocabulary-size"),
    "wrong-window": ("warning", "sliding-window"),
}
#: As transformers 5.19 saves the shape that the published files spell out.
AS_SAVED = {
    "model_type": "gemma4_text", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    "per_layer_config": {"2": {"head_dim": 64, "num_key_value_heads": 1}}, "sliding_window": 64,
    "max_position_embeddings": 4096, "num_kv_shared_layers": 0, "dtype": "bfloat16",
    "num_experts": None, "hidden_size_per_layer_input": 0,
}  # fmt: skip


@pytest.fixture
def hub(cli: Cli, tmp_path: Path) -> Iterator[FakeHub]:
    """With a cache of its own for what comes from it."""
    cli.env["HF_HOME"] = str(tmp_path / "hf")
    with fake_hub() as running:
        yield running


def config(**changes: Any) -> str:
    return json.dumps({**AS_SAVED, **changes})


@pytest.mark.parametrize("name", ["main-assistant", *MISMATCHED])
def test_a_pair_is_judged_as_gguf_files_are(vllm_pairs: Path, name: str) -> None:
    main, draft = load_folder(vllm_pairs / "main"), load_folder(vllm_pairs / name)
    told = {(one.level, one.rule) for one in check_pair(main, draft)}
    assert told == ({RULES[name]} if name in RULES else set())


def test_a_shape_is_read_as_it_is_written(vllm_pairs: Path) -> None:
    facts = load_folder(vllm_pairs / "main")
    shape = facts.shape
    assert (shape.width, shape.n_layers, shape.window) == (
        MAIN.width,
        len(MAIN.layers),
        MAIN.window,
    )
    assert shape.kv_heads == (2, 2, 2, 2, 2, 1)
    assert (shape.head_sliding, shape.head_full) == (MAIN.head, MAIN.head_full)
    assert facts.quant == "BF16"
    assert facts.file_bytes == (vllm_pairs / "main" / "model.safetensors").stat().st_size
    # The embeddings and matrices are all there is, but for norms.
    assert facts.tensor_bytes.total == pytest.approx(facts.file_bytes, rel=0.02)


def test_what_differs_by_layer_is_read() -> None:
    shape = parse_config(config(), Path("x"), 1).shape
    assert (shape.head_full, shape.head_sliding, shape.kv_heads) == (64, 32, (2, 2, 1))


def test_a_base_that_is_no_number_is_unknown() -> None:
    bases = {"full_attention": {"rope_theta": 10**400}, "sliding_attention": {"rope_theta": "x"}}
    shape = parse_config(config(rope_parameters=bases), Path("x"), 1).shape
    assert (shape.rope_base, shape.rope_base_sliding) == (None, None)


def test_a_folder_that_lacks_a_file_of_its_index_is_no_model(
    cli: Cli, vllm_pairs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(vllm_pairs / "main", folder)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    result = cli("check", folder, vllm_pairs / "main-assistant", "--engine", "vllm")
    assert_one_clear_line(result, 5, "lacks model-2.safetensors")


def test_a_damaged_small_file_is_fetched_anew(cli: Cli, hub: FakeHub, vllm_pairs: Path) -> None:
    publish(hub, vllm_pairs)
    words = ("pull", "hf:llmtp/main", "--engine", "vllm", "--json")
    config = Path(cli(*words, env=hub.env()).json["data"]["main"]) / "config.json"
    whole = config.read_bytes()
    config.unlink()
    config.write_bytes(whole[:-9])
    assert cli(*words, env=hub.env()).code == 0
    assert config.read_bytes() == whole


def test_a_quantised_model_says_so() -> None:
    quantised = {"config_groups": {"group_0": {"weights": {"num_bits": 4}}}}
    facts = parse_config(config(quantization_config=quantised), Path("x"), 1)
    whole = parse_config(config(), Path("x"), 1)
    assert facts.quant == "W4"
    assert facts.tensor_bytes.total < whole.tensor_bytes.total / 2


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": -1}, {"hidden_size": 1 << 40}, {"hidden_size": "64"}, {"hidden_size": True},
        {"num_hidden_layers": 10**9}, {"layer_types": ["sliding_attention"]},
        {"layer_types": ["full_attention", "full_attention", "\x1b[2J"]}, {"layer_types": 3},
        {"vocab_size": None}, {"head_dim": [1]}, {"num_kv_shared_layers": 4},
        {"num_experts": 8, "top_k_experts": 9}, {"max_position_embeddings": 1.5},
    ],
)  # fmt: skip
def test_an_impossible_configuration_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(BadFileError) as caught:
        parse_config(config(**changes), Path("folder"), 1)
    (finding,) = caught.value.findings
    assert finding.rule == "config-json"
    assert next(iter(changes)) in finding.message or "top_k_experts" in finding.message
    assert finding.message.isprintable()


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, "\x00"])
def test_what_is_no_configuration_is_named(text: str) -> None:
    with pytest.raises(BadFileError, match="no JSON object"):
        parse_config(text, Path("folder"), 1)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def promise_much(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def point_nowhere(path: Path) -> None:
    header = b'{"t": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 1e999]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def no_json(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 4) + b"nope")


@pytest.mark.parametrize(
    "damage", [cut, lengthen, promise_much, no_json, point_nowhere, become_a_pipe, Path.unlink]
)
def test_damaged_weights_are_known_before_a_start(
    cli: Cli, vllm_pairs: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(vllm_pairs / "main", folder)
    damage(folder / "model.safetensors")
    result = cli("check", folder, vllm_pairs / "main-assistant", "--engine", "vllm")
    assert_one_clear_line(result, 5, "get it anew")


def test_folders_are_checked(cli: Cli, vllm_pairs: Path) -> None:
    main = vllm_pairs / "main"
    beside = cli("check", main, "--engine", "vllm", "--json").json
    assert beside["data"]["draft"]["path"] == str(vllm_pairs / "main-assistant")
    assert beside["data"]["compatible"] is True
    wrong = cli("check", main, vllm_pairs / "wrong-backbone", "--engine", "vllm")
    assert wrong.code == 3
    assert "expected hidden size 64, found hidden size 96" in wrong.stderr
    alone = cli("check", vllm_pairs / "wrong-heads", "--engine", "vllm")
    assert_one_clear_line(alone, 8, "no drafter", "wrong-heads-assistant", "--draft")
    nothing = cli("check", vllm_pairs / "nothing", "--engine", "vllm")
    assert nothing.code == 8


def publish(hub: FakeHub, pairs: Path, **draft: str) -> None:
    for name, folder in {"main": "main", "main-assistant": "main-assistant", **draft}.items():
        files = {one.name: one for one in (pairs / folder).iterdir()}
        hub.repos[f"llmtp/{name}"] = Repo(files)


def test_a_pair_at_the_hub_is_judged_before_its_weights_come(
    cli: Cli, hub: FakeHub, vllm_pairs: Path
) -> None:
    publish(hub, vllm_pairs, **{"main-assistant": "wrong-kv-heads"})
    result = cli("check", "hf:llmtp/main", "--engine", "vllm", "--json", env=hub.env())
    assert result.code == 3
    assert {one["rule"] for one in result.json["findings"]} == {"kv-heads"}
    assert not list((cli.folder / "hf").rglob("*.safetensors"))


def test_a_pair_is_pulled_whole_and_used_without_the_network(
    cli: Cli, hub: FakeHub, vllm_pairs: Path
) -> None:
    publish(hub, vllm_pairs)
    pulled = cli("pull", "hf:llmtp/main", "--engine", "vllm", "--json", env=hub.env())
    assert pulled.code == 0, pulled.stdout
    data = pulled.json["data"]
    names = {Path(one["file"]).name for one in data["files"]}
    assert names == {one.name for one in (vllm_pairs / "main").iterdir()}
    for here, there in ((data["main"], "main"), (data["draft"], "main-assistant")):
        for file in (vllm_pairs / there).iterdir():
            assert (Path(here) / file.name).read_bytes() == file.read_bytes()
    again = cli("pull", "hf:llmtp/main", "--engine", "vllm", "--json", env=hub.env()).json
    assert again["data"]["fetched_bytes"] == 0
    listed = {one["repository"]: one for one in cli("list", "--json").json["data"]["files"]}
    assert {name: one["kind"] for name, one in listed.items()} == {
        "llmtp/main": "main", "llmtp/main-assistant": "assistant"
    }  # fmt: skip
    assert listed["llmtp/main"]["pairs_with"] == [data["draft"]]
    command = cli("run", "hf:llmtp/main", "--engine", "vllm", "--dry-run", "--offline", "--json")
    argv, env = command.json["data"]["argv"], command.json["data"]["env"]
    assert argv[1:3] == ["serve", "llmtp/main"]
    assert json.loads(argv[argv.index("--speculative-config") + 1])["model"] == (
        "llmtp/main-assistant"
    )
    assert env["HF_HUB_OFFLINE"] == "1"
    assert Path(data["main"]).is_relative_to(env["HF_HUB_CACHE"])
    assert cli("rm", "--unused", "--yes", "--json").json["data"]["removed"] == []
    gone = cli("rm", "hf:llmtp/main", "--yes", "--json")
    assert gone.code == 0, gone.stdout
    assert not Path(data["main"]).exists()
    assert not Path(data["draft"]).exists()
    assert cli("list", "--json").json["data"]["files"] == []


def test_safetensors_of_other_programs_are_left_alone(
    cli: Cli, hub: FakeHub, vllm_pairs: Path
) -> None:
    publish(hub, vllm_pairs)
    pulled = cli("pull", "hf:llmtp/main", "--engine", "vllm", "--json", env=hub.env())
    weights = Path(pulled.json["data"]["main"]) / "model.safetensors"
    shutil.rmtree(cli.home / ".local" / "state" / "llmtp")
    assert cli("list", "--json").json["data"]["files"] == []
    assert cli("rm", "hf:llmtp/main", "--yes").code == 8
    assert weights.is_file()


def test_a_profile_may_say_which_engine_serves_it(cli: Cli, vllm_pairs: Path) -> None:
    profile = cli.profiles / "ours.yaml"
    profile.write_text(
        f"description: ours\nengine: vllm\nn_max: 3\n"
        f"vllm:\n  model: {vllm_pairs / 'main'}\n  assistant: {vllm_pairs / 'main-assistant'}\n"
    )
    data = cli("run", "ours", "--dry-run", "--json").json["data"]
    assert (data["engine"], data["n_max"]) == ("vllm", 3)
    assert data["argv"][2] == str(vllm_pairs / "main")
    shown = cli("profiles", "show", "ours", "--json").json["data"]
    assert shown["engine"] == "vllm"
    profile.write_text("engine: other\nvllm: {model: a/b, assistant: a/c}\n")
    assert_one_clear_line(cli("run", "ours", "--dry-run"), 2, "line 1", "llama-server or vllm")
