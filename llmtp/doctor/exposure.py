"""What others could reach: servers of ours that listen beyond this machine, and open CORS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmtp.doctor.check import Check, Status
from llmtp.doctor.engines import Looked
from llmtp.packages import System
from llmtp.ports import is_loopback


@dataclass(frozen=True, slots=True)
class Exposed:
    """A server of ours and the address that it listens on, `0.0.0.0`."""

    id: str
    host: str
    has_key: bool


def security_checks(
    servers: Sequence[Exposed], used: Looked | None, system: System
) -> Iterator[Check]:
    """One for every server that can be reached from elsewhere; one that says so where none can."""
    wide = [server for server in servers if not is_loopback(server.host)]
    for server in wide:
        key = "with a key" if server.has_key else "WITHOUT a key"
        words = f"{server.id} listens on {server.host}, beyond this machine, {key}"
        status: Status = "warn" if server.has_key else "fail"
        yield Check("security", "listening", status, words, f"llmtp stop {server.id}")
    if not wide:
        count = f"{len(servers)} server{'' if len(servers) == 1 else 's'} of llmtp"
        words = f"{count} here, for this machine alone" if servers else "no server of llmtp is here"
        yield Check("security", "listening", "pass", words)
    if used is not None and used.build is not None and not used.build.has("--cors-origins"):
        words = "this build answers every web page that the browser shows: CORS cannot be closed"
        yield Check("security", "cors", "warn", words, system.install_engine())
