"""A world of one's own for a child: its mounts are seen by nobody else, and are gone with it.

Needs `unshare` and `nsenter` of util-linux, and a system that lets users have namespaces.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness import WAIT_S, Cli, Result


@dataclass
class World:
    """Where commands see what was mounted, and root is who started it."""

    cli: Cli
    pid: int

    def shell(self, command: str, stdin: str = "", **env: str) -> Result:
        """One line, as somebody types it, with `llmtp` on the PATH."""
        words = ["nsenter", "--target", str(self.pid), "--user", "--mount",
                 "--preserve-credentials", "--", "bash", "-c", command]  # fmt: skip
        path = f"{self.cli.program.parent}:{self.cli.env['PATH']}"
        done = subprocess.run(
            words,
            env=self.cli.env | {"PATH": path} | env,
            cwd=self.cli.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        return Result(done.returncode, done.stdout, done.stderr)


@contextmanager
def world(cli: Cli, mounts: str) -> Iterator[World]:
    """With these commands of a shell run first, by root of the new namespace."""
    script = f"set -e; {mounts}\necho ready; read -r _"
    with subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        env=cli.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "this system has no namespaces for users"
        try:
            yield World(cli, process.pid)
        finally:
            process.stdin.write("\n")
            process.stdin.close()
            process.wait(WAIT_S)
