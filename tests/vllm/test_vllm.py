"""Everything that llmtp does with llama-server, with a real vLLM; only with --vllm.

The pairs and their answers are those of tests/vllm/pairs.py: a chat is accepted in full, and one
that ends in "odd" not at all. On a CPU MTP is on only where it is asked for.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from fake_hub import Repo, fake_hub
from filelock import FileLock
from harness import Cli, alive, assert_one_clear_line, chat
from openai import OpenAI

from llmtp.ports import free_port

pytestmark = pytest.mark.vllm

#: A start takes 20 s on a machine that has nothing else to do, and the first one a minute.
WAIT_S = 400.0
#: What a CPU wants of it; see the fact that bfloat16 may crash there.
EAGER = ("--", "--dtype", "float32", "--enforce-eager")
CTX = ("--ctx", "1024")


@pytest.fixture
def engine(cli: Cli, vllm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """llmtp with vLLM for its engine; one test at a time, because a server fills a machine."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    cli.wait_s = WAIT_S
    cli.env |= {
        "LLMTP_ENGINE": str(vllm),
        "PYTHONWARNINGS": "",
        "VLLM_CACHE_ROOT": str(shared / "vllm-cache"),
        "HF_HOME": str(shared / "vllm-hf"),
    }
    with FileLock(shared / "vllm.lock"):
        yield cli


def spec(url: str) -> tuple[int, int, int]:
    """Drafts, tokens drafted and tokens accepted, as the server itself counts them."""
    import urllib.request

    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    names = ("drafts", "draft_tokens", "accepted_tokens")
    found = [
        re.search(rf"^vllm:spec_decode_num_{name}_total\{{.*\}} (\S+)$", text, re.MULTILINE)
        for name in names
    ]
    drafts, drafted, accepted = (int(float(one[1])) for one in found if one)
    return drafts, drafted, accepted


