"""Days of use, with everything that goes wrong on them; the long run has a hundred."""

from __future__ import annotations

import os
import random
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness import Cli, alive, chat, wait_until

from llmtp.server.life import State

#: So many commands that each start Python and a server are enough for two cores.
_AT_ONCE = 12


def servers(cli: Cli) -> dict[str, dict[str, Any]]:
    """What `ps` says, by id."""
    return {one["id"]: one for one in cli("ps", "--json").json["data"]["servers"]}


def assert_nothing_left(cli: Cli) -> None:
    """No server, no key, and no file but entries, logs and the lock."""
    assert servers(cli) == {}
    (folder,) = (cli.home / ".local/state/llmtp/servers").iterdir()
    assert {path.suffix for path in folder.iterdir()} <= {".json", ""}
    assert list((cli.home / ".local/state/llmtp/keys").glob("*")) == []


def second_model(crafted: Path, folder: Path) -> Path:
    """The crafted pair under other names."""
    shutil.copy(crafted / "mtp-crafted.gguf", folder / "mtp-other.gguf")
    return Path(shutil.copy(crafted / "crafted.gguf", folder / "other.gguf"))


@pytest.mark.soak
def test_a_day_leaves_nothing(
    cli: Cli, crafted: Path, tmp_path: Path, soak: bool, dice: random.Random
) -> None:
    """Start two, look, ask both, watch, kill a part, ask again, read a log, stop all."""
    other = second_model(crafted, tmp_path)
    for _ in range(100 if soak else 1):
        for words in (("crafted", "--make-key"), (str(other), "--n-max", "3")):
            assert cli("run", *words, "--detach").code == 0
        both = servers(cli)
        assert list(both) == ["crafted", "other"]
        ask(both["crafted"])
        ask(both["other"])
        name, part = dice.choice(["crafted", "other"]), dice.choice(["llmtp_pid", "pid", "both"])
        victims = ["llmtp_pid", "pid"] if part == "both" else [part]
        pids = [both[name][victim] for victim in victims]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(partial(all_are_gone, pids))
        if part == "pid":
            wait_until(partial(is_back, cli, name))
        now = servers(cli)
        if part == "both":
            assert name not in now
        else:
            assert now[name]["state"] == ("unsupervised" if part == "llmtp_pid" else "ready")
            ask(now[name])
        ask(now["other" if name == "crafted" else "crafted"])
        assert "listening on" in cli("logs", name).stdout
        assert cli("stop", "all").code == 0
        assert not any(alive(one[pid]) for one in both.values() for pid in ("pid", "llmtp_pid"))
        assert_nothing_left(cli)


def all_are_gone(pids: list[int]) -> bool:
    return not any(alive(pid) for pid in pids)


def is_back(cli: Cli, name: str) -> bool:
    now = servers(cli)[name]
    return (now["restarts"], now["state"]) == (1, "ready")


def ask(server: dict[str, Any]) -> None:
    key_file = server["api_key_file"]
    key = Path(key_file).read_text(encoding="utf-8").strip() if key_file else None
    assert chat(server["url"], key=key)["choices"]


@pytest.mark.soak
def test_starts_and_stops_that_race_leave_nothing(
    cli: Cli, soak: bool, dice: random.Random
) -> None:
    """Of four servers, in any order; each is told what became of what it wanted."""
    count = 50 if soak else 6
    start = ("run", "crafted", "--detach", "--ctx")
    sizes, names = ["2k", "3k", "4k", "5k"], ["all", "crafted", "crafted-2", "crafted-3"]
    commands: list[tuple[str, ...]] = [(*start, dice.choice(sizes)) for _ in range(count)]
    commands += [("stop", dice.choice(names)) for _ in range(count)]
    dice.shuffle(commands)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        results = list(pool.map(lambda command: cli(*command), commands))
    for command, result in zip(commands, results, strict=True):
        # A start may be stopped while it starts, and a stop may come too early or too late.
        assert result.code in {"run": (0, 6), "stop": (0, 8)}[command[0]], (command, result)
        assert result.code != 6 or "was stopped before it was ready" in result.stderr, result
        assert "Traceback" not in result.stderr
    states = {one["state"] for one in servers(cli).values()}
    assert states <= {State.READY.value}
    assert cli("stop", "all").code == 0
    assert_nothing_left(cli)
