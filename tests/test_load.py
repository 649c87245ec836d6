"""Many clients at once, for long: watching adds no error to what a bare llama-server gives."""

from __future__ import annotations

import collections
import http.client
import json
import random
import shlex
import subprocess
import threading
import time
import urllib.parse

import pytest
from harness import Cli, wait_until

from llmtp.ports import free_port, is_free


def client(url: str, until: float, seed: int, ends: collections.Counter[str]) -> None:
    """Chats of random length, streamed or not, each on a connection of its own."""
    dice = random.Random(seed)
    host = urllib.parse.urlsplit(url).netloc
    while time.monotonic() < until:
        body = {
            "messages": [{"role": "user", "content": "hello " * dice.randint(1, 50)}],
            "max_tokens": dice.randint(1, 200),
            "stream": dice.random() < 0.5,
        }
        connection = http.client.HTTPConnection(host, timeout=300)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            whole = text.endswith(b"data: [DONE]\n\n") if body["stream"] else b"usage" in text
            ends[f"{answer.status} {'whole' if whole else 'in part'}"] += 1
        except (OSError, http.client.HTTPException) as error:
            ends[type(error).__name__] += 1
        finally:
            connection.close()


def load(url: str, clients: int, seconds: float, seed: int) -> collections.Counter[str]:
    """How all requests ended."""
    counts = [collections.Counter[str]() for _ in range(clients)]
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=client, args=(url, until, seed + number, ends))
        for number, ends in enumerate(counts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 400)
        assert not thread.is_alive()
    return sum(counts, collections.Counter())


def bare(cli: Cli, clients: int, seconds: float, seed: int) -> collections.Counter[str]:
    """How requests to the same command without llmtp end."""
    argv = shlex.split(cli("run", "crafted", "--dry-run").stdout)
    port = free_port()
    argv[argv.index("--port") + 1] = str(port)
    with subprocess.Popen(
        argv, env=cli.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: not is_free("127.0.0.1", port))
            load(f"http://127.0.0.1:{port}", 1, 1.0, seed)  # while it loads
            return load(f"http://127.0.0.1:{port}", clients, seconds, seed)
        finally:
            process.kill()


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_many_clients_see_no_error_of_ours(cli: Cli, soak: bool, dice: random.Random) -> None:
    clients, seconds = (64, 300.0) if soak else (16, 5.0)
    seed = dice.randrange(1 << 30)
    with cli.start("run", "crafted", "--json") as running:
        ready = running.wait_event("ready")
        running.wait_event("sample")
        ends = load(ready["url"], clients, seconds, seed)
        while (last := running.wait_event("sample"))["requests"] < ends["200 whole"]:
            pass
        assert running.interrupt() == 130
        events = [json.loads(line) for line in running.rest()]
    assert ends["200 whole"] > clients
    if set(ends) != {"200 whole"}:
        theirs = bare(cli, clients, seconds, seed)
        for kind in set(ends) - {"200 whole"}:
            share = ends[kind] / ends.total()
            assert share <= 2 * theirs[kind] / theirs.total(), (kind, ends, theirs)
    assert "restarting" not in {event["event"] for event in events}
    assert 0 < last["acceptance"] < 1
