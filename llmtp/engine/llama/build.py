"""What one llama-server build can do, asked of the build itself and remembered.

`--version` is never trusted: wheels print `0.1.0-dev`. Flags come from `--help`. That the build
knows `gemma4-assistant` and runs on this CPU is proved by loading the demo pair, which takes
some tens of milliseconds; `draft-mtp` in the help is older than Gemma 4 support.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtp import __version__, paths
from llmtp.engine.ask import Answer, ask
from llmtp.text import clean

_HELP_TIMEOUT_S = 20.0
_LOAD_TIMEOUT_S = 60.0
#: Somebody sits before the screen and waits.
_ANEW_HELP_S, _ANEW_LOAD_S = 2.5, 6.0
#: All builds say so when they serve, and only the process that bound the port does.
LISTENING = "listening on http"
#: In b11434, which mixes; b10434, which does not, has no such flag.
_SINCE_MIXED_BATCHES = "--spec-synth-rates"
_DRAFT_ON_CPU = {"--spec-draft-device": "none", "--spec-draft-ngl": "0"}
_ENTRY = re.compile(r"--?[A-Za-z][\w-]*(?:,\s+--?[A-Za-z][\w-]*)*")
_LLAMA_SERVER_FLAGS = ("--model", "--gpu-layers", "--port")
_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: ([\w.+-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Build:
    """`entries` are the flags of `--help`, one tuple of aliases an entry."""

    entries: tuple[tuple[str, ...], ...]
    spec_types: tuple[str, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index = {alias: i for i, entry in enumerate(self.entries) for alias in entry}
        object.__setattr__(self, "_index", index)

    def has(self, flag: str) -> bool:
        return flag in self._index

    @property
    def mixes_batches(self) -> bool:
        """Does it prepare batches of tokens and images? No flag tells; this one came about then."""
        return self.has(_SINCE_MIXED_BATCHES)

    def aliases(self, flag: str) -> tuple[str, ...]:
        """All names of the option that `flag` names; empty for an unknown one."""
        return self.entries[self._index[flag]] if flag in self._index else ()


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a program cannot serve Gemma 4 with MTP."""

    reason: str
    missing_library: str | None = None


def parse_help(text: str) -> Build:
    """Flags and speculative types from the text of `--help`."""
    entries = []
    spec_types: tuple[str, ...] = ()
    for line in text.splitlines():
        match = _ENTRY.match(line)
        if match is None:
            continue
        flags = tuple(re.split(r",\s+", match[0]))
        entries.append(flags)
        if flags == ("--spec-type",):
            spec_types = tuple(line.split(maxsplit=1)[1].split(","))
    return Build(tuple(entries), spec_types)


def examine(path: Path, env: Mapping[str, str], *, anew: bool = False) -> Build | Unusable:
    """What the build at `path` can do, from the cache if the file is the same as last time.

    Only `anew` tells whether it still has the libraries that it had then.
    """
    key, stamp = str(path.resolve()), _stamp(path)
    known = None if anew else _known(key, stamp)
    if known is not None:
        return known
    help_s = _ANEW_HELP_S if anew else _HELP_TIMEOUT_S
    try:
        answer = ask([str(path), "--help"], env, help_s)
    except OSError as error:
        return Unusable(f"cannot be started: {error.strerror}")
    if answer.returncode is None:
        return Unusable("does not come to an end with --help")
    build = parse_help(answer.output)
    if not all(build.has(flag) for flag in _LLAMA_SERVER_FLAGS):
        return _explain(answer) or Unusable(
            "is not a llama-server: its --help is another program's"
        )
    if "draft-mtp" not in build.spec_types:
        return Unusable("is too old for MTP: its --spec-type has no draft-mtp")
    load_s = _ANEW_LOAD_S if anew else _LOAD_TIMEOUT_S
    unusable = _load_demo_pair(path, env, build, load_s)
    if unusable is None:
        _remember(key, {"stamp": stamp, "entries": build.entries, "spec_types": build.spec_types})
    return unusable or build


def _load_demo_pair(
    path: Path, env: Mapping[str, str], build: Build, timeout_s: float
) -> Unusable | None:
    """Start the build on the demo pair, on the CPU, until it listens. None is success.

    A drafter would go to the GPU by itself, whose driver then compiles for seconds; and threads
    that wait spin, on all cores.
    """
    demo = paths.shipped_profiles() / "demo"
    argv = [str(path), "--model", str(demo / "demo.gguf")]
    argv += ["--model-draft", str(demo / "mtp-demo.gguf"), "--spec-type", "draft-mtp"]
    argv += ["--spec-draft-n-max", "1", "--ctx-size", "512", "--parallel", "1"]
    argv += ["--threads", "1", "--device", "none", "--gpu-layers", "0", "--fit", "off"]
    argv += ["--host", "127.0.0.1", "--port", "0"]
    for flag, value in _DRAFT_ON_CPU.items():
        argv += [flag, value] if build.has(flag) else []
    answer = ask(argv, {**env, "OMP_NUM_THREADS": "1"}, timeout_s, until=LISTENING)
    if LISTENING in answer.output:
        return None
    return _explain(answer) or Unusable(f"cannot load the demo pair: {_last_line(answer.output)}")


def _explain(answer: Answer) -> Unusable | None:
    missing = _MISSING_LIBRARY.search(answer.output)
    if missing is not None:
        name = clean(missing[1], 80)
        return Unusable(f"misses the shared library {name}", missing_library=name)
    if answer.returncode == -signal.SIGILL:
        return Unusable("was built for another CPU: illegal instruction")
    if "unknown model architecture" in answer.output:
        return Unusable("is too old for Gemma 4 MTP: it does not know gemma4-assistant (b9549)")
    return None


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return clean(lines[-1], 160) if lines else "it printed nothing"


def _stamp(path: Path) -> list[int | str]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, __version__]


def _cache_file() -> Path:
    return paths.cache_dir() / "engines.json"


def _known(key: str, stamp: list[int | str]) -> Build | None:
    """What was learned of this very file; an entry of another form is as good as none."""
    try:
        facts = _load_cache()[key]
        if facts["stamp"] == stamp:
            return Build(tuple(tuple(e) for e in facts["entries"]), tuple(facts["spec_types"]))
    except (KeyError, TypeError, AttributeError):
        return None
    return None


def _load_cache() -> dict[str, Any]:
    return paths.read_cache(_cache_file())


def _remember(key: str, facts: dict[str, object]) -> None:
    paths.write_cache(_cache_file(), json.dumps(_load_cache() | {key: facts}))
