"""`llmtp tune` as a user runs it: the real engine with the crafted and the demo pair."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import Cli, assert_one_clear_line, engine_that, fake_engine, wait_until

from llmtp.engine.steps import Step
from llmtp.machine.tuned import Remembered, recall
from llmtp.tune.curve import Probed
from llmtp.tune.measure import Known, Visit
from llmtp.tune.progress import Progress
from llmtp.tune.search import TOP, Arm
from llmtp.tune.work import Amount

#: What scripts may rely on.
KEYS = {"model", "best_n_max", "best_p_min", "best_draft_sampling", "tokens_per_s", "speedup",
        "arms", "acceptance_per_position", "draft_s", "workload", "temp", "tokens", "setting",
        "build", "driver", "starts", "others_cores", "wall_s", "at", "noticed",
        "is_remembered", "verdict", "remembered", "html"}  # fmt: skip
ARM = {"n_max", "p_min", "draft_sampling", "tokens_per_s", "predicted_tokens_per_s", "acceptance",
       "step_s", "rounds"}  # fmt: skip


@pytest.fixture
def pair(crafted: Path) -> Path:
    """Named by its file: the profile of that name pins an n-max."""
    return crafted / "crafted.gguf"


def data_of(cli: Cli, *args: str | Path, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Of a command that goes well."""
    result = cli(*args, "--json", env=env)
    assert result.code == 0, (result.stdout[-2000:], result.stderr)
    data = result.json["data"]
    assert isinstance(data, dict)
    return data


def kept(cli: Cli) -> Path:
    return cli.home / ".local/state/llmtp/tuned.json"


def stopped_runs(cli: Cli) -> list[Path]:
    return sorted((cli.home / ".local/state/llmtp/tune").glob("*"))


#: What tune has left for a pair on this machine, which is the same in all homes.
_LEFT: dict[Path, str] = {}


def found(cli: Cli, pair: Path, **changes: Any) -> dict[str, Any]:
    """That, with changes."""
    if pair not in _LEFT:
        data_of(cli, "tune", pair, "--workload", "json")
        _LEFT[pair] = kept(cli).read_text()
    text = json.loads(_LEFT[pair])
    (entry,) = text["tuned"]
    entry |= changes
    kept(cli).parent.mkdir(parents=True, exist_ok=True)
    kept(cli).write_text(json.dumps(text))
    assert isinstance(entry, dict)
    return entry


def test_it_measures_few_tells_of_all_and_is_remembered(cli: Cli, pair: Path) -> None:
    tuned = data_of(cli, "tune", pair)
    assert set(tuned) == KEYS
    arms = tuned["arms"]
    assert all(set(arm) == ARM for arm in arms)
    plain = [arm for arm in arms if not arm["p_min"]]
    assert [arm["n_max"] for arm in plain] == list(range(TOP + 1))
    measured = [arm for arm in arms if arm["tokens_per_s"] is not None]
    assert tuned["starts"] == len(measured) + 1 <= 6
    assert measured[0]["n_max"] == 0
    assert len(measured) >= 2
    assert all(arm["predicted_tokens_per_s"] > 0 for arm in arms)
    best = next(
        arm for arm in measured
        if (arm["n_max"], arm["p_min"]) == (tuned["best_n_max"], tuned["best_p_min"])
    )  # fmt: skip
    fastest = max(arm["predicted_tokens_per_s"] for arm in measured)
    assert best["predicted_tokens_per_s"] > 0.97 * fastest
    shares = tuned["acceptance_per_position"]
    assert len(shares) == TOP
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[0] <= 1
    assert tuned["draft_s"] > 0
    assert tuned["workload"] == "all"
    assert not stopped_runs(cli)
    planned = data_of(cli, "plan", pair)
    assert (planned["n_max"], planned["p_min"]) == (tuned["best_n_max"], tuned["best_p_min"])
    assert any("as tuned here" in why for why in planned["why"])
    answered = cli("run", pair, "--ask", "hello", "--json")
    assert answered.json["data"]["n_max"] == tuned["best_n_max"]


