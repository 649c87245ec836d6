"""Several machines and one model: each in a network of its own, on a cable of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import Cli, Running
from lenders import NEITHER_ALONE, SAID
from namespaces import World, machines, world

ROOT = Path(__file__).resolve().parent.parent
TITLE = "### Two machines, one model"
#: What stands here for the other machine of the README, and for its model.
HERE = {"192.168.1.20": "10.77.1.2", "gemma-4-31b": "crafted"}


def typed() -> list[str]:
    """The commands of the README, in their order, for the machines of this test."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split(f"{TITLE}\n")[1]
    (block,) = re.findall(r"```sh\n(.*?)```", re.split("\n##+ ", section)[0], re.DOTALL)
    lines = [line.partition("#")[0].strip() for line in block.splitlines()]
    commands = [line for line in lines if line]
    for there, here in HERE.items():
        commands = [command.replace(there, here) for command in commands]
    return commands


@contextmanager
def lent(net: World, machine: str) -> Iterator[Running]:
    with net.start("llmtp worker --host eth0 --threads 1 --json", machine) as running:
        yield running


def test_four_commands_lead_to_one_running_model(cli: Cli) -> None:
    worker, doctor, plan, run = typed()
    with (
        world(cli, machines(["other"]), is_cut_off=True) as net,
        net.start(worker, "other") as running,
    ):
        running.wait_line(lambda line: "RPC has neither password nor encryption" in line)
        running.wait_line(lambda line: line.startswith("ready at 10.77.1.2:50052, RPC "))
        assert re.search(r"pass +worker +worker 10\.77\.1\.2:50052: ", net.shell(doctor).stdout)
        assert "all layers on worker 10.77.1.2:50052 (RPC0)" in net.shell(plan).stdout
        served = net.shell(f"timeout --signal INT 30 {run} | grep -m1 -o 'MTP is on'")
        assert served.stdout == "MTP is on\n", served.stderr


def test_two_machines_hold_what_neither_holds_alone(cli: Cli) -> None:
    ask = f"llmtp run crafted {' '.join(NEITHER_ALONE)} --ask hello --json"
    with ExitStack() as stack:
        net = stack.enter_context(world(cli, machines(["one", "two"]), is_cut_off=True))
        for name in ("one", "two"):
            stack.enter_context(lent(net, name)).wait_event("lending")
        alone = net.shell(f"{ask} --strict --rpc 10.77.1.2={SAID}")
        assert alone.code == 4, alone.stdout
        both = f"--rpc 10.77.1.2={SAID},10.77.2.2={SAID}"
        near = net.shell(ask).json["data"]
        far = net.shell(f"{ask} {both}").json["data"]
        counted = ("answer", "drafted", "accepted")
        assert [far[key] for key in counted] == [near[key] for key in counted]
        assert far["accepted"] > 0
        report = net.shell("llmtp bug-report --out -").stdout
    assert re.search(
        r"RPC0 +worker ADDRESS:50052: .*\n(.*\n)*?RPC1 +worker ADDRESS:50052: ", report
    )
    assert "10.77." not in report


def test_a_cable_that_is_pulled_is_no_end(cli: Cli) -> None:
    """No connection breaks: nothing comes any more."""
    body = json.dumps({"prompt": "hello", "n_predict": 2000, "ignore_eos": True})
    with ExitStack() as stack:
        net = stack.enter_context(world(cli, machines(["other"]), is_cut_off=True))
        worker = stack.enter_context(lent(net, "other"))
        worker.wait_event("lending")
        run = "llmtp run crafted --rpc 10.77.1.2 --port 12345 --json"
        running = stack.enter_context(net.start(run, ""))
        running.wait_event("mtp")
        worker.wait_event("connected")
        watched = net.shell("nsenter --net=/run/netns/other ss -Htno state established")
        assert "timer:(keepalive," in watched.stdout
        stack.enter_context(net.start(f"curl -s 127.0.0.1:12345/completion -d '{body}'", ""))
        running.wait_line(lambda line: '"busy_slots": 1' in line)
        net.shell("ip link set to-other down")
        again = running.wait_event("restarting")
        assert (again["rule"], "the server hangs" in again["reason"]) == ("worker-lost", True)
        assert "the worker 10.77.1.2:50052 " in again["reason"]
        net.shell("ip link set to-other up")
        running.wait_event("ready")
        assert running.wait_event("mtp")["active"]
