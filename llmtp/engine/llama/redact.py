"""What of an engine's output may stand in a log: nothing that quotes a request or a key. Pure.

Seen with b10068 at `-lv 4`: the end of an API key when it starts; later, of requests that it
refuses, the JSON near the fault, messages, tools, schemas, and grammars of many lines.
"""

from __future__ import annotations

import re

from llmtp.engine.llama.build import LISTENING

_LEFT_OUT = b"(left out: it may quote a request)"
_LISTENING = LISTENING.encode()
#: In every rule of a grammar.
_RULE = b"::="
_KEY = re.compile(rb"api_keys: \*+")
_LEVEL = re.compile(rb"[\d.]+ ([A-Z]) ")
#: Who says it: `slot print_timing:`, `common_memory_breakdown_print:`. Where nobody does, another
#: thread, which writes what a request says, came between the stamp and its text.
_SPEAKER = re.compile(rb"(?:\w{1,40} {1,20}[\w~()]{1,40}|\w{0,60}_\w{0,60}): ")
_QUOTED = re.compile(rb"(?<=got exception: ).*|['\"{].*", re.DOTALL)
#: Lines without a stamp that come of a crash, not of a request.
_CRASH = re.compile(
    rb"\S+\.(?:c|cpp|cu|cuh|h|hpp|m|metal|comp):\d+: (?:GGML_|fatal |pre-allocated |CUDA error"
    rb"|Remote RPC server )"
    rb"|\S+\(\w*\+0x[\da-f]+\)\[0x[\da-f]+\]$|#\d+ +0x[\da-f]+ in |CUDA error: [\w ]+$"
    rb"|  current device: \d+|terminate called after throwing|  what\(\):|Segmentation fault"
)


class Redactor:
    """Goes through the output of one process, from its start."""

    def __init__(self, *, prompts_too: bool = False) -> None:
        """`prompts_too` keeps what requests say, for who asked for it."""
        self._prompts_too = prompts_too
        self._serves = False

    def keep(self, lines: list[bytes]) -> list[bytes]:
        """What may be kept of some lines."""
        return [kept for line in lines if (kept := self._keep(line)) is not None]

    def _keep(self, line: bytes) -> bytes | None:
        if not self._serves:
            self._serves = _LISTENING in line
            return None if _KEY.search(line) else line
        if self._prompts_too:
            return line
        level = _LEVEL.match(line)
        if level is None:
            return _QUOTED.sub(_LEFT_OUT, line, count=1) if _CRASH.match(line) else None
        if level[1] in b"WE":
            if _RULE in line:
                return line[: level.end()] + _LEFT_OUT
            return _QUOTED.sub(_LEFT_OUT, line, count=1)
        return line if _SPEAKER.match(line, level.end()) else None
