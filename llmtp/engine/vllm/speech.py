"""The words of vLLM, as 0.32.0 prints them: what may be kept, and why it ended.

The last line of nearly every failure says that the engine core failed; the reason is the first one
with an error, of a worker or of the core.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence

from llmtp.engine.speech import PORT_TAKEN, Cause
from llmtp.text import clean

_LISTENS = "Application startup complete."
_LOADED = "Loading weights took"
_IDLE = re.compile(rb'"GET /(?:metrics|health) HTTP')
_LEFT_OUT = b"(left out: it may quote a request)"
#: What a process of vLLM, or the server around it, says itself; the rest is of libraries.
_SPOKEN = re.compile(rb"\((?:APIServer|EngineCore|Worker|VllmWorker)[\w-]{0,20} pid=\d+\) |INFO: ")
_COMPLAINS = re.compile(rb"\([\w-]{1,40} pid=\d+\) (?:ERROR|WARNING) ")
#: Text of requests stands in quotes and braces, their tokens in lists.
_QUOTED = re.compile(rb"['\"{].*", re.DOTALL)
_TOKENS = re.compile(rb"token_ids=\[.*", re.DOTALL)
_QUERY = re.compile(rb"(\"[A-Z]{3,7} [^ ?\"]*)\?[^ \"]*")
_ERROR = re.compile(r"(?:^|[ .])(\w{0,60}(?:Error|Exception|Interrupt)): |: error: |Value error, ")
_USELESS = (
    "Engine core initialization failed", "EngineDeadError", "See stack trace", "See root cause",
    "leaked semaphore", "leaked shared_memory", "WorkerProc initialization failed",
    "cancelled", "CancelledError",
)  # fmt: skip
_WORKER = re.compile(r"\((?:VllmWorker|Worker|EngineCore)")
_PREFIX = re.compile(
    r"^(?:\([\w-]{1,40} pid=\d+\) )?(?:[A-Z]{4,8} \d\d-\d\d [\d:]{8} \[[\w./-]{1,60}:\d+\] ?)?"
)
_ABOUT = re.compile(
    r"version \d|Resolved architecture|speculative_config=|KV cache size|Gemma4 MTP|world_size="
    r"|Loading weights took|Available KV cache memory|Starting vLLM server"
)
_OOM = "out-of-memory"
_LESS = "use a smaller --ctx, --kv-type q8_0 or a smaller quant, or free memory"
_SHELL = 128

_CAUSES = tuple(
    (re.compile(pattern), cause)
    for pattern, cause in (
        (r"Address already in use", PORT_TAKEN),
        (
            r"(Free memory on device .*)",
            Cause("others use memory of the card: {0}", _LESS, _OOM, "device memory"),
        ),
        (
            r"(?:CUDA out of memory|OutOfMemoryError)\W*(.*)",
            Cause("it ran out of device memory: {0}", _LESS, _OOM, "device memory"),
        ),
        (
            r"((?:To serve at least one request|No available memory for the cache).*)",
            Cause("the cache has too little memory: {0}", _LESS, _OOM, "the cache"),
        ),
        (
            r"(Available memory on node .*)",
            Cause("it has too little RAM: {0}", _LESS, _OOM, "RAM"),
        ),
        (
            r"(User-specified max_model_len .* is greater than .*?)\.",
            Cause("the context is too long for the model: {0}", "use a smaller --ctx", "ctx"),
        ),
        (
            r"unrecognized arguments: (.*)",
            Cause("this vLLM does not know {0}", "leave it out behind --", "engine-flags"),
        ),
        (
            r"(argument \S+: .*)",
            Cause("it refuses the {0}", "check what stands behind --", "engine-flags"),
        ),
        (
            r"(Unsupported speculative method.*|.*does not support multimodal models yet)",
            Cause("this vLLM cannot draft for Gemma 4: {0}", "pip install -U vllm",
                  "engine-too-old"),
        ),
        (
            r"PackageNotFoundError: (.*)",
            Cause("this vLLM is not whole: {0}", "install it again", "engine-library"),
        ),
        (
            r"(No module named .*)",
            Cause("this vLLM misses a library: {0}", "install what it names beside it",
                  "engine-library"),
        ),
        (
            r"(dummy base class CUDAGraph)",
            Cause("the drafter of this model needs a GPU in vLLM: {0}",
                  "run without MTP: --draft off", "drafter-device"),
        ),
        (
            r"(CPUModelRunner. object has no attribute .drafter.*)",
            Cause("vLLM cannot draft so on a CPU: {0}", "run without MTP: --draft off",
                  "drafter-device"),
        ),
        (
            r"(The expanded size of the tensor .*|All drafting layers should belong .*|shape .* is "
            r"invalid for input.*)",
            Cause("main model and drafter do not fit each other: {0}",
                  "check them with: llmtp check MAIN DRAFT --engine vllm", "pair"),
        ),
        (
            r"(Invalid repository ID or local directory.*)",
            Cause("a model is not where it should be: {0}",
                  "get it anew with: llmtp pull MODEL --engine vllm", "bad-file"),
        ),
        (
            r"(SafetensorError.*)",
            Cause("a file of weights is damaged: {0}",
                  "get it anew with: llmtp pull MODEL --engine vllm", "bad-file"),
        ),
        (
            r"died unexpectedly \(exit code: -4\)",
            Cause("a worker used an instruction that this CPU does not have, or may not use yet",
                  "add: -- --dtype float32", "engine-cpu"),
        ),
        (
            r"died unexpectedly \(exit code: -9\)",
            Cause("a worker was killed, by somebody or by the system for lack of memory",
                  "see whether memory ran out: a smaller --ctx or quant needs less", "killed"),
        ),
    )
)  # fmt: skip


class _Redactor:
    """See Redactor."""

    def __init__(self, *, prompts_too: bool, serves: bool = False) -> None:
        self._prompts_too = prompts_too
        self._serves = serves

    def keep(self, lines: list[bytes]) -> list[bytes]:
        return [kept for line in lines if (kept := self._keep(line)) is not None]

    def _keep(self, line: bytes) -> bytes | None:
        if not self._serves:
            self._serves = _LISTENS.encode() in line
            return line
        if self._prompts_too:
            return line
        if not _SPOKEN.match(line):
            return None
        line = _QUERY.sub(rb"\1", _TOKENS.sub(b"token_ids=" + _LEFT_OUT, line))
        return _QUOTED.sub(_LEFT_OUT, line, count=1) if _COMPLAINS.match(line) else line


class VllmSpeech:
    """See Speech. It needs 2 to 3 s to end, and 10 where it is not the first machine.

    Its /health says ok while a pair that does not fit waits for the first request to fail.
    """

    term_wait_s = 20.0
    health_is_enough = False

    def listens(self, line: str) -> bool:
        return _LISTENS in line

    def is_loaded(self, line: str) -> bool:
        return _LOADED in line

    def is_idle(self, line: bytes) -> bool:
        return _IDLE.search(line) is not None

    def redactor(self, *, prompts_too: bool) -> _Redactor:
        return _Redactor(prompts_too=prompts_too)

    def is_telling(self, line: str) -> bool:
        return _ERROR.search(line) is not None or "died unexpectedly" in line

    def explain(self, returncode: int | None, lines: Sequence[str], *, oom_kills: int = 0) -> Cause:
        if returncode is not None and returncode > _SHELL:
            returncode = _SHELL - returncode
        for pattern, cause in _CAUSES:
            for line in lines:
                if (found := pattern.search(line)) is not None:
                    said = clean(found[1].strip(), 200) if pattern.groups else ""
                    return Cause(cause.message.format(said), cause.fix, cause.rule, cause.out_of)
        if returncode == -signal.SIGKILL:
            if oom_kills:
                return Cause("the system killed it for lack of memory", _LESS, _OOM, "RAM")
            return Cause("it was killed (SIGKILL)", _LESS, "killed")
        said = self.telling_lines(lines)
        ended = _ended(returncode)
        return Cause(f"{ended}: {said}" if said else ended, "read the end of its output")

    def telling_lines(self, lines: Sequence[str]) -> str:
        """The first cause that a worker or the core names, or else the last error of all."""
        told = [line for line in lines if not any(words in line for words in _USELESS)]
        deep = [line for line in told if _WORKER.match(line)]
        chosen = deep[:1] or told[-1:] or list(lines[-1:])
        return " | ".join(clean(_PREFIX.sub("", line).strip(), 240) for line in chosen)

    def without_requests(self, raw: Sequence[bytes], *, from_start: bool) -> Iterator[str]:
        redactor = _Redactor(prompts_too=False, serves=not from_start)
        for line in redactor.keep(list(raw)):
            yield line.decode("utf-8", "replace")

    def is_about(self, line: str) -> bool:
        return _ABOUT.search(line) is not None


def _ended(returncode: int | None) -> str:
    if returncode is None:
        return "it does not answer"
    if returncode < 0:
        known = {each.value: each.name for each in signal.Signals}
        return f"it ended by {known.get(-returncode, f'signal {-returncode}')}"
    return f"it ended with code {returncode}"
