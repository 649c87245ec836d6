#!/usr/bin/env python3
"""What the drafts of the shipped demo pair are worth: acceptance, and speed against MTP off.

    scripts/measure_demo.py [PROMPTS OF A KIND] [ENGINE OPTIONS]

Serves the demo with MTP off and with n-max 1 to 4, and asks all of them, in turns, prompts of each
kind that training never saw: greedy, up to 96 tokens. Then code at higher temperatures. Acceptance
is accepted of drafted tokens; a speed is tokens/s over those of MTP off in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from demo_pair.corpus import KINDS, held_out

LLMTP = Path(sys.executable).with_name("llmtp")
N_MAX = ("off", "1", "2", "3", "4")
TEMPERATURES = (0.0, 0.4, 0.8, 1.2)
LONGEST = 96


@dataclass
class Served:
    """A demo server, and what its answers cost, by kind of prompt.

    Counted are tokens, milliseconds, drafted and accepted tokens.
    """

    url: str
    cost: dict[str, Counter[str]] = field(default_factory=dict)

    def ask(self, prompt: str, counted_as: str, temperature: float = 0.0) -> None:
        body = json.dumps({
            "messages": [{"role": "user", "content": prompt}], "max_tokens": LONGEST, "seed": 1,
            "temperature": temperature, "cache_prompt": False,
        })  # fmt: skip
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", body.encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            timings = json.loads(answer.read())["timings"]
        self.cost.setdefault(counted_as, Counter()).update(
            tokens=timings["predicted_n"], ms=timings["predicted_ms"],
            drafted=timings.get("draft_n", 0), accepted=timings.get("draft_n_accepted", 0),
        )  # fmt: skip

    def acceptance(self, kind: str) -> float:
        return self.cost[kind]["accepted"] / max(1, self.cost[kind]["drafted"])

    def speed(self, kind: str) -> float:
        """Tokens/s."""
        return 1000 * self.cost[kind]["tokens"] / self.cost[kind]["ms"]


@contextmanager
def served(n_max: str, options: Sequence[str] = ()) -> Iterator[Served]:
    """A server among others of this script's own: a user's is neither offered nor stopped."""
    with tempfile.TemporaryDirectory() as state:
        env = os.environ | {"XDG_STATE_HOME": state}
        argv = [str(LLMTP), "run", "demo", "--n-max", n_max, "--detach", "--json"]
        argv += ["--", *options] if options else []
        done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, check=True)
        data = json.loads(done.stdout)["data"]
        try:
            yield Served(data["url"])
        finally:
            stop = [str(LLMTP), "stop", data["id"]]
            subprocess.run(stop, env=env, check=True, stderr=subprocess.DEVNULL)


def measure(count: int, kinds: Sequence[str], options: Sequence[str] = ()) -> dict[str, Served]:
    """Ask `count` prompts of each kind of a server for each n-max, in turns."""
    prompts = {kind: [one.prompt for one in held_out() if one.kind == kind] for kind in kinds}
    with ExitStack() as stack:
        servers = {n: stack.enter_context(served(n, options)) for n in N_MAX}
        for server in servers.values():
            server.ask("warm up", "none")
        for kind in kinds:
            for prompt in prompts[kind][:count]:
                for server in servers.values():
                    server.ask(prompt, kind)
        for temperature in TEMPERATURES:
            for prompt in prompts["code"][:count]:
                servers["1"].ask(prompt, f"at {temperature:g}", temperature)
    return servers


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    servers = measure(count, KINDS, sys.argv[2:])
    on = N_MAX[1:]
    head = "".join(f"{n:>6}" for n in on)
    print(
        f"             accepted at n-max           times MTP off at n-max\n{'':12}{head}    {head}"
    )
    for kind in KINDS:
        shares = "".join(f"{servers[n].acceptance(kind):6.0%}" for n in on)
        speeds = (servers[n].speed(kind) / servers["off"].speed(kind) for n in on)
        print(f"{kind:12}{shares}    {''.join(f'{speed:6.2f}' for speed in speeds)}")
    at = (f"{t:g}: {servers['1'].acceptance(f'at {t:g}'):.0%}" for t in TEMPERATURES)
    print(f"\ncode, n-max 1, by temperature: {', '.join(at)}")
    print(f"MTP off: {servers['off'].speed('code'):,.0f} tokens/s on code")
    return 0


if __name__ == "__main__":
    sys.exit(main())