def test_a_server_from_its_start_to_its_end(engine: Cli, vllm_pairs: Path) -> None:
    """Start, proof, clients that know nothing of vLLM, what is watched, the log, a report, stop."""
    with engine.start(
        "run", vllm_pairs / "main", *CTX, "--n-max", "4", "--make-key", "--json", *EAGER
    ) as running:
        planned = running.wait_event("planned")
        assert (planned["engine"], planned["tensor_parallel"], planned["n_max"]) == ("vllm", 1, 4)
        log = Path(running.wait_event("starting")["log"])
        ready = running.wait_event("ready")
        proof = running.wait_event("mtp")
        assert (proof["active"], proof["findings"]) == (True, [])
        assert proof["drafted"] == proof["accepted"] > 0
        url, key = ready["url"], Path(ready["api_key_file"]).read_text(encoding="ascii").strip()

        before = spec(url)
        even = chat(url, "hello", key=key, model="main", max_tokens=101)
        between = spec(url)
        odd = chat(url, "odd", key=key, model="main", max_tokens=101)
        after = spec(url)
        assert set(even["choices"][0]["message"]["content"].split()) == {"even"}
        assert set(odd["choices"][0]["message"]["content"].split()) == {"odd"}
        counts = [tuple(now - then for now, then in zip(a, b, strict=True))
                  for a, b in ((between, before), (after, between))]  # fmt: skip
        assert counts == [(20, 80, 80), (100, 400, 0)]

        client = OpenAI(base_url=f"{url}/v1", api_key=key)
        said = client.chat.completions.create(
            model=str(vllm_pairs / "main"), max_tokens=3,
            messages=[{"role": "user", "content": "so even"}],
        )  # fmt: skip
        assert said.choices[0].message.content == " even even even"
        with pytest.raises(Exception, match="401"):
            chat(url, "hello", model="main")

        (server,) = engine("ps", "--json").json["data"]["servers"]
        assert (server["state"], server["mtp"]) == ("ready", True)
        shown = engine("top", server["id"], "--once", "--json").json["data"]
        assert (shown["engine"], shown["n_max"], shown["ctx_per_slot"]) == ("vllm", 4, 1024)
        assert shown["total"]["requests"] == 4
        assert shown["total"]["accepted"] == proof["accepted"] + 80 + 4
        assert shown["total"]["acceptance_per_position"][0] == pytest.approx(
            shown["total"]["acceptance"], abs=0.05
        )
        foreign = engine("top", url, "--once", env={"XDG_STATE_HOME": str(engine.folder)})
        assert "in all" in foreign.stdout
        assert "n-max 4" in foreign.stdout

        everything = psutil.Process(ready["pid"]).children(recursive=True)
        listening = {
            connection.laddr.ip
            for process in (psutil.Process(ready["pid"]), *everything)
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        assert not any(key in word for process in everything for word in process.cmdline())
        assert running.wait_event("sample")["drafted"] is not None
        report = engine("bug-report", server["id"], "--out", "-").stdout
        assert "Gemma4 MTP" in report
        assert key not in report
        ended = engine("stop", server["id"])
        assert ended.code == 0
        assert running.process.wait(WAIT_S) == 0
    assert not any(alive(process.pid) for process in everything)
    kept = log.read_text(encoding="utf-8")
    assert key not in kept
    looks = ['"GET /metrics HTTP' in line for line in kept.splitlines()]
    assert any(looks)
    assert not any(first and second for first, second in pairwise(looks))


def test_a_worker_that_is_killed_brings_another_start(engine: Cli, vllm_pairs: Path) -> None:
    with engine.start(
        "run", vllm_pairs / "main", *CTX, "--n-max", "2", "--json", *EAGER
    ) as running:
        ready = running.wait_event("ready")
        running.wait_event("mtp")
        running.wait_event("sample")
        family = psutil.Process(ready["pid"]).children(recursive=True)
        (core,) = [one for one in family if "EngineCore" in " ".join(one.cmdline())]
        core.kill()
        again = running.wait_event("restarting")
        assert again["in_a_row"] == 1
        assert running.wait_event("mtp")["active"] is True
        running.wait_event("sample")
        answer = chat(ready["url"], "hello", model="main", max_tokens=3)
        assert answer["choices"][0]["message"]["content"] == " even even even"
        (server,) = engine("ps", "--json").json["data"]["servers"]
        assert server["restarts"] == 1
        assert running.interrupt() == 130
    assert not any(alive(process.pid) for process in family)


@pytest.mark.parametrize(
    ("draft", "rule"),
    [
        ("wrong-backbone", "draft-width"),
        ("wrong-heads", "head-size"),
        ("wrong-kv-heads", "kv-heads"),
        ("wrong-vocabulary", "vocabulary-size"),
        ("main", "draft-kind"),
    ],
)
def test_a_pair_that_does_not_fit_is_never_started(
    engine: Cli, vllm_pairs: Path, draft: str, rule: str
) -> None:
    result = engine("run", vllm_pairs / "main", "--draft", vllm_pairs / draft, "--ask", "x",
                    "--json", *EAGER)  # fmt: skip
    assert (result.code, result.json["findings"][0]["rule"]) == (3, rule)
    assert not list((engine.home / ".local/state/llmtp/logs").glob("*"))


def test_one_that_only_loses_speed_is_warned_of_twice(engine: Cli, vllm_pairs: Path) -> None:
    """Before it starts, for the window; and by the proof, for what it drafts."""
    result = engine("run", vllm_pairs / "main", "--draft", vllm_pairs / "wrong-window",
                    "--n-max", "2", *CTX, "--ask", "hello", *EAGER)  # fmt: skip
    assert result.code == 0
    assert set(result.stdout.split()) == {"even"}
    assert "sliding window differs" in result.stderr
    assert "none of" in result.stderr


def test_without_a_drafter_it_answers_before_it_is_called_ready(
    engine: Cli, vllm_pairs: Path
) -> None:
    result = engine("run", vllm_pairs / "main", *CTX, "--draft", "off", "--ask", "so odd", "--json",
                    *EAGER)  # fmt: skip
    assert result.code == 0
    data = result.json["data"]
    assert (data["n_max"], data["drafted"], data["acceptance"]) == (0, 0, None)
    assert set(data["answer"].split()) == {"odd"}
    assert data["predicted"] > 100


def test_the_bench_measures_it_and_tune_finds_what_gains(engine: Cli, vllm_pairs: Path) -> None:
    bench = engine("bench", vllm_pairs / "main", "--ctx", "2048", "--n-max", "4", "--budget", "30",
                   "--json", *EAGER)  # fmt: skip
    assert bench.code == 0, bench.stderr
    data = bench.json["data"]
    off, on = data["arms"]
    assert (off["n_max"], off["acceptance"]) == (0, None)
    assert (on["n_max"], on["acceptance_per_position"]) == (4, [1.0] * 4)
    assert data["identical_output"] is True
    assert data["engine"]["build"].startswith("vLLM 0.")
    tune = engine("tune", vllm_pairs / "main", "--ctx", "2048", "--workload", "list", "--json",
                  *EAGER)  # fmt: skip
    assert tune.code == 0, tune.stdout
    found = tune.json["data"]
    measured = {one["n_max"]: one for one in found["arms"] if one["rounds"]}
    assert measured[0]["acceptance"] is None
    assert all(one["acceptance"] == 1.0 for n_max, one in measured.items() if n_max)
    assert found["best_n_max"] in measured
    assert found["acceptance_per_position"] == [1.0] * 12


def test_what_makes_a_start_fail_is_named(engine: Cli, vllm_pairs: Path) -> None:
    main = vllm_pairs / "main"
    unknown = engine("run", main, *CTX, "--ask", "x", *EAGER, "--no-such-flag")
    assert_one_clear_line(unknown, 6, "does not know --no-such-flag", "behind --")
    pipeline = engine("run", main, *CTX, "--n-max", "2", "--ask", "x", *EAGER, "-pp", "2")
    assert_one_clear_line(pipeline, 2, "does not go with MTP", "--nodes")


def test_what_was_pulled_is_served_without_the_network(
    engine: Cli, vllm_pairs: Path, tmp_path: Path
) -> None:
    """By the name that it has at the Hub, and at the commit that was checked."""
    engine.env["HF_HOME"] = str(tmp_path / "hf")
    with fake_hub() as hub:
        for name in ("main", "main-assistant"):
            files = {one.name: one for one in (vllm_pairs / name).iterdir()}
            hub.repos[f"llmtp/{name}"] = Repo(files)
        assert engine("pull", "hf:llmtp/main", "--engine", "vllm", env=hub.env()).code == 0
    words = ("run", "hf:llmtp/main", "--offline", *CTX, "--n-max", "4", "--json")
    argv = engine(*words, "--dry-run").json["data"]["argv"]
    assert argv[2] == "llmtp/main"
    result = engine(*words, "--ask", "hello", *EAGER)
    assert result.code == 0, result.stdout
    assert result.json["data"]["acceptance"] == 1.0


def test_tensor_parallel_on_two_cores(engine: Cli, vllm_pairs: Path) -> None:
    result = engine(
        "run", vllm_pairs / "main", *CTX, "--n-max", "4", "--ask", "hello", "--json", *EAGER,
        "--tensor-parallel-size", "2", env={"VLLM_CPU_OMP_THREADS_BIND": "0|1"},
    )  # fmt: skip
    assert result.code == 0, result.stdout
    data = result.json["data"]
    assert data["acceptance"] == 1.0
    assert set(data["answer"].split()) == {"even"}


def test_two_machines_serve_together_and_the_second_follows(engine: Cli, vllm_pairs: Path) -> None:
    port = free_port()
    words: list[str | Path] = ["run", vllm_pairs / "main", *CTX, "--n-max", "4", "--json"]
    words += ["--nodes", "2", "--master", f"127.0.0.1:{port}"]
    cores = [{"VLLM_CPU_OMP_THREADS_BIND": str(core)} for core in (0, 1)]
    with (
        engine.start(*words, "--node-rank", "1", *EAGER, env=cores[1]) as second,
        engine.start(*words, "--node-rank", "0", *EAGER, env=cores[0]) as first,
    ):
        part = second.wait_event("starting")["pid"]
        url = first.wait_event("ready")["url"]
        assert first.wait_event("mtp")["accepted"] > 0
        joined = second.wait_event("joined")
        assert set(joined) - {"event", "at"} == {"pid", "node_rank", "first"}
        assert (joined["node_rank"], joined["first"]) == (1, f"127.0.0.1:{port}")
        before = spec(url)
        answer = chat(url, "hello", model="main", max_tokens=21)
        assert set(answer["choices"][0]["message"]["content"].split()) == {"even"}
        assert [now - then for now, then in zip(spec(url), before, strict=True)] == [4, 16, 16]
        assert first.interrupt() == 130
        gone = second.wait_event("restarting")
        assert gone["rule"] == "first-gone"
        assert second.wait_event("starting")["pid"] != part
        assert not alive(part)
        assert second.interrupt(signal.SIGTERM) == 143