def test_what_is_remembered_becomes_the_plan(cli: Cli, pair: Path) -> None:
    entry = found(cli, pair, n_max=5, p_min=0.5, tokens_per_s=150.0, off_tokens_per_s=100.0)
    planned = data_of(cli, "plan", pair)
    assert (planned["n_max"], planned["p_min"]) == (5, 0.5)
    argv = planned["argv"]
    assert argv[argv.index("--spec-draft-n-max") + 1] == "5"
    assert argv[argv.index("--spec-draft-p-min") + 1] == "0.5"
    (why,) = [one for one in planned["why"] if "n-max" in one]
    assert why == (
        f"n-max 5, p-min 0.5, as tuned here for json at temperature 0 on {entry['at']}: 1.50 times "
        "the speed of off"
    )
    assert planned["tuned"]["at"] == entry["at"]
    assert (planned["step_costs_source"], planned["step_costs"]) == (
        f"tune, {entry['at']}", entry["step_costs"]
    )  # fmt: skip
    shown = cli("plan", pair).stdout
    assert "n-max 5 as tuned" in shown
    drafted = data_of(cli, "run", pair, "--ask", "hello")
    assert drafted["n_max"] == 5
    # What is asked for by name, and another context or KV type, have their own n-max.
    assert data_of(cli, "plan", pair, "--n-max", "2")["n_max"] == 2
    assert data_of(cli, "plan", pair, "--n-max", "2")["p_min"] == 0
    for option, value, holds in (("--ctx", "256", True), ("--kv-type", "bf16", False)):
        whys = data_of(cli, "plan", pair, option, value)["why"]
        assert any("as tuned" in why for why in whys) is holds, option
    replaced = cli("run", pair, "--dry-run", "--", "--spec-draft-p-min", "0.7").stdout.split()
    assert replaced[-1] == "0.7"
    assert replaced.count("--spec-draft-p-min") == 1


def test_off_is_remembered_too(cli: Cli, pair: Path) -> None:
    found(cli, pair, n_max=0, p_min=0.0)
    result = cli("plan", pair, "--json")
    assert result.json["data"]["n_max"] == 0
    (finding,) = [one for one in result.json["findings"] if one["rule"] == "mtp-no-gain"]
    assert "as tuned here" in finding["message"]
    found(cli, pair, n_max=0, p_min=0.0, insisted_n_max=4, insisted_tokens_per_s=80.0,
          off_tokens_per_s=100.0)  # fmt: skip
    planned = data_of(cli, "plan", pair, "--draft", pair.with_name("mtp-crafted.gguf"))
    assert planned["n_max"] == 4
    assert any("0.80 times the speed of off, but MTP was asked for" in w for w in planned["why"])
    assert data_of(cli, "plan", pair, "--parallel", "2")["tuned"] is None


def test_another_build_or_driver_makes_it_old(cli: Cli, pair: Path, tmp_path: Path) -> None:
    found(cli, pair, n_max=2, p_min=0.0)
    other = engine_that(tmp_path)
    asked = cli("run", pair, "--ask", "hello", "--engine", other)
    assert asked.code == 0
    assert "n-max 2 was tuned with another build of the engine (b" in asked.stderr
    assert f"→ measure again: llmtp tune {pair}\n" in asked.stderr
    assert "was tuned with" not in cli("run", pair, "--ask", "hello").stderr
    found(cli, pair, driver="999.1")
    told = cli("plan", pair, "--json")
    (finding,) = [one for one in told.json["findings"] if one["rule"] == "tuned-old"]
    assert "driver 999.1, which is now none" in finding["message"]
    found(cli, pair, files="1 2")
    told = cli("plan", pair, "--ctx", "1k", "--json")
    (finding,) = [one for one in told.json["findings"] if one["rule"] == "tuned-old"]
    assert "other files of that name and size" in finding["message"]
    assert finding["fix"] == f"measure again: llmtp tune {pair} --ctx 1024"


def test_a_profile_beats_what_is_remembered(cli: Cli) -> None:
    result = cli("tune", "crafted", "--workload", "json", "--json")
    assert result.code == 0
    (finding,) = [one for one in result.json["findings"] if one["rule"] == "pinned"]
    assert "pins n-max 3" in finding["message"]
    assert data_of(cli, "plan", "crafted")["n_max"] == 3


