"""Why an engine ended, from its exit status and what it printed last. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmtp.text import clean
from llmtp.units import format_bytes

#: Printed at error level on healthy starts too: the drafter is probed before it has a target.
_NORMAL = "requires ctx_other to be set"
_STAMP = re.compile(r"^[\d.]+ [IWED] ")
_TELLING = re.compile(
    r"^[\d.]+ E |error|failed|assert|abort|invalid|out of memory|bad_alloc|allocate memory"
    r"|insufficient memory",
    re.IGNORECASE,
)
_ARGUMENT = re.compile(r"invalid argument: |error while handling argument ")
_SHOWN_LINES = 3


@dataclass(frozen=True, slots=True)
class Cause:
    """What happened in words, and what to do."""

    message: str
    fix: str
    out_of: Literal["device memory", "RAM"] | None = None


_CAUSES = (
    (re.compile(r"couldn't bind"), Cause("the port was taken", "leave out --port, or use another")),
    (
        re.compile(r"unknown model architecture"),
        Cause("this build does not know the model", "install a newer llama.cpp build"),
    ),
    (
        re.compile(r"error while loading shared libraries"),
        Cause("a shared library is missing", "reinstall the engine"),
    ),
    (
        re.compile(r"GGML_ASSERT"),
        Cause("it aborted on an assertion", "check the files with: llmtp check MAIN DRAFT"),
    ),
)

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfDeviceMemory|OutOfHostMemory|(?:failed|unable) to allocate"
    r"|insufficient memory|cannot allocate memory|bad_alloc",
    re.IGNORECASE,
)
#: What did not fit, and then whose it was: the line that says the first does not say the second
#: (logs of CUDA and Vulkan, b11434 and b10434).
_WANTED = re.compile(
    r"failed to allocate (?P<place>[A-Za-z_]+\d*) buffer of size (?P<size>\d{1,15})"
)
_ON_DEVICE = re.compile(
    r"(?:cuda|hip)Malloc|OutOfDeviceMemory|device memory|(?:CUDA|ROCm) error|cuMem|kIOGPU|"
    r"insufficient memory \(0",
    re.IGNORECASE,
)
#: The engine does without, and goes on.
_HARMLESS = "of pinned memory"
_IN_RAM = re.compile(r"CPU|AMX|\w+_Host")
_PARTS = (
    (re.compile(r"allocate buffer for kv cache"), "KV cache"),
    (re.compile(r"allocate compute"), "compute buffer"),
    (re.compile(r"error loading model|failed to load"), "weights"),
)
_OWNERS = (
    (re.compile(r"failed to create MTP context|failed to load draft model"), "drafter"),
    (re.compile(r"failed to create[ _]context with model|failed to load model, "), "model"),
)
_MEMORY_FIX = "use a smaller --ctx, --kv-type q8_0, or free memory"

_SIGNALS = {
    signal.SIGILL: Cause(
        "it was built for another CPU (illegal instruction)", "install a build for this CPU"
    ),
    signal.SIGKILL: Cause(
        "it was killed (SIGKILL), by somebody or by the system for lack of memory",
        "see whether memory ran out: a smaller --ctx or quant needs less",
    ),
}


def is_telling(line: str) -> bool:
    """Is this a line that may say why?"""
    harmless = _NORMAL in line or _HARMLESS in line
    return not harmless and _TELLING.search(line) is not None


def explain(returncode: int | None, lines: Sequence[str], *, oom_kills: int = 0) -> Cause:
    """The cause, with the last telling lines where it is not a known one.

    `oom_kills` is how many processes of its group the system killed meanwhile for lack of memory.
    """
    telling = [line for line in lines if is_telling(line)]
    refused = next((line for line in telling if _ARGUMENT.search(line)), None)
    if refused is not None:
        said = clean(refused.removeprefix("error: "), 160)
        return Cause(f"it refuses an argument: {said}", "check what stands behind --")
    out_of_memory = _out_of_memory(telling)
    if out_of_memory is not None:
        return out_of_memory
    if returncode == -signal.SIGKILL and oom_kills:
        return Cause("the system killed it for lack of memory", _MEMORY_FIX, out_of="RAM")
    for pattern, cause in _CAUSES:
        if any(pattern.search(line) for line in telling):
            return cause
    ended = _ended(returncode)
    known = _SIGNALS.get(signal.Signals(-returncode)) if returncode and returncode < 0 else None
    if known is not None:
        return known
    said = " | ".join(clean(_STAMP.sub("", line).strip(), 160) for line in telling[-_SHOWN_LINES:])
    return Cause(f"{ended}: {said}" if said else ended, "read the end of its output")


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
    return Cause(f"it ran out of {place}{what}{size}", _MEMORY_FIX, place)


def _ended(returncode: int | None) -> str:
    if returncode is None:
        return "it does not answer"
    if returncode < 0:
        return f"it ended by {signal.Signals(-returncode).name}"
    return f"it ended with code {returncode}"
