"""`llmtp top`: the real engine watched from outside, and servers of other kinds, good and bad."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import ENTRY
from fake_card import fake_card
from fake_server import PROPS, Answer, FakeServer, dripping, endless, slot, text, told
from harness import WAIT_S, Cli, Running, assert_one_clear_line, chat, live_screen, wait_until

from llmtp.machine.identity import ProcessId
from llmtp.server.log import older_log
from llmtp.server.tail import LogTail
from llmtp.watch import EntryWatch

EXPECTED = json.loads((Path(__file__).parent / "crafted" / "expected.json").read_text())
#: Of one answer at n-max 3: 27 drafts, 81 tokens in them, 46 accepted.
COUNTS = EXPECTED["counts"]["3"]
AT_POSITION = (21 / 27, 15 / 27, 10 / 27)
TOTALS = {"requests", "prompt_tokens", "predicted_tokens", "mean_tokens_per_s",
          "prompt_tokens_per_s", "drafts", "drafted", "accepted", "acceptance",
          "acceptance_per_position", "mean_accepted_length"}  # fmt: skip
SAMPLE = {"id", "url", "engine", "build", "model", "state", "uptime_s", "mtp", "n_max", "slots",
          "busy_slots", "waiting", "ctx_size", "ctx_per_slot", "context_used",
          "fullest_slot_used", "kv_share", "tokens_per_s", "window", "total", "rss_bytes",
          "device_used_bytes", "device_total_bytes", "power_w", "workers", "advice",
          "refused"}  # fmt: skip


@contextlib.contextmanager
def crafted_server(cli: Cli, *options: str) -> Iterator[tuple[Running, dict[str, Any]]]:
    """The crafted pair, proved; its event `ready`."""
    with cli.start("run", "crafted", "--json", *options) as running:
        ready = running.wait_event("ready")
        running.wait_event("sample")
        yield running, ready


def once(cli: Cli, *args: str) -> dict[str, Any]:
    result = cli("top", "--once", "--json", *args)
    assert result.code == 0, result.stdout
    data = result.json["data"]
    assert isinstance(data, dict)
    return data


def test_one_look_at_a_server_of_ours(cli: Cli) -> None:
    with crafted_server(cli) as (running, ready):
        mtp = next(json.loads(line) for line in running.seen if '"mtp"' in line.split(",")[0])
        chat(ready["url"])
        chat(ready["url"])
        result = cli("top", "--once", "--json")
        data = result.json["data"]
        assert set(data) == SAMPLE
        assert set(data["total"]) == TOTALS
        assert set(data["window"]) == TOTALS | {"window_s"}
        known = (data["id"], data["url"], data["state"], data["mtp"], data["n_max"])
        assert known == (ready["id"], ready["url"], "idle", True, 3)
        total = data["total"]
        # The proof is a request, too.
        assert total["requests"] == 3
        assert total["drafted"] == mtp["drafted"] + 2 * COUNTS["drafted"]
        assert total["accepted"] == mtp["accepted"] + 2 * COUNTS["accepted"]
        assert total["acceptance"] == total["accepted"] / total["drafted"]
        assert sum(total["acceptance_per_position"]) == pytest.approx(
            total["mean_accepted_length"] - 1, abs=0.002
        )
        assert total["mean_tokens_per_s"] > 0
        assert total["prompt_tokens_per_s"] > 0
        assert (data["ctx_size"], data["ctx_per_slot"], data["slots"]) == (8192, 8192, 1)
        assert data["context_used"] > 0
        assert data["rss_bytes"] > 1 << 20
        assert (data["device_used_bytes"], data["power_w"]) == (None, None)
        # A drafter as large as its model does not pay on a CPU.
        advice = data["advice"]
        assert (advice["n_max"], advice["instead_of"], advice["over"]) == (0, 3, "total")
        steps = cli("plan", "crafted", "--json").json["data"]["step_costs"]
        assert advice["times"] == pytest.approx(steps[3] / total["mean_accepted_length"], abs=0.01)
        (finding,) = result.json["findings"]
        assert (finding["rule"], finding["level"]) == ("n-max", "info")
        assert finding["fix"] == "start it with --n-max off"
        by_url = once(cli, f"{ready['url']}/v1/")
        assert (by_url["id"], by_url["total"]["drafted"]) == (ready["id"], total["drafted"])


def test_the_panel_as_text(cli: Cli) -> None:
    with crafted_server(cli) as (_, ready):
        chat(ready["url"])
        narrow = {"COLUMNS": "40", "PYTHONIOENCODING": "ascii"}
        with (
            cli.start("top", "--once", env=narrow) as plain,
            cli.start("top", ready["id"], "--once", env={"COLUMNS": "200"}) as wide,
        ):
            shown = {40: plain.rest(), 200: wide.rest()}
            assert (plain.process.wait(WAIT_S), wide.process.wait(WAIT_S)) == (0, 0)
    for columns, rows in shown.items():
        text = "\n".join(rows)
        assert max(map(len, rows)) <= columns
        assert "\x1b" not in text
        for words in ("crafted", "n-max 3", "of 8,192", "accepted", "2 in all", "RAM"):
            assert words in text
    assert "█" in "".join(shown[200])
    assert "1 ##" in "".join(shown[40])
    assert "?" not in "".join(shown[40])


def test_what_comes_while_it_is_watched_and_the_end_of_the_server(cli: Cli) -> None:
    with crafted_server(cli) as (running, ready), cli.start("top", "--json") as top:
        first = top.wait_event("sample")
        assert set(first) == SAMPLE | {"event", "at"}
        assert (first["window"]["drafts"], first["tokens_per_s"]) == (0, None)
        assert first["window"]["acceptance"] is None
        chat(ready["url"])
        while (sample := top.wait_event("sample"))["window"]["requests"] == 0:
            pass
        window = sample["window"]
        assert (window["requests"], window["drafts"]) == (1, 27)
        assert (window["drafted"], window["accepted"]) == (COUNTS["drafted"], COUNTS["accepted"])
        assert window["acceptance_per_position"] == pytest.approx(AT_POSITION, abs=0.001)
        assert window["mean_accepted_length"] == pytest.approx(1 + 46 / 27)
        assert sample["tokens_per_s"] > 0
        assert sample["total"]["requests"] == first["total"]["requests"] + 1
        assert running.interrupt() == 130
        assert top.process.wait(WAIT_S) == 0
        last = json.loads(top.rest()[-1])
        assert (last["event"], last["exit_code"]) == ("exit", 0)


def test_a_restart_is_watched_too(cli: Cli) -> None:
    with crafted_server(cli) as (running, ready), cli.start("top", "--json") as top:
        chat(ready["url"])
        while (before := top.wait_event("sample"))["total"]["requests"] != 2:
            pass
        os.kill(ready["pid"], signal.SIGKILL)
        running.wait_event("ready")
        running.wait_event("mtp")
        while (after := top.wait_event("sample"))["total"]["requests"] != 1:
            pass
        # The proof of the new start is all that it counts.
        assert 0 < after["total"]["drafts"] < before["total"]["drafts"]
        while (sample := top.wait_event("sample"))["state"] != "idle":
            pass
        assert sample["rss_bytes"] > 1 << 20
        assert top.interrupt() == 130
        assert json.loads(top.rest()[-1])["exit_code"] == 130


def test_a_server_that_was_lost_is_a_failure(cli: Cli) -> None:
    with crafted_server(cli) as (running, ready), cli.start("top", "--json") as top:
        top.wait_event("sample")
        running.process.kill()
        os.kill(ready["pid"], signal.SIGKILL)
        last = top.wait_event("exit")
        assert last["exit_code"] == top.process.wait(WAIT_S) == 7
        assert "are gone" in last["findings"][-1]["message"]


def test_plain_lines(cli: Cli) -> None:
    with crafted_server(cli), cli.start("top") as top:
        line = top.wait_line(lambda line: "idle" in line)
        for words in ("accepted", "context ", " of 8,192", "1 request", "RAM "):
            assert words in line
        assert top.interrupt() == 130
        assert not any("\x1b" in line for line in top.rest())


def test_the_live_view(cli: Cli) -> None:
    with crafted_server(cli) as (_, ready):
        asked = False

        def has_one_request(screen: str) -> bool:
            nonlocal asked
            if not asked and "drafts" in screen:
                chat(ready["url"])
                asked = True
            return "27 drafts" in screen and "78%" in screen.split("27 drafts")[-1]

        screen = live_screen(cli, ["top"], 80, has_one_request)
        for words in ("idle", "n-max 3", "tokens/s", "in all", "RAM"):
            assert words in screen


@contextlib.contextmanager
def bare_engine(cli: Cli, *options: str, without: str = "") -> Iterator[str]:
    """The engine that we run, as somebody else would start it; its URL."""
    plan = cli("run", "crafted", "--dry-run", "--json").json["data"]
    argv = [one for one in plan["argv"] if one != without] + list(options)
    url = f"http://127.0.0.1:{argv[argv.index('--port') + 1]}"
    with subprocess.Popen(
        argv, env=cli.env | plan["env"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: _is_open(url))
            yield url
        finally:
            process.terminate()
            process.wait(WAIT_S)


def _is_open(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def wait_ready(cli: Cli, url: str, *options: str) -> dict[str, Any]:
    """The first look that finds the model loaded."""
    while (result := cli("top", url, "--once", "--json", *options)).code == 8:
        assert result.json["findings"][0]["rule"] == "not-ready"
    assert result.code == 0, result.stdout
    return result.json


def test_a_llama_server_of_somebody_else(cli: Cli) -> None:
    """b10068 has no counters of drafts, and we do not have its log: unknown is null, never 0."""
    with bare_engine(cli) as url:
        wait_ready(cli, url)
        chat(url)
        data = once(cli, url)
        assert (data["id"], data["engine"], data["model"]) == (None, "llama-server", "crafted.gguf")
        assert (data["mtp"], data["n_max"], data["advice"]) == (True, None, None)
        total = data["total"]
        unknown = ("requests", "drafts", "acceptance", "acceptance_per_position")
        assert [total[name] for name in unknown] == [None] * 4
        assert (total["predicted_tokens"], total["mean_tokens_per_s"] > 0) == (74, True)
        assert data["rss_bytes"] > 1 << 20
        shown = cli("top", url, "--once").stdout
        assert "MTP on, acceptance is not told by this build" in shown


def test_one_without_metrics_and_with_a_key(cli: Cli, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("open-sesame\n")
    with bare_engine(cli, "--api-key-file", str(key), without="--metrics") as url:
        wait_until(lambda: cli("top", url, "--once").code == 2)
        assert_one_clear_line(cli("top", url, "--once"), 2, "refuses", "--api-key-file FILE")
        body = wait_ready(cli, url, "--api-key-file", str(key))
        assert body["data"]["total"]["mean_tokens_per_s"] is None
        (finding,) = body["findings"]
        assert finding["rule"] == "not-told"
        assert "501" in finding["message"]
        assert finding["fix"] == "start the server with --metrics"
        assert "open-sesame" not in json.dumps(body)


NEW_PAGE = """# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 210
llamacpp:prompt_seconds_total 0.5
llamacpp:tokens_predicted_total {tokens}
llamacpp:tokens_predicted_seconds_total 2.0
llamacpp:spec_decode_num_draft_tokens_total 300
llamacpp:spec_decode_num_accepted_tokens_total 150
llamacpp:spec_decode_num_drafts_total 100
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{{position="0"}} 80
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{{position="1"}} 45
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{{position="2"}} 25
"""


def test_a_newer_llama_server_counts_its_drafts_and_is_asked_little(cli: Cli) -> None:
    page = text(NEW_PAGE.format(tokens=700))
    answers = {"/props": PROPS, "/slots": told([slot(busy=True, decoded=50)]), "/metrics": page}
    with FakeServer(answers) as fake, cli.start("top", fake.url, "--json") as top:
        first = top.wait_event("sample")
        total = first["total"]
        assert (total["drafts"], total["acceptance"], total["mean_accepted_length"]) == (
            100, 0.5, 2.5,
        )  # fmt: skip
        assert total["acceptance_per_position"] == [0.8, 0.45, 0.25]
        assert (first["busy_slots"], first["ctx_per_slot"], first["build"]) == (
            1, 4096, "b11434-abc",
        )  # fmt: skip
        for _ in range(2):
            top.wait_event("sample")
        # Nothing has finished, so a scrape could tell nothing new.
        assert fake.asked.count("/metrics") == 1
        assert 3 <= fake.asked.count("/slots") <= 5
        fake.answers["/metrics"] = text(NEW_PAGE.format(tokens=1700).replace("2.0", "4.0"))
        fake.answers["/slots"] = told([slot(decoded=1000)])
        while (sample := top.wait_event("sample"))["busy_slots"]:
            pass
        assert sample["window"]["predicted_tokens"] == 1000
        assert sample["window"]["mean_tokens_per_s"] == 500
        # 50 of them were seen before.
        assert 0 < sample["tokens_per_s"] < 5000
        assert fake.asked.count("/metrics") == 2
        fake.close()
        last = top.wait_event("exit")
        assert last["exit_code"] == top.process.wait(WAIT_S) == 8
        assert "does not answer any more" in last["findings"][-1]["message"]


VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{{engine="0",model_name="tiny/main"}} 2.0
vllm:num_requests_waiting{{engine="0",model_name="tiny/main"}} 1.0
vllm:kv_cache_usage_perc{{engine="0",model_name="tiny/main"}} 0.25
vllm:generation_tokens_total{{engine="0",model_name="tiny/main"}} {tokens}
vllm:generation_tokens_created{{engine="0",model_name="tiny/main"}} 1.7e+09
vllm:request_success_total{{engine="0",finished_reason="stop",model_name="tiny/main"}} 3.0
vllm:request_success_total{{engine="0",finished_reason="length",model_name="tiny/main"}} 4.0
vllm:request_prompt_tokens_sum{{engine="0",model_name="tiny/main"}} 500.0
vllm:request_prefill_time_seconds_sum{{engine="0",model_name="tiny/main"}} 0.25
vllm:request_generation_tokens_sum{{engine="0",model_name="tiny/main"}} 900.0
vllm:request_decode_time_seconds_sum{{engine="0",model_name="tiny/main"}} 3.0
vllm:spec_decode_num_drafts_total{{engine="0",model_name="tiny/main"}} 200.0
vllm:spec_decode_num_draft_tokens_total{{engine="0",model_name="tiny/main"}} 400.0
vllm:spec_decode_num_accepted_tokens_total{{engine="0",model_name="tiny/main"}} 240.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{{engine="0",model_name="a}}",position="0"}} 160.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{{engine="0",model_name="a}}",position="1"}} 80.0
"""
VLLM_ANSWERS: dict[str, Answer] = {
    "/version": told({"version": "0.32.0"}),
    "/v1/models": told({"data": [{"id": "tiny/main", "max_model_len": 1024}]}),
    "/metrics": text(VLLM.format(tokens=1000)),
}