def test_a_stopped_run_goes_on(cli: Cli, pair: Path) -> None:
    with cli.start("tune", pair) as running:
        running.wait_line(lambda line: line.startswith("all n-max"))
        assert [one["id"] for one in data_of(cli, "ps")["servers"]] == ["crafted-tune"]
        running.wait_line(lambda line: "tokens/s" in line)
        assert running.interrupt() == 130
        said = running.rest()
    assert not any("Traceback" in line for line in said)
    (left,) = stopped_runs(cli)
    assert len(json.loads(left.read_text())["known"]["visits"]) >= 1
    assert not kept(cli).exists()
    again = cli("tune", pair)
    assert again.code == 0
    assert "going on from a run that was stopped: " in again.stderr
    assert "all n-max" not in again.stderr
    assert kept(cli).exists()
    assert not stopped_runs(cli)


A_RUN = Known(
    amount=Amount(3, 96),
    build="b1",
    probed=Probed(TOP, {"json": (Step(12, 2, 0.1),)}, (Step(0, 0, 0.02),), 0.001),
    visits=[Visit(Arm(2), {("json", 0): 50.0}, {"json": (Step(2, 1, 0.03),)})],
)


def test_what_a_stopped_run_leaves_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    Progress({"model": "x"}).keep(A_RUN)
    assert Progress({"model": "x"}).read() == A_RUN
    assert Progress({"model": "y"}).read() == Known()
    text = Progress({"model": "x"}).path.read_text()
    Progress({"model": "x"}).path.write_text(text.replace('"at": 1', '"at": '))
    assert Progress({"model": "x"}).read() == Known(), "it is too old"


