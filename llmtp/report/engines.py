"""What a build of llama-server says of itself, asked with a bound."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from itertools import islice

from llmtp.config import load_config
from llmtp.engine.ask import ask
from llmtp.engine.llama.find import candidates, disturbing_variables
from llmtp.errors import LlmtpError

_TIMEOUT_S = 3.0
_MOST_LINES = 40
_MOST_CANDIDATES = 4


def version_lines(program: str, env: Mapping[str, str | None]) -> Iterator[str]:
    """`--version` of a program; `env` is what its process needs (None: removed)."""
    yield f"$ {program} --version"
    removed = {*disturbing_variables(), *(name for name, value in env.items() if value is None)}
    ours = {name: value for name, value in os.environ.items() if name not in removed}
    added = {name: value for name, value in env.items() if value is not None}
    try:
        answer = ask([program, "--version"], ours | added, _TIMEOUT_S)
    except (OSError, ValueError) as error:
        yield f"[it cannot be started: {getattr(error, 'strerror', None) or error}]"
        return
    yield from islice(answer.output.splitlines(), _MOST_LINES)
    if answer.returncode is None:
        yield f"[it was stopped: no end within {_TIMEOUT_S:.0f} s]"
    elif answer.returncode:
        yield f"[it ended with {_ending(answer.returncode)}]"


def candidate_lines() -> Iterator[str]:
    """Where no server tells which build: every llama-server that llmtp would try here."""
    found = 0
    try:
        for candidate in islice(candidates(None, load_config()), _MOST_CANDIDATES):
            found += 1
            if not candidate.is_program:
                yield f"[{candidate.path} ({candidate.source}) is not an executable program]"
                continue
            yield f"{candidate.source}:"
            yield from version_lines(str(candidate.path), candidate.env)
    except LlmtpError as error:
        yield f"[{error}]"
    if not found:
        yield "[there is no llama-server on this machine]"


def _ending(code: int) -> str:
    names = {each.value: each.name for each in signal.Signals}
    return names.get(-code, f"code {code}")
