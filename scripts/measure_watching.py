#!/usr/bin/env python3
"""What watching a server costs: CPU of llmtp, and tokens/s of the server.

    scripts/measure_watching.py MODEL [ROUNDS] [ENGINE AND PLANNING OPTIONS]

Starts `llmtp run MODEL` with its live view in a terminal of its own. The CPU time of llmtp without
its children is taken over ten idle seconds and over ten in which requests follow each other. Then
each round asks the same thing twice, once while llmtp watches and once while it is stopped by
SIGSTOP, in turns of who is first; the ratio of tokens/s comes with its 95% interval.
"""

from __future__ import annotations

import json
import os
import pty
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

LLMTP = Path(sys.executable).with_name("llmtp")
LOOK_S = 10.0
#: Of Student's t, two-sided 95%, by degrees of freedom, for few rounds; 1.96 for many.
_T = {2: 4.30, 4: 2.78, 9: 2.26, 14: 2.14, 19: 2.09, 29: 2.05, 39: 2.02}


@dataclass(frozen=True)
class Watching:
    """CPU in seconds a second, idle and busy; watched tokens/s over unwatched, and its interval."""

    idle: float
    busy: float
    ratio: float
    half_width: float


class Watched:
    """A server that llmtp watches in a terminal which somebody reads."""

    def __init__(self, argv: Sequence[str]) -> None:
        leader, follower = pty.openpty()
        self._process = subprocess.Popen(
            [str(LLMTP), "run", *argv], stdin=follower, stdout=follower, stderr=follower,
            start_new_session=True, env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"},
        )  # fmt: skip
        os.close(follower)
        self._screen = ""
        self._is_watched = threading.Event()
        threading.Thread(target=self._read, args=(leader,), daemon=True).start()
        if not self._is_watched.wait(300):
            raise SystemExit(f"no server: {self._screen[-2000:]}")
        self.url = re.findall(r"at (http://\S+?)/v1", self._screen)[-1]
        self._meter = psutil.Process(self._process.pid)

    def _read(self, leader: int) -> None:
        while True:
            try:
                self._screen += os.read(leader, 1 << 16).decode("utf-8", "replace")
            except OSError:
                return
            if "no request yet" in self._screen:
                self._is_watched.set()
            if self._is_watched.is_set():
                self._screen = self._screen[-20_000:]

    def cpu_s(self) -> float:
        times = self._meter.cpu_times()
        return float(times.user + times.system)

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        self._meter.suspend()
        try:
            yield
        finally:
            self._meter.resume()

    def tokens_per_s(self, n_predict: int) -> float:
        """Of one greedy request."""
        body = {"prompt": "one, two, three, " * 8, "n_predict": n_predict, "temperature": 0,
                "ignore_eos": True, "cache_prompt": False}  # fmt: skip
        request = urllib.request.Request(f"{self.url}/completion", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=600) as answer:
            timings: dict[str, Any] = json.loads(answer.read())["timings"]
        return float(timings["predicted_per_second"])

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)


def measure(argv: Sequence[str], rounds: int) -> Watching:
    """Start, measure, stop."""
    server = Watched(argv)
    try:
        n_predict = max(64, min(4000, int(server.tokens_per_s(64) * 2)))
        before = server.cpu_s()
        time.sleep(LOOK_S)
        idle = (server.cpu_s() - before) / LOOK_S
        before, began = server.cpu_s(), time.monotonic()
        while time.monotonic() < began + LOOK_S:
            server.tokens_per_s(n_predict)
        busy = (server.cpu_s() - before) / (time.monotonic() - began)
        ratios = []
        for number in range(rounds):
            if number % 2:
                watched = server.tokens_per_s(n_predict)
            with server.unwatched():
                alone = server.tokens_per_s(n_predict)
            if not number % 2:
                watched = server.tokens_per_s(n_predict)
            ratios.append(watched / alone)
    finally:
        server.stop()
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5
    t = next((t for freedom, t in sorted(_T.items()) if len(ratios) - 1 <= freedom), 1.96)
    return Watching(idle, busy, statistics.mean(ratios), t * spread)


def main() -> int:
    argv = [sys.argv[1], *sys.argv[3:]]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    found = measure(argv, rounds)
    print(f"CPU of llmtp, idle   {1000 * found.idle:6.1f} ms/s")
    print(f"CPU of llmtp, busy   {1000 * found.busy:6.1f} ms/s")
    print(f"tokens/s, watched    {found.ratio:6.4f} x  unwatched, +- {found.half_width:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