def test_a_vllm(cli: Cli) -> None:
    with FakeServer(VLLM_ANSWERS) as fake, cli.start("top", fake.url, "--json") as top:
        first = top.wait_event("sample")
        assert (first["engine"], first["build"], first["model"]) == ("vllm", "0.32.0", "tiny/main")
        assert (first["state"], first["busy_slots"], first["waiting"]) == ("busy", 2, 1)
        assert (first["mtp"], first["n_max"], first["kv_share"]) == (True, 2, 0.25)
        assert (first["ctx_per_slot"], first["slots"], first["advice"]) == (1024, None, None)
        total = first["total"]
        assert (total["requests"], total["mean_tokens_per_s"]) == (7, 300)
        assert (total["prompt_tokens_per_s"], total["mean_accepted_length"]) == (2000, 2.2)
        assert (total["acceptance"], total["acceptance_per_position"]) == (0.6, [0.8, 0.4])
        fake.answers["/metrics"] = text(VLLM.format(tokens=1500))
        while not (sample := top.wait_event("sample"))["tokens_per_s"]:
            pass
        assert 50 < sample["tokens_per_s"] < 2500
        assert sample["window"]["requests"] == 0
        assert top.interrupt() == 130
        assert "25% of the KV cache" in cli("top", fake.url, "--once").stdout


