"""The names of split models: NAME-00001-of-0000N.gguf."""

from __future__ import annotations

import re
from pathlib import Path

from llmtp.errors import BadFileError
from llmtp.text import clean

_PART = re.compile(r"(?P<stem>.+)-(?P<part>[0-9]{5})-of-(?P<parts>[0-9]{5})\.gguf", re.DOTALL)
_MAX_PARTS = 1024


def is_later_part(name: str) -> bool:
    """Is this the name of a part that is not the first?"""
    match = _PART.fullmatch(name)
    return match is not None and int(match["part"]) != 1


def part_paths(path: Path) -> list[Path]:
    """The parts of a split model by the name of one of them, or the one file."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    parts = int(match["parts"])
    if not 1 <= int(match["part"]) <= parts <= _MAX_PARTS:
        raise BadFileError(
            f"{clean(str(path), 300)} is called part {int(match['part'])} of {parts}",
            rule="split-part",
            expected="1 to 1024 parts",
            fix="give it the name under which it was published",
        )
    return [
        path.with_name(f"{match['stem']}-{i:05}-of-{parts:05}.gguf") for i in range(1, parts + 1)
    ]
