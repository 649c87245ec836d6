"""The words of a llama-server."""

from __future__ import annotations

import re

from llmtp.engine import speech
from llmtp.engine.llama import failure, past
from llmtp.engine.llama.build import LISTENING
from llmtp.engine.llama.redact import Redactor

_IDLE = b"update_slots: all slots are idle"
#: What a build, its devices and its buffers are: a maintainer asks for it first.
_ABOUT = re.compile(
    r"_print_info: build|system_info|device_info|common_param:   - |ggml_(?:cuda|vulkan|metal)\w*: "
    r"|using device|offloaded \d|(?:KV|RS|compute|output|model) buffer size|flash_attn|draft"
)


class LlamaSpeech:
    """See Speech. A server without requests ends within a tenth of a second."""

    term_wait_s = 5.0
    health_is_enough = True
    is_telling = staticmethod(failure.is_telling)
    explain = staticmethod(failure.explain)
    telling_lines = staticmethod(failure.telling_lines)
    without_requests = staticmethod(past.without_requests)

    def listens(self, line: str) -> bool:
        return LISTENING in line

    def is_loaded(self, line: str) -> bool:
        return self.listens(line)

    def is_idle(self, line: bytes) -> bool:
        return _IDLE in line

    def redactor(self, *, prompts_too: bool) -> speech.Redactor:
        return Redactor(prompts_too=prompts_too)

    def is_about(self, line: str) -> bool:
        return _ABOUT.search(line) is not None
