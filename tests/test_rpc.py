"""Several machines for one GGUF: workers of the real engine, on loopback."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import (
    LONG,
    Cli,
    Result,
    Running,
    alive,
    assert_one_clear_line,
    chat,
    stream,
    wait_until,
)
from lenders import (
    NEITHER_ALONE,
    OTHER_BUILD,
    REAL,
    SAID,
    Lender,
    answering,
    greeting,
    lender,
)

from llmtp.gguf.facts import read_facts
from llmtp.gguf.files import open_model
from llmtp.hub.reference import Reference
from llmtp.machine.devices import (
    Device,
    Host,
    Machine,
    named_for,
    parse_remote_devices,
    remembered_devices,
)
from llmtp.machine.workers import Worker, parse_workers
from llmtp.plan.choose import make_plan
from llmtp.plan.place import whole_places
from llmtp.plan.wishes import Wishes
from llmtp.ports import free_port
from llmtp.server.pulse import HANG_S, STUCK_S, WORKERS_S, Pulse, patience_with_workers
from llmtp.units import GiB, MiB

CRAFTED = Path(__file__).parent / "crafted" / "crafted.gguf"


def devices(data: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in data["devices"]}


def test_a_worker_lends_what_the_engine_sees(cli: Cli) -> None:
    with lender(cli, "--threads", "1") as one:
        said = one.lending
        argv = psutil.Process(one.pid).cmdline()
        assert argv[argv.index("--threads") + 1] == "1"
        listening = [c.laddr for c in psutil.Process(one.pid).net_connections() if c.laddr]
        assert {(c.ip, c.port) for c in listening} == {("127.0.0.1", said["port"])}
        (cpu,) = said["devices"]
        assert cpu["id"] == "CPU"
        assert 0 < cpu["free_bytes"] <= cpu["total_bytes"] + MiB
        assert said["use"].startswith(f"--rpc {one.endpoint}=")
        planned = cli("plan", "crafted", "--json", "--rpc", one.endpoint).json["data"]
        (device,) = planned["devices"]
        assert (device["id"], device["backend"], device["worker"]) == ("RPC0", "rpc", one.endpoint)
        # the engine counts all of a CPU's memory as free, whatever other programs take
        assert device["free_bytes"] == round(device["total_bytes"] * 7 / 8)
        assert device["used_bytes"] > 0
        assert one.running.interrupt() == 130
        last = [json.loads(line) for line in one.running.rest()][-2:]
    assert [event["event"] for event in last] == ["stopped", "exit"]
    assert not psutil.pid_exists(one.pid)


def test_a_worker_says_who_reaches_it(cli: Cli) -> None:
    with cli.start("worker", "--port", str(free_port())) as running:
        running.wait_line(lambda line: "only this machine reaches 127.0.0.1:" in line)
        running.wait_line(lambda line: line.startswith("lends "))
        running.wait_line(lambda line: line.startswith("ready at 127.0.0.1:"))
        running.wait_line(lambda line: "llmtp run MODEL --rpc 127.0.0.1:" in line)
        assert running.interrupt() == 130


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--host", "0.0.0.0"), "would let in every network"),
        (("--host", "8.8.8.8"), "is a public address"),
        (("--host", "10.255.255.254"), "is no address of this machine"),
        (("--host", "::1"), "neither an IPv4 address nor an interface"),
        (("--host", "nosuch0\x1b[31m"), "neither an IPv4 address nor an interface"),
        (("--engine", "vllm"), "vLLM has no workers of this kind"),
    ],
)
def test_a_worker_lends_to_one_private_network(cli: Cli, args: tuple[str, ...], words: str) -> None:
    result = cli("worker", *args)
    assert_one_clear_line(result, 2)
    assert words in result.stderr
    assert "\x1b" not in result.stderr


def test_a_worker_needs_its_port_and_a_program(cli: Cli, tmp_path: Path) -> None:
    with lender(cli) as one:
        taken = cli("worker", "--port", str(one.lending["port"]))
    assert_one_clear_line(taken, 2)
    assert "is lent already, by llmtp, process" in taken.stderr
    assert f"kill {one.running.process.pid}" in taken.stderr
    alone = tmp_path / "llama-server"
    alone.write_text(f'#!/bin/sh\nexec "{engine(cli)}" "$@"\n')
    alone.chmod(0o755)
    none = cli("worker", "--engine", alone)
    assert_one_clear_line(none, 9)
    assert "no RPC server stands beside" in none.stderr


def engine(cli: Cli) -> str:
    argv = cli("plan", "crafted", "--json").json["data"]["argv"]
    assert isinstance(argv[0], str)
    return argv[0]


def two(stack: ExitStack, cli: Cli) -> tuple[Lender, Lender]:
    first, second = (stack.enter_context(lender(cli, "--threads", "1")) for _ in range(2))
    return first, second


def both(first: Lender, second: Lender) -> tuple[str, str]:
    return "--rpc", f"{first.endpoint}={SAID},{second.endpoint}={SAID}"


def answer(result: Result) -> tuple[str, int, int]:
    data = result.json["data"]
    return data["answer"], data["drafted"], data["accepted"]


def test_two_workers_hold_what_neither_holds_alone(cli: Cli) -> None:
    with ExitStack() as stack:
        first, second = two(stack, cli)
        for one in (first, second):
            one.limit(REAL)
            refused = cli(
                "run", "crafted", *NEITHER_ALONE, "--strict", "--ask", "hi", "--rpc", one.endpoint
            )
            assert refused.code == 6
            assert "device memory" in refused.stderr
            assert f"RPC0[{one.endpoint}]" in refused.stderr
            tight = cli(
                "plan", "crafted", *NEITHER_ALONE, "--strict", "--rpc", f"{one.endpoint}={SAID}"
            )
            assert tight.code == 4
            assert f"does not fit in worker {one.endpoint}" in tight.stderr
        rpc = both(first, second)
        plan = cli("plan", "crafted", *NEITHER_ALONE, *rpc, "--json").json["data"]
        parts = devices(plan)
        front, back = parts[f"worker {first.endpoint}"], parts[f"worker {second.endpoint}"]
        assert (front["id"], back["id"]) == ("RPC0", "RPC1")
        assert front["weights_bytes"] > 0 < back["weights_bytes"]
        assert front["draft_bytes"] == 0 < back["draft_bytes"]
        assert sum(plan["tensor_split"]) == plan["gpu_layers"]
        argv = plan["argv"]
        assert argv.index("--rpc") < argv.index("--device")
        for flag, value in (
            ("--rpc", f"{first.endpoint},{second.endpoint}"),
            ("--device", "RPC0,RPC1"),
            ("--spec-draft-device", "RPC1"),
            ("--tensor-split", ",".join(map(str, plan["tensor_split"]))),
        ):
            assert argv[argv.index(flag) + 1] == value
        far = cli("run", "crafted", *NEITHER_ALONE, *rpc, "--ask", "hello", "--json")
    near = cli("run", "crafted", *NEITHER_ALONE, "--ask", "hello", "--json")
    assert answer(far) == answer(near)
    assert answer(far)[2] > 0


def test_the_plan_is_what_the_engine_allocates(cli: Cli) -> None:
    with ExitStack() as stack:
        first, second = two(stack, cli)
        with cli.start("run", "crafted", *NEITHER_ALONE, *both(first, second), "--json") as running:
            memory = running.wait_event("memory")
            assert running.interrupt() == 130
    for part in memory["parts"]:
        planned, real = part["planned_bytes"], part["engine_bytes"]
        assert abs(planned - real) <= 0.01 * planned + 64 * 1024, part


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_worker_that_is_no_good_is_named(cli: Cli, command: str) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    args = ("--dry-run",) if command == "run" else ()
    for reply, code, words in (
        (greeting(OTHER_BUILD), 9, "is of another build"),
        (None, 8, "does not answer within"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 8, "is no RPC server"),
        (b"", 8, "hangs up"),
    ):
        with answering(reply) as endpoint:
            result = cli(command, "crafted", "--rpc", endpoint, *args)
        assert_one_clear_line(result, code)
        assert f"the worker {endpoint} {words}" in result.stderr
    missing = cli(command, "crafted", "--rpc", nowhere, *args)
    assert_one_clear_line(missing, 8)
    assert f"the worker {nowhere} is not there" in missing.stderr
    assert "llmtp worker" in missing.stderr


@pytest.mark.parametrize(
    ("rpc", "words"),
    [
        ("", "names no worker"),
        ("[::1]:50052", "names no worker"),
        ("127.0.0.1:0", "names no worker"),
        ("127.0.0.1:65536", "names no worker"),
        ("127.0.0.1:1,", "names no worker"),
        ("127.0.0.1:1=much", "is not a size"),
        ("a:1,a:1", "names a:1 twice"),
        (",".join(f"a:{n}" for n in range(1, 18)), "names 17 workers"),
        ("-rf:1", "names no worker"),
        ("a b:1", "names no worker"),
        ("a..b:1", "names no worker"),
        ("a" * 64 + ":1", "names no worker"),
        ("127.1:1", "is no address of a machine"),
        ("0.0.0.0:1", "is no address of a machine"),
        ("8.8.8.8:1", "is a public address"),
        ("127.0.0.1:1=22", "is too little for a device"),
    ],
)
def test_rpc_takes_addresses(cli: Cli, rpc: str, words: str) -> None:
    result = cli("plan", "crafted", f"--rpc={rpc}")
    assert_one_clear_line(result, 2)
    assert words in result.stderr


def test_one_worker_by_two_names_is_one(cli: Cli) -> None:
    with lender(cli, "--threads", "1") as one:
        port = one.lending["port"]
        result = cli("plan", "crafted", "--rpc", f"localhost:{port},127.0.0.1:{port}")
    assert_one_clear_line(result, 2)
    assert f"names one worker twice: localhost:{port} and 127.0.0.1:{port}" in result.stderr


def test_rpc_goes_with_llama_server_and_real_cards(cli: Cli) -> None:
    other = cli("plan", "gemma-4-31b", "--engine", "vllm", "--rpc", "a:1", "--offline")
    assert_one_clear_line(other, 2)
    assert "vLLM takes no workers of llama.cpp" in other.stderr
    cards = cli("plan", "crafted", "--rpc", "a:1", "--vram", "12GiB")
    assert_one_clear_line(cards, 2)
    assert "--vram and --rpc exclude each other" in cards.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--spec-draft-device", "RPC0"), "elsewhere the engine aborts"),
        (("-devd", "none"), "elsewhere the engine aborts"),
        (("--spec-draft-ngl", "0"), "else the engine aborts"),
        (("--tensor-split", "6,1"), "contradicts the plan"),
        (("--device", "RPC1,RPC0"), "contradicts the plan"),
        (("--rpc", "127.0.0.1:1"), "use --rpc of llmtp"),
    ],
)
def test_a_drafter_elsewhere_is_refused(cli: Cli, flags: tuple[str, ...], words: str) -> None:
    """Each of these makes this engine abort (rc 134), or another plan."""
    with ExitStack() as stack:
        first, second = two(stack, cli)
        rpc = both(first, second)
        result = cli("run", "crafted", *NEITHER_ALONE, *rpc, "--dry-run", "--", *flags)
    assert_one_clear_line(result, 2)
    assert words in result.stderr


def test_the_engine_aborts_where_the_drafter_is_elsewhere(cli: Cli) -> None:
    """Why it is refused; and what is said of it where somebody starts it so."""
    with ExitStack() as stack:
        first, second = two(stack, cli)
        plan = cli("plan", "crafted", *NEITHER_ALONE, *both(first, second), "--json").json["data"]
        argv = plan["argv"]
        argv[argv.index("--spec-draft-device") + 1] = "RPC0"
        env = {k: v for k, v in plan["env"].items() if v is not None}
        done = subprocess.run(
            argv, env=cli.env | env, cwd=cli.folder, capture_output=True, text=True, timeout=90
        )
    assert done.returncode == -signal.SIGABRT
    assert "pre-allocated tensor" in done.stdout + done.stderr


def test_a_worker_that_is_not_needed_is_left_alone(cli: Cli) -> None:
    with ExitStack() as stack:
        first, second = two(stack, cli)
        rpc = f"{first.endpoint}=1GiB,{second.endpoint}=2GiB"
        result = cli("plan", "crafted", "--rpc", rpc, "--json")
        data = result.json["data"]
        unused, used = (devices(data)[f"worker {one.endpoint}"] for one in (first, second))
        assert (unused["id"], used["id"]) == (None, "RPC0")
        argv = data["argv"]
        assert argv[argv.index("--rpc") + 1] == second.endpoint
        rules = [finding["rule"] for finding in result.json["findings"]]
        assert "worker-unused" in rules
        shown = cli("plan", "crafted", "--rpc", rpc).stdout
        assert f"worker {first.endpoint}" in shown
        assert "(not used)" in shown


def test_a_worker_that_dies_during_a_request_is_named_and_comes_back(cli: Cli) -> None:
    with ExitStack() as stack:
        first, second = two(stack, cli)
        rpc = both(first, second)
        running = stack.enter_context(cli.start("run", "crafted", *NEITHER_ALONE, *rpc, "--json"))
        ready = running.wait_event("ready")
        before = running.wait_event("mtp")
        pieces = stream(ready["url"], LONG)
        assert b"data: " in next(pieces)
        first.running.wait_event("connected")
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises((OSError, http.client.HTTPException)):
            list(pieces)
        again = running.wait_event("restarting")
        assert again["rule"] == "worker-lost"
        assert first.endpoint in again["reason"]
        back = first.running.wait_event("lending")
        assert back["port"] == first.lending["port"]
        running.wait_event("ready")
        after = running.wait_event("mtp")
        counts = ("active", "drafted", "accepted")
        assert [after[key] for key in counts] == [before[key] for key in counts]
        assert chat(ready["url"])["choices"][0]["message"]["content"]
        assert running.interrupt() == 130


def test_a_worker_that_dies_while_nobody_asks_is_noticed(cli: Cli) -> None:
    """llama-server itself would notice with the next request, and die of it."""
    with ExitStack() as stack:
        one = stack.enter_context(lender(cli, "--threads", "1"))
        args = ("run", "crafted", "--json", "--rpc", one.endpoint)
        running = stack.enter_context(cli.start(*args))
        ready = running.wait_event("ready")
        running.wait_event("sample")
        os.kill(one.pid, signal.SIGKILL)
        again = running.wait_event("restarting")
        assert again["rule"] == "worker-lost"
        assert f"the worker {one.endpoint} has left the server" in again["reason"]
        running.wait_event("ready")
        assert running.wait_event("mtp")["active"]
        assert chat(ready["url"])["choices"][0]["message"]["content"]
        assert running.interrupt() == 130


def test_of_two_that_start_at_once_one_gets_the_worker(cli: Cli) -> None:
    with ExitStack() as stack:
        one = stack.enter_context(lender(cli, "--threads", "1"))
        starts = [
            stack.enter_context(cli.start("run", name, "--detach", "--json", "--rpc", one.endpoint))
            for name in ("crafted", "demo")
        ]
        codes = sorted(start.process.wait(90) for start in starts)
        assert codes == [0, 2]
        (left,) = cli("ps", "--json").json["data"]["servers"]
        assert left["state"] == "ready"
        assert cli("stop", left["id"]).code == 0


def test_nothing_is_lent_once_llmtp_is_gone(cli: Cli) -> None:
    with lender(cli, "--threads", "1") as one:
        os.kill(one.running.process.pid, signal.SIGKILL)
        one.running.process.wait(90)
        wait_until(lambda: not alive(one.pid))


def test_a_worker_that_stalls_is_named_and_waited_for(cli: Cli) -> None:
    """It still takes connections: the system does that for it."""
    with ExitStack() as stack:
        one = stack.enter_context(lender(cli, "--threads", "1"))
        args = ("run", "crafted", "--json", "--rpc", one.endpoint)
        running = stack.enter_context(cli.start(*args))
        ready = running.wait_event("ready")
        running.wait_event("mtp")
        pieces = stream(ready["url"], LONG)
        assert b"data: " in next(pieces)
        os.kill(one.pid, signal.SIGSTOP)
        again = running.wait_event("restarting")
        assert again["rule"] == "worker-lost"
        assert "the server hangs" in again["reason"]
        assert f"the worker {one.endpoint} does not answer" in again["reason"]
        os.kill(one.pid, signal.SIGCONT)
        running.wait_event("ready")
        assert running.wait_event("mtp")["active"]
        assert chat(ready["url"])["choices"][0]["message"]["content"]
        assert running.interrupt() == 130


def test_patience_grows_with_what_a_batch_may_take() -> None:
    """Workers compute unseen: only how fast they were tells how long they may be silent."""
    assert patience_with_workers(512, 100.0) == HANG_S
    assert patience_with_workers(512, 4.0) == 128.0
    assert patience_with_workers(512, 0.01) == STUCK_S
    assert patience_with_workers(512, None) == WORKERS_S
    for patience_s, seconds in ((None, 2 * HANG_S), (128.0, 128.0)):
        pulse, now = Pulse(patience_s), 0.0
        pulse.answered(working=True)
        while pulse.hung_s() is None and now < seconds:
            now += 1
            # our own threads compute a little, whatever the workers do
            pulse.silent(now - 1, now, working=True, computed_s=now)
        assert (pulse.hung_s() is None) == (patience_s is None)
        assert now == seconds


def test_a_worker_that_never_comes_back_is_named_at_the_end(cli: Cli) -> None:
    with ExitStack() as stack:
        one = stack.enter_context(lender(cli, "--threads", "1"))
        args = ("run", "crafted", "--json", "--rpc", one.endpoint)
        running = stack.enter_context(cli.start(*args))
        running.wait_event("mtp")
        assert one.running.interrupt() == 130
        stack.enter_context(answering(greeting(OTHER_BUILD), one.lending["port"]))
        last = running.wait_event("exit")
    (finding,) = last["findings"]
    assert (last["exit_code"], finding["rule"]) == (7, "worker-build")
    assert f"the worker {one.endpoint} is of another build" in finding["message"]


def test_a_client_that_is_gone_ends_no_worker(cli: Cli) -> None:
    """The RPC server of llama.cpp dies of SIGPIPE otherwise."""
    with lender(cli) as one:
        for _ in range(3):
            with cli.start("run", "crafted", "--json", "--rpc", one.endpoint) as running:
                ready = running.wait_event("ready")
                running.wait_event("mtp")
                pieces = stream(ready["url"], LONG)
                next(pieces)
                os.kill(ready["pid"], signal.SIGKILL)
                assert running.interrupt() == 130
        assert psutil.Process(one.pid).is_running()
        assert one.running.process.poll() is None
        one.running.interrupt()
        events = [json.loads(line)["event"] for line in one.running.rest()]
    assert events.count("starting") == 1


def test_who_uses_a_worker_is_told_everywhere(cli: Cli) -> None:
    """doctor, top and bug-report; and that it serves nobody else."""
    with ExitStack() as stack:
        one = stack.enter_context(lender(cli, "--threads", "1"))
        free = cli("doctor", "--rpc", one.endpoint, "--json").json["data"]
        (check,) = (check for check in free["checks"] if check["id"] == "worker")
        assert check["status"] == "pass"
        assert f"worker {one.endpoint}: " in check["summary"]
        assert [device["worker"] for device in free["devices"]][-1] == one.endpoint
        assert all("worker" in fit["device"] for fit in free["profiles"] if fit["fits"])
        shown = cli("doctor", "--rpc", one.endpoint).stdout
        assert shown.rstrip().endswith(f"--rpc {one.endpoint}")

        started = cli("run", "crafted", "--detach", "--rpc", one.endpoint, "--json")
        assert started.code == 0, started.stderr
        server = started.json["data"]["id"]
        stack.callback(cli, "stop", server)
        again = cli("run", "crafted", "--detach", "--rpc", one.endpoint, "--json")
        assert again.json["data"]["was_running"]
        planned = cli("plan", "crafted", "--rpc", one.endpoint, "--json")
        assert planned.json["data"]["devices"][-1]["source"] == "its last start"
        assert "worker-busy" in [one["rule"] for one in planned.json["findings"]]
        busy = cli("run", "crafted", "--ask", "hi", "--rpc", one.endpoint)
        assert_one_clear_line(busy, 2)
        assert f"serves {server}, and one machine at a time" in busy.stderr
        assert f"llmtp stop {server}" in busy.stderr
        checks = cli("doctor", "--json").json["data"]["checks"]
        assert f"worker {one.endpoint} serves {server}, and nobody else meanwhile" in [
            check["summary"] for check in checks
        ]
        (used,) = cli("top", "--once", "--json").json["data"]["workers"]
        assert (used["endpoint"], used["connected"]) == (one.endpoint, True)
        assert used["planned_bytes"] > 0
        assert f"{one.endpoint} " in cli("top", "--once").stdout
        report = cli("bug-report", "--out", "-").stdout
        assert f"RPC0          worker {one.endpoint}: " in report
        one.running.wait_event("connected")
        assert cli("stop", server).code == 0
        one.running.wait_event("left")


def test_doctor_says_what_is_wrong_with_a_worker(cli: Cli) -> None:
    with answering(greeting(OTHER_BUILD)) as other:
        missing = f"127.0.0.1:{free_port()}"
        result = cli("doctor", "--rpc", f"{other},{missing}", "--json")
    checks = {check["id"]: check for check in result.json["data"]["checks"]}
    assert [checks[name]["status"] for name in ("worker", "worker-2")] == ["fail", "fail"]
    assert "is of another build" in checks["worker"]["summary"]
    assert "RPC 4.0.99" in checks["worker"]["summary"]
    assert "is not there" in checks["worker-2"]["summary"]
    assert "llmtp worker" in checks["worker-2"]["fix"]


def test_plans_put_the_drafter_near_and_workers_last() -> None:
    """Own cards first, then as few workers as will do; output and drafter stay here."""
    near = [Device(f"CUDA{n}", f"card {n}", "cuda", 8 * GiB, 8 * GiB, "test") for n in range(2)]
    far = [
        Device(f"RPC{n}", f"worker w{n}:1", "rpc", size, size, "test", worker=Worker(f"w{n}", 1))
        for n, size in enumerate((4 * GiB, 16 * GiB))
    ]
    machine = Machine(Host("cpu", 16 * GiB, 12 * GiB, "test"), (*near, *far))
    text = read_facts(open_model(CRAFTED)).shape
    ids = [[d.id for d in place.devices] for place in whole_places(machine, None, text)]
    assert ids == [
        ["CUDA0"],
        ["CUDA0", "CUDA1"],
        ["RPC0", "CUDA0", "CUDA1"],
        ["RPC0", "RPC1", "CUDA0", "CUDA1"],
        ["RPC0"],
        ["RPC0", "RPC1"],
    ]
    names = [[d.name for d in place.devices] for place in whole_places(machine, None, text)]
    assert names[2][0] == "worker w1:1"  # the larger one, though it stands second
    assert names[3][:2] == ["worker w0:1", "worker w1:1"]
    shared = replace(text, shared_kv_layers=1)
    ids = [[d.id for d in place.devices] for place in whole_places(machine, None, shared)]
    assert ids == [["CUDA0"], ["RPC0"]]


def test_a_card_too_small_for_the_drafter_keeps_no_layers_from_a_worker(
    real_size: list[Path],
) -> None:
    main, draft = (read_facts(open_model(path)) for path in real_size)
    if main.architecture != "gemma4":
        main, draft = draft, main
    small = Device("CUDA0", "card", "cuda", 4 * GiB, 700 * MiB, "test")
    far = Device("RPC0", "worker w:1", "rpc", 5 * GiB, 5 * GiB, "test", worker=Worker("w", 1))
    machine = Machine(Host("cpu", 64 * GiB, 60 * GiB, "test"), (small, far))
    plan = make_plan(Reference("12b", main, draft, None), machine, Wishes(ctx=8192, n_max=2))
    assert [gpu.name for gpu in plan.gpus] == ["worker w:1"]
    assert 0 < plan.gpu_layers <= main.shape.n_layers


def test_a_device_of_a_worker_is_known_under_any_id() -> None:
    workers = parse_workers("w0:1=1GiB,w1")
    assert [worker.endpoint for worker in workers] == ["w0:1", "w1:50052"]
    listed = (
        "Available devices:\n"
        "  CUDA0: NVIDIA H100 (81559 MiB, 81000 MiB free)\n"
        "  RPC0: w0:1 (24576 MiB, 20000 MiB free)\n"
        "  RPC1: w1:50052 (1000 MiB, 1000 MiB free)\n"
        "  RPC2: w1:50052 (0 MiB, 0 MiB free)\n"
        "  RPC3: w1:50052 (2000 MiB, 1500 MiB free)\n"
        "  RPC4: stranger:1 (2000 MiB, 1500 MiB free)\n"
    )
    devices = parse_remote_devices(listed, workers)
    assert [one.key for one in devices] == [("w0:1", 0), ("w1:50052", 0), ("w1:50052", 2)]
    assert [one.free_bytes for one in devices] == [GiB, 875 * MiB, 1500 * MiB]
    assert [one.id for one in named_for(devices, devices)] == ["RPC0", "RPC1", "RPC3"]
    only_last = named_for(devices, devices[2:])
    assert [one.id for one in only_last] == [None, "RPC0", "RPC2"]
    assert [one.key for one in only_last] == [one.key for one in devices]
    swapped = (*devices[1:], devices[0])
    assert [one.id for one in named_for(swapped, swapped)] == ["RPC0", "RPC2", "RPC3"]
    kept = {"devices": [one.to_dict() for one in devices]}
    again = [one for worker in workers for one in remembered_devices(kept, worker)]
    assert [(one.key, one.free_bytes) for one in again] == [
        (one.key, one.free_bytes) for one in devices
    ]
    assert not remembered_devices({"devices": [{"worker": "w0:1"}, 3]}, workers[0])


@pytest.mark.soak
def test_a_worker_that_is_killed_at_any_moment_is_named(
    cli: Cli, soak: bool, dice: random.Random
) -> None:
    """From the first question to a served request: a named end, or a server that is back."""
    for _ in range(20 if soak else 2):
        with ExitStack() as stack:
            one = stack.enter_context(lender(cli, "--threads", "1"))
            args = ("run", "crafted", "--json", "--rpc", one.endpoint)
            running = stack.enter_context(cli.start(*args))
            with pytest.raises(subprocess.TimeoutExpired):
                running.process.wait(dice.uniform(0.0, 1.2))
            os.kill(one.pid, signal.SIGKILL)
            one.running.wait_event("lending")
            first = running.wait_line(lambda line: '"ready"' in line or '"exit"' in line)
            event = json.loads(first)
            if event["event"] == "ready":
                event = served_or_ended(running, event["url"])
            if event["event"] == "exit":
                assert event["exit_code"] in (6, 8), event
                assert event["findings"][-1]["rule"].startswith("worker-"), event
            else:
                assert running.interrupt() == 130


def served_or_ended(running: Running, url: str) -> dict[str, Any]:
    """An answer of the server, in the end, or how it ended."""
    deadline = time.monotonic() + 60
    while running.process.poll() is None:
        try:
            return chat(url) | {"event": "answered"}
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < deadline, "lost"
    return running.wait_event("exit")
