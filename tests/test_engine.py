"""Finding an engine, knowing its build, and its command line."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from fake_engine import HELP
from harness import Cli, assert_one_clear_line, fake_engine

from llmtp.engine.llama.build import parse_help

SKIPPED = {
    "no-mtp": "too old for MTP",
    "no-gemma4": "does not know gemma4-assistant",
    "illegal-instruction": "built for another CPU",
    "missing-library": "misses the shared library libcudart.so.13",
}


def test_help_gives_aliases_and_types() -> None:
    build = parse_help(HELP)
    assert build.aliases("-c") == ("-c", "--ctx-size")
    assert build.aliases("--n-gpu-layers") == ("-ngl", "--gpu-layers", "--n-gpu-layers")
    assert build.spec_types == ("none", "draft-simple", "draft-mtp", "ngram-mod")
    assert not build.has("--no-mmap")
    assert build.aliases("--nope") == ()


@pytest.mark.parametrize("mode", SKIPPED)
def test_an_engine_that_cannot_is_refused_with_the_reason(
    cli: Cli, tmp_path: Path, mode: str
) -> None:
    program = fake_engine(tmp_path)
    result = cli("run", "crafted", "--ask", "x", "--engine", program, env={"FAKE_ENGINE": mode})
    assert_one_clear_line(result, 9, str(program), SKIPPED[mode])


@pytest.mark.parametrize("mode", SKIPPED)
def test_another_engine_is_taken_and_the_skipped_one_named(
    cli: Cli, tmp_path: Path, mode: str
) -> None:
    program = fake_engine(tmp_path)
    path = f"{program.parent}:{cli.env['PATH']}"
    cli.env.pop("LLMTP_ENGINE", None)
    result = cli("plan", "crafted", "--json", env={"FAKE_ENGINE": mode, "PATH": path})
    assert result.code == 0
    skipped = [f for f in result.json["findings"] if f["rule"] == "engine-skipped"]
    assert len(skipped) == 1
    assert f"{program} (PATH)" in skipped[0]["message"]
    assert SKIPPED[mode] in skipped[0]["message"]
    assert result.json["data"]["argv"][0] != str(program)


def test_the_first_that_can_is_taken_in_order(cli: Cli, tmp_path: Path) -> None:
    cli.env.pop("LLMTP_ENGINE", None)
    engines = {}
    for name in ("flag", "variable", "config", "path"):
        (tmp_path / name).mkdir()
        engines[name] = fake_engine(tmp_path / name)
    config = cli.profiles.with_name("config.yaml")
    config.write_text(f"engine: {engines['config']}\n", encoding="utf-8")
    path = {"PATH": f"{engines['path'].parent}:{cli.env['PATH']}"}
    variable = {"LLMTP_ENGINE": str(engines["variable"])}

    def chosen(*args: str | Path, env: dict[str, str]) -> str:
        return str(cli("plan", "crafted", "--json", *args, env=env).json["data"]["argv"][0])

    assert chosen("--engine", engines["flag"], env=path | variable) == str(engines["flag"])
    assert chosen(env=path | variable) == str(engines["variable"])
    assert chosen(env=path) == str(engines["config"])
    config.unlink()
    assert chosen(env=path) == str(engines["path"])


def test_what_a_build_can_do_is_asked_once(cli: Cli, tmp_path: Path) -> None:
    program = fake_engine(tmp_path)
    text = program.read_text(encoding="utf-8")
    program.write_text(
        text.replace("def main() -> int:", "def main() -> int:\n    note()\n", 1).replace(
            'if __name__ == "__main__":',
            "def note() -> None:\n"
            f"    with open({str(tmp_path / 'asked')!r}, 'a') as out:\n"
            "        out.write(sys.argv[1].replace('-devices', '') + '\\n')\n\n\n"
            'if __name__ == "__main__":',
        ),
        encoding="utf-8",
    )
    for _ in range(2):
        assert cli("plan", "crafted", "--engine", program).code == 0
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in asked] == ["--help", "--model", "--list", "--list"]
    program.touch()
    assert cli("plan", "crafted", "--engine", program).code == 0
    assert len((tmp_path / "asked").read_text(encoding="utf-8").splitlines()) == 7


def known_wrongly(cli: Cli) -> str:
    """A cache that knows the engine, in another form."""
    path = cli("plan", "crafted", "--json").json["data"]["argv"][0]
    return json.dumps({str(Path(path).resolve()): {"stamp": 1}})


def test_a_broken_cache_is_as_good_as_none(cli: Cli, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "llmtp").mkdir(parents=True)
    for content in ("{", "[]", '{"x": 1}', known_wrongly(cli)):
        (cache / "llmtp" / "engines.json").write_text(content, encoding="utf-8")
        assert cli("plan", "crafted", env={"XDG_CACHE_HOME": str(cache)}).code == 0
    known = json.loads((cache / "llmtp" / "engines.json").read_text(encoding="utf-8"))
    assert len(known) >= 1


def test_only_flags_that_the_build_has_are_passed(cli: Cli, tmp_path: Path) -> None:
    program = fake_engine(tmp_path)
    argv = cli("plan", "crafted", "--engine", program, "--json").json["data"]["argv"]
    build = parse_help(HELP)
    assert all(build.has(word) for word in argv[1:] if word.startswith("--"))
    assert "--cors-origins" not in argv
    assert "--fit" in argv


def test_a_device_of_the_engine_is_planned_and_passed(cli: Cli, tmp_path: Path) -> None:
    program = fake_engine(tmp_path)
    result = cli("plan", "crafted", "--engine", program, "--json", env={"FAKE_ENGINE": "gpu"})
    data = result.json["data"]
    argv = data["argv"]
    assert [d["id"] for d in data["devices"]] == ["CUDA0"]
    assert data["devices"][0]["used_bytes"] == sum(
        data["devices"][0][f"{part}_bytes"]
        for part in ("weights", "kv", "compute", "draft", "overhead")
    )
    assert argv[argv.index("--device") + 1] == "CUDA0"
    assert argv[argv.index("--spec-draft-device") + 1] == "CUDA0"
    assert argv[argv.index("--gpu-layers") + 1] == "7" == str(data["gpu_layers"])


def test_dry_run_prints_a_shell_line_that_serves(cli: Cli) -> None:
    line = cli("run", "crafted", "--dry-run").stdout
    assert shlex.split(line)[0] in ("env", cli.env.get("LLMTP_ENGINE"))
    helped = subprocess.run(
        ["sh", "-c", line.strip() + " --help"], env=cli.env, capture_output=True, text=True
    )
    assert helped.returncode == 0
    assert "--spec-draft-n-max" in helped.stdout


def test_own_flags_pass_through(cli: Cli) -> None:
    result = cli("run", "crafted", "--dry-run", "--json", "--", "--top-k", "7", "-t", "1")
    argv = result.json["data"]["argv"]
    assert argv[-4:] == ["--top-k", "7", "-t", "1"]
    # The plan's own --threads gives way.
    assert "--threads" not in argv


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["-c", "512"], "contradicts the plan, which says --ctx-size 8192"),
        (["--n-gpu-layers", "3"], "--gpu-layers 0"),
        (["--spec_draft_n_max", "9"], "use --n-max"),
        (["--host", "0.0.0.0"], "use --host"),
        (["--api-key", "secret"], "use --api-key-file"),
        (["--hf-repo", "a/b"], "would bring another model"),
        (["--log-disable"], "hide the server"),
        (["--ctx-sise", "1"], "did you mean '--ctx-size'"),
        (["--ctx-size=1"], "write --ctx-size 1"),
    ],
)
def test_own_flags_may_not_contradict_the_plan(cli: Cli, extra: list[str], words: str) -> None:
    assert_one_clear_line(cli("run", "crafted", "--ask", "x", "--", *extra), 2, words)


def test_flags_that_no_plan_counted_are_named(cli: Cli) -> None:
    result = cli("run", "crafted", "--dry-run", "--json", "--", "--swa-full")
    assert [f["rule"] for f in result.json["findings"]] == ["unplanned-flag"]


def test_variables_that_are_flags_in_disguise_do_not_reach_the_engine(cli: Cli) -> None:
    result = cli("run", "crafted", "--dry-run", "--json", env={"LLAMA_ARG_CTX_SIZE": "64"})
    assert result.json["data"]["env"]["LLAMA_ARG_CTX_SIZE"] is None
    assert [f["rule"] for f in result.json["findings"]] == ["engine-variables"]
    answered = cli("run", "crafted", "--ask", "x", env={"LLAMA_ARG_SPEC_DRAFT_N_MAX": "1"})
    assert answered.code == 0
    assert "of 81 drafted" in answered.stderr
