#!/usr/bin/env python3
"""Asks a server every line of stdin, and prints the answers, one a line.

    printf '%s\\n' 'a haiku about rain' 'two plus two' | scripts/examples/ask_each_line.py demo

The model is loaded once: `run --detach` starts a server that stays, or names the one that is there.
"""

import json
import subprocess
import sys
import urllib.request


def main(model: str) -> None:
    """Stop only what was started here."""
    started = subprocess.run(
        ["llmtp", "run", model, "--detach", "--json"], stdout=subprocess.PIPE, check=False
    )
    told = json.loads(started.stdout)
    if not told["ok"]:
        error = next(one for one in told["findings"] if one["level"] == "error")
        sys.exit(f"{error['message']}\n  {error['fix'] or ''}")
    server = told["data"]
    try:
        for line in sys.stdin:
            print(ask(server["url"], line.strip()).replace("\n", " "), flush=True)
    finally:
        if not server["was_running"]:
            subprocess.run(["llmtp", "stop", server["id"], "--quiet"], check=True)


def ask(url: str, question: str) -> str:
    """One answer of any server that speaks as OpenAI's does."""
    body = json.dumps({"messages": [{"role": "user", "content": question}], "max_tokens": 200})
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", body.encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: ask_each_line.py MODEL < QUESTIONS")
    main(sys.argv[1])
