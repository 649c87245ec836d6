#!/usr/bin/env python3
"""Runs a server, and says so when its drafts are hardly ever right any more.

    scripts/examples/watch_acceptance.py gemma-4-12b 0.4

`run --json` prints an object a line; the last one has the exit code, and what went wrong.
"""

import json
import subprocess
import sys


def main(model: str, least: float) -> int:
    """Go on until the server ends, as it does on Ctrl-C; its exit code is ours."""
    command = ["llmtp", "run", model, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            match event["event"]:
                case "ready":
                    print(f"ready at {event['url']}", flush=True)
                case "sample" if (share := event["acceptance"]) is not None and share < least:
                    print(f"only {share:.0%} of the drafts are right: llmtp top", flush=True)
                case "exit":
                    for finding in event["findings"]:
                        print(f"{finding['level']}: {finding['message']}", file=sys.stderr)
                    return int(event["exit_code"])
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: watch_acceptance.py MODEL SHARE")
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
