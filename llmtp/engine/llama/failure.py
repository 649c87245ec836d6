"""Why an engine ended, from its exit status and what it printed last. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import Literal

from llmtp.engine.speech import Cause
from llmtp.text import clean
from llmtp.units import format_bytes

#: Printed at error level on healthy starts too: the drafter is probed before it has a target.
_NORMAL = "requires ctx_other to be set"
#: The engine goes on: without pinned memory, or after a request that it refuses.
_HARMLESS = ("of pinned memory", "send_error", "got exception")
_STAMP = re.compile(r"^[\d.]+ [IWED] ")
_FOLDERS = re.compile(r"\S*/(?=[\w.-]+:\d+: )")
_TELLING_WORDS = (
    "error", "failed", "assert", "abort", "invalid", "out of memory", "bad_alloc", "requested but",
    "allocate memory", "insufficient memory", "couldn't", "cannot run", "not found", "device lost",
    "terminate called", "what():", "unavailable", "remote rpc server",
)  # fmt: skip
_ERROR_LEVEL = re.compile(r"[\d.]+ E ")
_QUIET_LEVEL = re.compile(r"[\d.]+ [ID] ")
#: As glibc and gdb write it.
_BACKTRACE = re.compile(
    r"#\d+ |\S*\.so[.\d]*\(|\S+\(\+?0x|\[New LWP|\[Thread|\[Inferior|Using host lib"
    r"|\d+\s+(?:\.\./|in \.\./)|\S+\(\w+\+0x"
)
_ASSERTED = "GGML_ASSERT("
_SHOWN_LINES = 3
_SHELL = 128

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfDeviceMemory|OutOfHostMemory|(?:failed|unable) to allocate"
    r"|insufficient memory|cannot allocate memory|bad_alloc|mem_buffer != NULL"
    r"|failed to map segment|Resource temporarily unavailable",
    re.IGNORECASE,
)
#: What did not fit, and then whose it was: the line that says the first does not say the second
#: (logs of CUDA and Vulkan, b11434 and b10434).
_WANTED = re.compile(
    r"failed to allocate (?P<place>[A-Za-z_]+\d*(?:\[[\w.:-]{1,80}\])?) buffer of size "
    r"(?P<size>\d{1,15})"
)
_ON_DEVICE = re.compile(
    r"(?:cuda|hip)Malloc|OutOfDeviceMemory|device memory|(?:CUDA|ROCm) error|cuMem|kIOGPU|"
    r"insufficient memory \(0",
    re.IGNORECASE,
)
_IN_RAM = re.compile(r"CPU|AMX|\w+_Host")
_OOM = "out-of-memory"
_KV_CACHE = "KV cache"
_PARTS = (
    (re.compile(r"allocate buffer for kv cache"), _KV_CACHE),
    (re.compile(r"allocate compute"), "compute buffer"),
    (re.compile(r"error loading model|failed to load"), "weights"),
    (re.compile(r"failed to initialize the context: std::bad_alloc"), _KV_CACHE),
)
_OWNERS = (
    (re.compile(r"failed to create MTP context|failed to load draft model"), "drafter"),
    (re.compile(r"failed to create[ _]context with model|failed to load model, "), "model"),
)
_MEMORY_FIX = "use a smaller --ctx, --kv-type q8_0, or free memory"
_CONTEXT_FIX = "the context is too large for it: use a smaller --ctx, or --kv-type q8_0"


def is_telling(line: str) -> bool:
    """Is this a line that may say why? An assertion may stand behind a line that is not at its
    end: another thread prints those."""
    if _ASSERTED in line:
        return True
    if _NORMAL in line or any(words in line for words in _HARMLESS) or _BACKTRACE.match(line):
        return False
    if _QUIET_LEVEL.match(line):
        return False
    lower = line.lower()
    return any(word in lower for word in _TELLING_WORDS) or bool(_ERROR_LEVEL.match(line))


def explain(returncode: int | None, lines: Sequence[str], *, oom_kills: int = 0) -> Cause:
    """The cause, with the last telling lines where it is not a known one.

    `oom_kills` is how many processes of its group the system killed meanwhile for lack of memory.
    """
    from llmtp.engine.llama.causes import CAUSES, SIGNALS  # their patterns cost who never fails

    telling = [line for line in lines if is_telling(line)]
    if returncode is not None and returncode > _SHELL:
        returncode = _SHELL - returncode  # as a shell says it that started the engine
    out_of_memory = _out_of_memory(telling)
    if out_of_memory is not None:
        return out_of_memory
    if returncode == -signal.SIGKILL and oom_kills:
        return Cause("the system killed it for lack of memory", _MEMORY_FIX, _OOM, "RAM")
    for pattern, cause in CAUSES:
        for line in telling:
            if (found := pattern.search(line)) is not None:
                said = clean(found[1].strip(), 160) if pattern.groups else ""
                return Cause(cause.message.format(said), cause.fix, cause.rule)
    known = SIGNALS.get(-returncode) if returncode and returncode < 0 else None
    if known is not None and not telling:
        return known
    ended = known.message if known else _ended(returncode)
    said = telling_lines(telling)
    fix = known.fix if known else "read the end of its output"
    rule = known.rule if known else "start-failed"
    return Cause(f"{ended}: {said}" if said else ended, fix, rule)


def telling_lines(lines: Sequence[str]) -> str:
    """The last of them, for a person; empty where there is none."""
    shown = (_FOLDERS.sub("", _STAMP.sub("", line)).strip() for line in lines[-_SHOWN_LINES:])
    return " | ".join(clean(line, 160) for line in shown)


def _out_of_memory(lines: Sequence[str]) -> Cause | None:
    """What ran out: a part, whose, how large, and where, as far as the lines say."""
    at = next((i for i, line in enumerate(lines) if _OUT_OF_MEMORY.search(line)), None)
    if at is None:
        return None
    after = lines[at:]

    def told(patterns: Sequence[tuple[re.Pattern[str], str]]) -> str | None:
        return next((name for line in after for p, name in patterns if p.search(line)), None)

    part, owner = told(_PARTS), told(_OWNERS)
    what = f" for the {f'{part} of the ' if part else ''}{owner}" if owner else ""
    wanted = next((found for line in after if (found := _WANTED.search(line))), None)
    size = f", {format_bytes(int(wanted['size']))} on {wanted['place']}" if wanted else ""
    if wanted:
        in_ram = _IN_RAM.match(wanted["place"]) is not None
    else:
        in_ram = not any(_ON_DEVICE.search(line) for line in after)
    place: Literal["device memory", "RAM"] = "RAM" if in_ram else "device memory"
    fix = _CONTEXT_FIX if part == _KV_CACHE else _MEMORY_FIX
    return Cause(f"it ran out of {place}{what}{size}", fix, _OOM, place)


def _ended(returncode: int | None) -> str:
    if returncode is None:
        return "it does not answer"
    if returncode < 0:
        known = {each.value: each.name for each in signal.Signals}
        return f"it ended by {known.get(-returncode, f'signal {-returncode}')}"
    as_told = ", as it does when it is told to end" if returncode == 0 else ""
    return f"it ended with code {returncode}{as_told}"
