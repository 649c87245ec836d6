"""A world of one's own for a child: its mounts and networks are seen by nobody else, and are gone
with it.

Needs `unshare` and `nsenter` of util-linux, `ip` of iproute2 for networks, and a system that lets
users have namespaces.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from harness import WAIT_S, Cli, Result, Running


@dataclass
class World:
    """Where commands see what was mounted, and root is who started it."""

    cli: Cli
    pid: int

    def words(self, command: str, machine: str = "") -> list[str]:
        """That run it there, or in the network of one of its machines."""
        inner = ["nsenter", f"--net=/run/netns/{machine}", "--"] if machine else []
        return ["nsenter", "--target", str(self.pid), "--user", "--mount", "--net",
                "--preserve-credentials", "--", *inner, "bash", "-c", command]  # fmt: skip

    @property
    def env(self) -> dict[str, str]:
        """With `llmtp` on the PATH."""
        return self.cli.env | {"PATH": f"{self.cli.program.parent}:{self.cli.env['PATH']}"}

    @contextmanager
    def start(self, command: str, machine: str) -> Iterator[Running]:
        """A command that goes on, on one of its machines, until it is interrupted."""
        process = subprocess.Popen(
            self.words(f"exec {command}", machine),
            env=self.env,
            cwd=self.cli.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running = Running(process, self.cli.wait_s)
        try:
            yield running
        finally:
            running.interrupt()
            running.close()

    def shell(self, command: str, stdin: str = "", **env: str) -> Result:
        """One line, as somebody types it, with `llmtp` on the PATH."""
        done = subprocess.run(
            self.words(command),
            env=self.env | env,
            cwd=self.cli.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        return Result(done.returncode, done.stdout, done.stderr)


@contextmanager
def world(cli: Cli, mounts: str, *, is_cut_off: bool = False) -> Iterator[World]:
    """With these commands of a shell run first, by root of the new namespace. One that is cut off
    has no network but what they make."""
    words = ["unshare", "--user", "--map-root-user", "--mount", *["--net"] * is_cut_off]
    script = f"set -e; {mounts}\necho ready; read -r _"
    with subprocess.Popen(
        [*words, "sh", "-c", script],
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


def machines(names: Sequence[str]) -> str:
    """Commands that make machines beside this one, each on a cable of its own: number n has the
    address 10.77.n.2 at `eth0`."""
    lines = ["mount -t tmpfs tmpfs /run", "ip link set lo up"]
    for number, name in enumerate(names, 1):
        inside = f"nsenter --net=/run/netns/{name}"
        lines += [
            f"ip netns add {name}",
            f"ip link add to-{name} type veth peer name eth0 netns {name}",
            f"ip addr add 10.77.{number}.1/24 dev to-{name}",
            f"ip link set to-{name} up",
            f"{inside} ip addr add 10.77.{number}.2/24 dev eth0",
            f"{inside} ip link set lo up",
            f"{inside} ip link set eth0 up",
        ]
    return "\n".join(lines)
