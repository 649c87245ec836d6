"""Why an engine ended, from its exit status and what it printed last. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from llmtp.text import clean

#: Printed at error level on healthy starts too: the drafter is probed before it has a target.
_NORMAL = "requires ctx_other to be set"
_STAMP = re.compile(r"^[\d.]+ [IWED] ")
_TELLING = re.compile(r"^[\d.]+ E |error|failed|assert|abort|invalid", re.IGNORECASE)
_ARGUMENT = re.compile(r"invalid argument: |error while handling argument ")
_SHOWN_LINES = 3


@dataclass(frozen=True, slots=True)
class Cause:
    """What happened in words, and what to do."""

    message: str
    fix: str


_CAUSES = (
    (re.compile(r"couldn't bind"), Cause("the port was taken", "leave out --port, or use another")),
    (
        re.compile(r"out of memory|failed to allocate|OutOfDeviceMemory|unable to allocate", re.I),
        Cause("it ran out of memory", "use a smaller --ctx, --kv-type q8_0, or free memory"),
    ),
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
    return _NORMAL not in line and _TELLING.search(line) is not None


def explain(returncode: int | None, lines: Sequence[str]) -> Cause:
    """The cause, with the last telling lines where it is not a known one."""
    telling = [line for line in lines if is_telling(line)]
    refused = next((line for line in telling if _ARGUMENT.search(line)), None)
    if refused is not None:
        said = clean(refused.removeprefix("error: "), 160)
        return Cause(f"it refuses an argument: {said}", "check what stands behind --")
    for pattern, cause in _CAUSES:
        if any(pattern.search(line) for line in telling):
            return cause
    ended = _ended(returncode)
    known = _SIGNALS.get(signal.Signals(-returncode)) if returncode and returncode < 0 else None
    if known is not None:
        return known
    said = " | ".join(clean(_STAMP.sub("", line).strip(), 160) for line in telling[-_SHOWN_LINES:])
    return Cause(f"{ended}: {said}" if said else ended, "read the end of its output")


def _ended(returncode: int | None) -> str:
    if returncode is None:
        return "it does not answer"
    if returncode < 0:
        return f"it ended by {signal.Signals(-returncode).name}"
    return f"it ended with code {returncode}"
