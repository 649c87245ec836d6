#!/usr/bin/env python3
"""Runs a server, and says so when its drafts are hardly ever right any more.

    scripts/examples/watch_acceptance.py gemma-4-12b 0.4

`run --json` prints an object a line; the last one has the exit code.
"""

import json
import subprocess
import sys

command = ["llmtp", "run", sys.argv[1], "--json"]
least = float(sys.argv[2])
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
                sys.exit(event["exit_code"])
