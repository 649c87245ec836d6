"""The command line of a server, so that anybody can start it without llmtp. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from llmtp.engine.command import quote
from llmtp.report.redaction import SECRET, SECRET_FLAG, Redaction

_HAS_VALUE = re.compile(r"(?!--?[A-Za-z])")


def command_lines(
    argv: Sequence[str], env: Mapping[str, str | None], redact: Redaction
) -> Iterator[str]:
    """For a POSIX shell, a flag a line. The home is an unquoted `~`, which shells expand, in the
    value of a variable too, behind each colon."""
    assigned = [
        f"{name}={_path_list(value, redact)}" for name, value in env.items() if value is not None
    ]
    removed = [f"-u {quote(name)}" for name, value in env.items() if value is None]
    program = " ".join([*(["env", *removed] if removed else []), _word(argv[0], redact)])
    parts = [*assigned, program, *_flags(argv[1:], redact)]
    for part in parts[:-1]:
        yield f"{part} \\"
    yield parts[-1]


def _flags(words: Sequence[str], redact: Redaction) -> Iterator[str]:
    """Each flag with its values, which are secret behind some."""
    line: list[str] = []
    hides = False
    for word in words:
        is_value = bool(line) and _HAS_VALUE.match(word) is not None
        if not is_value and line:
            yield " ".join(line)
            line = []
        if is_value and hides:
            redact.counts["secret"] += 1
            line.append(SECRET)
        else:
            line.append(_word(word, redact) if line else f"  {_word(word, redact)}")
        if not is_value:
            hides = SECRET_FLAG.fullmatch(word) is not None
    if line:
        yield " ".join(line)


def _path_list(value: str, redact: Redaction) -> str:
    return ":".join(_word(part, redact) if part else "" for part in value.split(os.pathsep))


def _word(word: str, redact: Redaction) -> str:
    put = redact(word, keeps_folders=True)
    if put.startswith("~/") and not word.startswith("~"):
        rest = put.removeprefix("~/")
        return f"~/{quote(rest)}" if rest else "~/"
    return quote(put)
