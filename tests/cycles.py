"""Serves the crafted pair so often, in one process, and prints what the process holds."""

from __future__ import annotations

import json
import sys
import threading

import psutil

from llmtp import signals
from llmtp.chain import Watch, prepare
from llmtp.cli.asked import files_asked
from llmtp.cli.output import Out
from llmtp.cli.views import QuietView
from llmtp.cli.wishes import serving
from llmtp.plan.wishes import Wishes
from llmtp.supervisor import Supervisor

if __name__ == "__main__":
    signals.install()
    me = psutil.Process()
    asked = files_asked("crafted", "auto", "auto", "off", False)
    for _ in range(int(sys.argv[1])):
        where = serving("127.0.0.1", None, None, False, None)
        prepared = prepare(asked, Wishes(), where, watch=Watch(progress=lambda _: None))
        supervisor = Supervisor(prepared, QuietView(Out("run")), {})
        answer = supervisor.once(lambda running: running.answer("hello", lambda _: None))
        assert answer.answer
        held = {
            "descriptors": me.num_fds(),
            "threads": threading.active_count(),
            "children": len(me.children(recursive=True)),
        }
        sys.stdout.write(json.dumps(held) + "\n")
