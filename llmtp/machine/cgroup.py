"""Memory of the control groups that this process is in, of version 1 or 2 (Linux)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmtp import signals

_ROOT = Path("/sys/fs/cgroup")
_OURS = Path("/proc/self/cgroup")
_VMSTAT = Path("/proc/vmstat")
#: Names of the files by version: limit, use, count of kills, and file cache in memory.stat.
_FILES = {
    2: ("memory.max", "memory.current", "memory.events", ("active_file", "inactive_file")),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control",
        ("total_active_file", "total_inactive_file")),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Room:
    """What a group may have, and what it has without its file cache, which makes room."""

    limit_bytes: int
    used_bytes: int

    @property
    def free_bytes(self) -> int:
        return max(self.limit_bytes - self.used_bytes, 0)


@signals.hold()
def least_room(root: Path = _ROOT, ours: Path = _OURS) -> Room | None:
    """Of our group and those above it, the one with the least left; None where none has a limit."""
    rooms = []
    for folder, version in _groups(root, ours):
        limit_file, use_file, _, cache = _FILES[version]
        limit, used = _number(folder / limit_file), _number(folder / use_file)
        if limit is not None and used is not None:
            counts = _table(folder / "memory.stat")
            rooms.append(Room(limit, max(used - sum(counts.get(name, 0) for name in cache), 0)))
    return min(rooms, key=lambda room: room.free_bytes, default=None)


@signals.hold()
def oom_kills(root: Path = _ROOT, ours: Path = _OURS, vmstat: Path = _VMSTAT) -> int | None:
    """How many processes of our group the system killed for lack of memory, or of the whole
    system where the group does not say; None where nobody tells."""
    for folder, version in _groups(root, ours):
        count = _table(folder / _FILES[version][2]).get("oom_kill")
        if count is not None:
            return count
    return _table(vmstat).get("oom_kill")


def _groups(root: Path, ours: Path) -> Iterator[tuple[Path, int]]:
    """Our own group and those above it. In a container the root is ours, whatever its path."""
    try:
        lines = [line.split(":", 2) for line in ours.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers not in ("", "memory"):
            continue
        version, base = (1, root / "memory") if controllers else (2, root)
        folder = base / path.strip("/")
        for group in (folder, *folder.parents):
            if group.is_dir() and (group == base or base in group.parents):
                yield group, version


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _table(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    try:
        rows = [row.split() for row in file.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