@pytest.mark.parametrize(
    ("word", "damage"),
    [
        ("", ""), ("{", ""), ('"version": 1', '"version": 2'), ('"model": "x"', '"model": "z"'),
        ("[12, 2, 0.1]", "[1, 2, 0.1]"), ("[12, 2, 0.1]", "[12, 2, -0.1]"),
        ("[12, 2, 0.1]", "[12, 2]"), ('"n_max": 2', '"n_max": 99'), ('"n_max": 2', '"what": 2'),
        ('"greedy"', '"--model"'), ('"p_min": 0.0', '"p_min": 2.0'), ("50.0", "-50.0"),
        ("50.0", "null"), ("50.0", "NaN"), ("0.02", "Infinity"), ('"n_max": 2', '"n_max": 2.5'),
        ('{"json": [[12, 2, 0.1]]}', "[]"), ("[[0, 0, 0.02]]", "[]"),
        ('"draft_s": 0.001', '"draft_s": "x"'), ('"rounds": 3', '"rounds": {}'),
    ],
)  # fmt: skip
def test_what_a_stopped_run_left_may_be_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, damage: str
) -> None:
    """Then the next one begins anew."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    progress = Progress({"model": "x"})
    progress.keep(A_RUN)
    text = progress.path.read_text()
    assert word in text
    progress.path.write_text(text.replace(word, damage) if word else "")
    assert progress.read() == Known()


@pytest.mark.soak
def test_a_kill_at_any_moment_loses_no_more_than_a_server(
    cli: Cli, pair: Path, soak: bool, dice: random.Random
) -> None:
    for _ in range(15 if soak else 1):
        cli("tune", "--forget")
        with cli.start("tune", pair, "--workload", "json") as running:
            wanted = dice.randint(1, 2)  # there are three servers at least
            running.wait_line(lambda line: line.startswith("all n-max"))
            for _ in range(wanted - 1):
                running.wait_line(lambda line: "tokens/s" in line)
            running.process.send_signal(signal.SIGKILL)
            running.process.wait(60)
        (left,) = stopped_runs(cli)
        assert len(json.loads(left.read_text())["known"]["visits"]) >= wanted - 1
        stopped = cli("stop", "crafted-tune")
        between_servers = "crafted-tune has ended" in stopped.stderr
        assert stopped.code == (8 if between_servers else 0), stopped.stderr
        again = cli("tune", pair, "--workload", "json")
        assert again.code == 0, again.stderr
        assert "going on from a run that was stopped" in again.stderr


def test_forgetting(cli: Cli, pair: Path) -> None:
    found(cli, pair)
    unknown = cli("tune", "another", "--forget")
    assert_one_clear_line(unknown, 8, "another", "expected crafted")
    assert_one_clear_line(cli("tune", "x", "--forget", "--temp", "1"), 2, "leave out --temp")
    result = cli("tune", pair, "--forget")
    assert (result.code, result.stdout) == (0, "1 result forgotten\n")
    assert json.loads(kept(cli).read_text())["tuned"] == []
    assert data_of(cli, "tune", "--forget")["forgotten"] == 0
    assert not kept(cli).exists()
    assert not any("as tuned" in why for why in data_of(cli, "plan", pair)["why"])


def test_a_damaged_file_is_put_aside_and_told(cli: Cli, pair: Path) -> None:
    found(cli, pair)
    good = kept(cli).read_text()
    for damaged in ("# mine\n" + good, good.replace('"version": 1', '"version": 2'),
                    good.replace('"n_max": ', '"n_max": 9', 1)):  # fmt: skip
        kept(cli).write_text(damaged)
        asked = cli("plan", pair)
        assert asked.code == 0
        assert f"{kept(cli)} is not used as a whole" in asked.stderr
        assert_one_clear_line(cli("tune", pair, "--forget"), 2, "is damaged")
        assert kept(cli).read_text() == damaged
    result = cli("tune", pair, "--workload", "json", "--json")
    finding = [one for one in result.json["findings"] if one["rule"] == "tuned-damaged"][-1]
    aside = kept(cli).with_suffix(".damaged")
    assert str(aside) in finding["message"]
    assert aside.read_text() == damaged
    assert len(json.loads(kept(cli).read_text())["tuned"]) == 1


SETTING = {"device": "cpu: x", "main": "m", "draft": "d", "kv_type": "f16", "ctx_band": 8192}


def remembered(pair: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, text: str) -> Remembered:
    """What llmtp makes of a file with that text."""
    monkeypatch.setenv("XDG_STATE_HOME", str(cli.home / ".local/state"))
    found(cli, pair, n_max=7, p_min=0.0)
    assert [one.n_max for one in recall().entries] == [7]
    kept(cli).write_text(text)
    return recall()


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"version": 2, "tuned": []}', '{"version": 1, "tuned": {}}',
     '{"version": 1, "tuned": [1, {}, {"setting": 1}]}', "[" * 100_000, " " * (5 << 20)],
)  # fmt: skip
def test_a_file_that_is_no_use_is_not_used(
    cli: Cli, pair: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    known = remembered(pair, cli, monkeypatch, text)
    assert known.entries == ()
    assert known.finding is not None


@pytest.mark.parametrize(
    "change",
    [{"n_max": 10**9}, {"n_max": "3"}, {"n_max": -1}, {"n_max": True}, {"p_min": float("nan")},
     {"p_min": 1.5}, {"tokens_per_s": 0}, {"off_tokens_per_s": -1.0}, {"draft_sampling": "--rpc"},
     {"workload": ["x"]}, {"at": None}, {"more": 1}, {"step_costs": []}, {"step_costs": "abc"},
     {"step_costs": [1.0, -2.0]}, {"setting": {}}, {"n_max": 16}, {"insisted_n_max": 0},
     {"model": "x" * 1000}, {"temp": "warm"}, {"setting": SETTING | {"device": ["x"]}},
     {"setting": SETTING | {"ctx_band": {}}}],
)  # fmt: skip
def test_what_cannot_be_true_is_not_used(
    cli: Cli, pair: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    found(cli, pair)
    text = json.loads(kept(cli).read_text())
    text["tuned"][0] |= change
    known = remembered(pair, cli, monkeypatch, json.dumps(text))
    assert known.entries == ()
    assert known.fault == "1 of its entries cannot be used"


def test_hostile_words_reach_no_terminal(cli: Cli, pair: Path) -> None:
    found(cli, pair, n_max=2, workload="x\x1b[31mred", at="2026\x1b]0;title\x07")
    shown = cli("plan", pair)
    assert "as tuned here" in shown.stdout
    assert "\x1b" not in shown.stdout + shown.stderr


def test_for_people_and_as_a_page(cli: Cli, pair: Path, tmp_path: Path) -> None:
    page = tmp_path / "tuned.html"
    result = cli("tune", pair, "--workload", "json", "--html", page)
    assert result.code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["off", "n-max"]
    assert sum(line.startswith("n-max") for line in lines) >= TOP
    assert any("measured, the best" in line for line in lines)
    assert any("expected" in line for line in lines)
    assert max(map(len, lines)) <= 100
    assert any(line.startswith("drafts that were right") for line in lines)
    told = " ".join(lines)
    assert "run and plan use it from now on, with contexts up to 8k, for json" in told
    assert "about" in result.stderr
    assert "to go" in result.stderr
    assert "\x1b" not in result.stdout + result.stderr
    text = page.read_text()
    assert "MTP" in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ((), 2, ("MODEL", "llmtp tune demo")),
        (("demo", "--workload", "prosa"), 2, ("prosa", "did you mean 'prose'?")),
        (("demo", "--draft", "off"), 2, ("drafter", "--draft")),
        (("demo", "--ctx", "256"), 2, ("256", "at least 512", "larger --ctx")),
        (("demo", "--temp", "9"), 2, ("--temp",)),
        (("demo", "--html", "page.txt"), 2, ("page.txt", ".html")),
        (("demo", "--temp", "nan"), 2, ("nan", "0 to 5")),
        (("demo", "--", "--spec-draft-p-min", "0.3"), 2, ("tune itself sets --spec-draft-p-min",)),
        (("nothing", ), 8, ("nothing",)),
        (("demo", "--n-max", "3"), 2, ("--n-max",)),
    ],
)  # fmt: skip
def test_bad_wishes(cli: Cli, args: tuple[str, ...], code: int, words: tuple[str, ...]) -> None:
    result = cli("tune", *args)
    assert_one_clear_line(result, code, *words)


def test_a_build_that_tells_no_steps(cli: Cli, pair: Path, tmp_path: Path) -> None:
    result = cli("tune", pair, "--engine", fake_engine(tmp_path), env={"FAKE_ENGINE": "untimed"})
    assert_one_clear_line(result, 9, "does not tell how long its steps take", "llmtp bench")
    assert not kept(cli).exists()


def test_with_arguments_of_the_engine_nothing_is_remembered(cli: Cli, pair: Path) -> None:
    result = cli("tune", pair, "--workload", "json", "--json", "--", "--threads", "1")
    assert result.json["data"]["is_remembered"] is False
    assert "not-remembered" in [one["rule"] for one in result.json["findings"]]
    assert not kept(cli).exists()


def test_a_model_that_ends_at_once_is_no_fault_of_the_engine(cli: Cli, pair: Path) -> None:
    for _ in range(2):
        result = cli("tune", pair, "--workload", "json", "--", "--logit-bias", "1+100")
        assert_one_clear_line(result, 2, "the answers end at once")
    assert not stopped_runs(cli)


def test_a_state_that_is_a_file_is_told_before_anything_starts(cli: Cli, pair: Path) -> None:
    blocked = cli.folder / "blocked"
    blocked.write_text("a file where the folder should be")
    result = cli("tune", pair, env={"XDG_STATE_HOME": str(blocked)})
    assert result.code == 2
    assert "cannot be written" in result.stderr


def no_engine_lives(llmtp: subprocess.Popen[str]) -> bool:
    """Kill those that do, until it has ended."""
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(llmtp.pid).children(recursive=True):
            if "llama-server" in process.name():
                process.kill()
    return llmtp.poll() is not None


def test_a_server_that_dies_is_told_and_nothing_is_lost(cli: Cli, pair: Path) -> None:
    with cli.start("tune", pair) as running:
        running.wait_line(lambda line: line.startswith("all n-max"))
        wait_until(lambda: no_engine_lives(running.process))
        assert running.process.wait(60) in (6, 7)
        said = running.rest()
    assert any("killed" in line for line in said), said
    assert any("the same command goes on from there" in line for line in said), said
    assert len(stopped_runs(cli)) == 1