def test_a_vllm_without_a_drafter(cli: Cli) -> None:
    page = "".join(
        line for line in VLLM.splitlines(keepends=True) if "spec_decode" not in line
    ).format(tokens=1)
    with FakeServer(VLLM_ANSWERS | {"/metrics": text(page)}) as fake:
        data = once(cli, fake.url)
        assert (data["mtp"], data["n_max"], data["total"]["drafts"]) == (False, 0, None)


ESCAPE = "\x1b]0;owned\x07\x1b[31m"
DEEP = b"[" * 100_000
HOSTILE: dict[str, dict[str, Answer]] = {
    "slots of the wrong types": {
        "/slots": told([{"id": "x", "id_task": {}, "is_processing": "yes", "n_ctx": -5,
                         "n_prompt_tokens": 1e300, "next_token": [7]}, None, 3, {}]),
    },
    "slots that are text": {"/slots": told(ESCAPE)},
    "slots too deep": {"/slots": (200, {}, DEEP)},
    "numbers that are none": {
        "/metrics": text("llamacpp:prompt_tokens_total NaN\n"
                         "llamacpp:tokens_predicted_total +Inf\n"
                         "llamacpp:prompt_seconds_total -3\n"
                         "llamacpp:spec_decode_num_drafts_total 1e300\n"
                         "llamacpp:tokens_predicted_seconds_total 1e999\n"),
        "/slots": (200, {}, b'[{"id": 0, "n_ctx": NaN, "n_prompt_tokens": -Infinity}]'),
    },
    "more accepted than drafted": {
        "/metrics": text("llamacpp:spec_decode_num_drafts_total 1\n"
                         "llamacpp:spec_decode_num_accepted_tokens_per_pos_total"
                         '{position="63"} 9e15\n'
                         "llamacpp:spec_decode_num_accepted_tokens_total 9e15\n"),
    },
    "escapes everywhere": {
        "/props": told({"total_slots": 1, "build_info": ESCAPE, "model_path": f"/{ESCAPE}.gguf"}),
        "/slots": (500, {}, json.dumps({"error": {"message": ESCAPE}}).encode()),
        "/metrics": (501, {}, ESCAPE.encode()),
    },
    "errors of odd forms": {
        "/slots": (501, {}, b'{"error": {"message": [1]}}'),
        "/metrics": (500, {}, b'{"error": 3}'),
    },
    "a page without an end": {"/metrics": (200, {}, endless)},
    "bytes that are no text": {"/slots": (200, {}, b"\xff\xfe\x00"),
                               "/metrics": (200, {}, b"\xff" * 1000)},
    "packed": {"/slots": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b" + b"\x00" * 99)},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_told_as_unknown(cli: Cli, name: str) -> None:
    good = {"/props": PROPS, "/slots": told([slot()]), "/metrics": text("")}
    with (
        FakeServer(good | HOSTILE[name]) as fake,
        cli.start("top", fake.url, "--once", env={"COLUMNS": "80"}) as panel,
    ):
        result = cli("top", fake.url, "--once", "--json")
        shown = "\n".join(panel.rest())
        assert (result.code, panel.process.wait(WAIT_S)) == (0, 0), result.stdout + shown
    everything = shown + result.stderr
    assert "\x1b" not in everything
    assert "\x07" not in everything
    assert "\\u001b" not in result.stdout
    assert "Traceback" not in everything
    assert max(map(len, shown.splitlines())) <= 80
    data = json.loads(result.stdout, parse_constant=pytest.fail)["data"]
    assert data["state"] in ("idle", "answers", "no answer")
    for totals in (data["total"], data["window"]):
        for share in totals["acceptance_per_position"] or ():
            assert 0 <= share <= 1


NEITHER: dict[str, dict[str, Answer]] = {
    "nothing that it knows": {},
    "a page for people": {"/props": text("<html>"), "/version": text("<html>")},
    "an answer that never ends": {"/props": (200, {}, dripping(8)),
                                  "/version": (200, {}, dripping(8))},
    "too long": {"/props": (200, {}, endless)},
    "not of the form": {"/props": told(["total_slots"]), "/version": told(3)},
    "metrics of something else": {"/version": told({"version": "9"}),
                                  "/metrics": text("nginx_up 1\n")},
}  # fmt: skip


@pytest.mark.parametrize("name", NEITHER)
def test_what_is_no_engine_is_named(cli: Cli, name: str) -> None:
    with FakeServer(NEITHER[name]) as fake:
        result = cli("top", fake.url)
    assert_one_clear_line(result, 8, "is no llama-server and no vLLM", "expected the /props")


def test_a_program_that_speaks_no_http(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer, contextlib.suppress(OSError):
                    peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        threading.Thread(target=answer, daemon=True).start()
        result = cli("top", f"http://127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)
    assert_one_clear_line(result, 8, "is no llama-server and no vLLM")


def test_a_key_goes_nowhere_else(cli: Cli, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("open-sesame\n")
    with FakeServer({}) as other:
        away: Answer = (307, {"Location": f"{other.url}/props"}, b"")
        with FakeServer({"/props": away, "/version": away}) as fake:
            result = cli("top", fake.url, "--api-key-file", key)
            assert set(fake.keys) == {"Bearer open-sesame"}
        assert_one_clear_line(result, 8, "is no llama-server")
        assert "open-sesame" not in result.stderr
        assert other.asked == []


@pytest.mark.parametrize(
    "url",
    ["localhost:8080", "ftp://h", "http://", "http://[::1", "http://h:99999", "http://h/x",
     "http://h?x", "http://user:secret@h:1", "http://h h", "http://\x1b[31m", "/", "http://h:x"],
)  # fmt: skip
def test_what_is_no_address(cli: Cli, url: str) -> None:
    result = cli("top", url)
    assert_one_clear_line(result, 2, "is not the address of a server", "http://HOST:PORT")
    assert "secret" not in result.stderr
    assert "\x1b" not in result.stderr


def test_nobody_there(cli: Cli) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        assert_one_clear_line(cli("top", url), 8, "nothing answers at", "llmtp run MODEL")
        failed = cli("top", url, "--json").lines
        assert [(one["event"], one["exit_code"]) for one in failed] == [("exit", 8)]
        body = cli("top", url, "--once", "--json").json
        assert (body["command"], body["ok"], body["exit_code"]) == ("top", False, 8)
    assert_one_clear_line(cli("top"), 8, "no server runs")
    assert_one_clear_line(cli("top", "nope"), 8, "no server of ours runs as 'nope'")
    assert_one_clear_line(cli("top", "nope", "--api-key-file", "x"), 2, "--api-key-file is for")


def test_memory_and_power_of_a_card(cli: Cli, tmp_path: Path) -> None:
    env = fake_card(tmp_path) | {"TAKEN_MIB": "660"}
    with cli.start("run", "crafted", "--json", env=env) as running:
        running.wait_event("sample")
        data = cli("top", "--once", "--json", env=env).json["data"]
        shown = cli("top", "--once", env=env).stdout
    gib = 1 << 30
    assert data["device_used_bytes"] == 500 << 20
    assert data["device_total_bytes"] == pytest.approx(24 * gib, rel=0.01)
    assert data["power_w"] == 212.5
    assert "GPU 500 MiB of 23.99 GiB  212 W" in shown


def test_a_log_is_read_on_over_its_turn(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    tail = LogTail(log)
    assert list(tail.lines()) == []
    older_log(log).write_text("lost one\nlost two\n")
    log.write_text("one\ntwo\nthr")
    fresh = LogTail(log)
    assert list(fresh.lines()) == ["lost one", "lost two", "one", "two"]
    assert list(tail.lines()) == ["one", "two"]
    with log.open("a") as file:
        file.write("ee\n")
    log.replace(older_log(log))
    log.write_text("four\n")
    for one in (tail, fresh):
        assert list(one.lines()) == ["three", "four"]
        assert list(one.lines()) == []
        one.close()


def test_a_stranger_at_the_port_of_our_server_is_not_asked(tmp_path: Path) -> None:
    """The key is for our server, which is away while it starts again."""
    key = tmp_path / "key"
    key.write_text("not for strangers\n", encoding="utf-8")
    engine = subprocess.Popen(["sleep", "600"])
    try:
        with FakeServer({}) as stranger:
            entry = replace(
                ENTRY,
                id="not-in-the-registry",
                llmtp=ProcessId.of(os.getpid()) or ENTRY.llmtp,
                server=ProcessId.of(engine.pid),
                url=stranger.url,
                api_key_file=key,
            )
            with contextlib.closing(EntryWatch(entry)) as watch:
                assert watch.look().state == "no answer"
            assert stranger.asked == []
    finally:
        engine.kill()
        engine.wait()
