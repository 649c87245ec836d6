"""What the registry knows of one server. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtp.errors import ExitCode, Finding
from llmtp.machine.identity import ProcessId
from llmtp.server.life import State

VERSION = 1
#: `all` is a word of `stop`.
_RESERVED = "all"
_LONGEST = 48
_ID = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,58}[a-z0-9])?")
_MOST_S = 1e11
_OVER = (State.STOPPED, State.FAILED)


@dataclass(frozen=True, slots=True)
class Entry:
    """`llmtp` keeps the server up, `server` is the engine of this start.

    `state` is what llmtp wrote last, so it says nothing of who was killed since. `url` has no path.
    `wanted` is equal for two runs that ask for the same. `plan` is the `data` of `plan --json`, and
    the `folder` where llmtp was typed. `exit_code` and `findings` say how it ended.
    """

    id: str
    llmtp: ProcessId
    server: ProcessId | None
    state: State
    model: str
    url: str
    started_at: float
    restarts: int
    mtp: bool | None
    n_max: int
    detached: bool
    log: Path | None
    api_key_file: Path | None
    key_is_made: bool
    wanted: str
    plan: Mapping[str, Any] = field(default_factory=dict)
    draining: int = 0
    exit_code: int | None = None
    ended_at: float | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def is_over(self) -> bool:
        """Has llmtp written its end?"""
        return self.state in _OVER

    @property
    def main(self) -> str | None:
        """The whole path of its model, where that is known."""
        folder, main = self.plan.get("folder"), self.plan.get("main")
        if not isinstance(main, str) or not isinstance(folder, str):
            return None
        return str(Path(folder) / main)

    @property
    def port(self) -> int | None:
        """Of its url."""
        port = self.url.rpartition(":")[2]
        return int(port) if port.isdecimal() else None

    def to_json(self) -> str:
        """One object, of this version."""
        value: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        value |= {
            "version": VERSION,
            "llmtp": self.llmtp.to_dict(),
            "server": self.server.to_dict() if self.server else None,
            "state": self.state.value,
            "log": str(self.log) if self.log else None,
            "api_key_file": str(self.api_key_file) if self.api_key_file else None,
            "plan": dict(self.plan),
            "findings": [one.to_dict() for one in self.findings],
        }
        return json.dumps(value, indent=1)


def parse_entry(text: str) -> Entry:
    """Raises ValueError, with the reason, for what is no entry of this version."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise ValueError(f"it is not of version {VERSION}")
    try:
        return _entry(value)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"it lacks what an entry has: {error}") from None


def _entry(value: dict[str, Any]) -> Entry:
    llmtp = ProcessId.parse(value["llmtp"])
    if llmtp is None or not is_id(value["id"]):
        raise ValueError("whose it is")
    return Entry(
        id=value["id"],
        llmtp=llmtp,
        server=ProcessId.parse(value["server"]),
        state=State(value["state"]),
        model=_typed(value, "model", str),
        url=_typed(value, "url", str),
        started_at=_time(value["started_at"]),
        restarts=_typed(value, "restarts", int),
        mtp=None if value["mtp"] is None else _typed(value, "mtp", bool),
        n_max=_typed(value, "n_max", int),
        detached=_typed(value, "detached", bool),
        log=_path(value, "log"),
        api_key_file=_path(value, "api_key_file"),
        key_is_made=_typed(value, "key_is_made", bool),
        wanted=_typed(value, "wanted", str),
        plan=_typed(value, "plan", dict),
        draining=_typed(value, "draining", int),
        exit_code=None if value["exit_code"] is None else int(ExitCode(value["exit_code"])),
        ended_at=None if value["ended_at"] is None else _time(value["ended_at"]),
        findings=tuple(Finding.parse(one) for one in value["findings"]),
    )


def _path(value: dict[str, Any], name: str) -> Path | None:
    return None if value[name] is None else Path(_typed(value, name, str))


def _time(value: Any) -> float:
    """Seconds since the epoch, in this millennium or the one before."""
    if not 0 <= float(value) < _MOST_S:
        raise ValueError("a time")
    return float(value)


def _typed(value: dict[str, Any], name: str, kind: type) -> Any:
    if type(value[name]) is not kind:
        raise ValueError(name)
    return value[name]


def is_id(text: object) -> bool:
    """May that be the id of a server, and so the name of a file?"""
    return isinstance(text, str) and _ID.fullmatch(text) is not None and text != _RESERVED


def id_for(model: str, taken: set[str]) -> str:
    """A name for a server of that model which is easy to type: `demo`, and then `demo-2`."""
    file = model.rpartition("/")[2] if model.endswith(".gguf") else model
    name = re.sub(r"[^a-z0-9._]+", "-", file.removesuffix(".gguf").lower())[:_LONGEST].strip("-._")
    name = name if is_id(name) else "server"
    others = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *others) if one not in taken)
