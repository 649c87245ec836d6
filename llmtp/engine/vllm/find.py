"""Which vLLM: one that is named, or that on PATH, and whether it can draft for Gemma 4.

Asking it would take 8 to 20 s, so the version is read from where pip put it: beside the Python
that the program begins with.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmtp import config, paths
from llmtp.engine.ask import ask
from llmtp.engine.kinds import VLLM, Kind, names_vllm
from llmtp.errors import EngineError, Finding
from llmtp.text import clean

#: The first release with it (vllm-project/vllm 41745).
_LEAST = (0, 21)
_ASK_S = 120.0
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.\w{1,20})*(?:\+([\w.]{1,40}))?")
_DISTRIBUTION = re.compile(r"vllm(?P<cpu>_cpu)?-(?P<version>[\w.+]{1,80})\.dist-info")
_MOST_SHEBANG = 1024
_INSTALL = "pip install vllm, in an environment of its own, then: --engine ENVIRONMENT/bin/vllm"


@dataclass(frozen=True, slots=True)
class VllmEngine:
    """The vLLM that is used; `version` None is not known. One `on_cpu` computes there; nobody
    starts one `on_paper`."""

    path: Path
    source: str
    version: str | None
    on_cpu: bool
    env: Mapping[str, str]
    skipped: tuple[Finding, ...] = ()
    on_paper: bool = False
    kind: Kind = VLLM
    mixes_batches: bool = False
    cuts_drafts: bool = False
    samples_drafts: bool = False
    verifies_fewer: bool = False

    def list_devices(self) -> str:
        """It has no such question."""
        return ""


def find_vllm(requested: str | None, *, on_paper: bool, asks_version: bool = True) -> VllmEngine:
    """`requested` is `--engine`, None what the settings say. Raises EngineError where there is
    none, or one that cannot draft; `on_paper` the command is written for another machine.

    Only where `asks_version` it may take long.
    """
    value = config.value_of("engine")
    configured = value.text if names_vllm(value.text) else None
    named, source = (requested, "--engine") if requested else (configured, value.origin)
    found = _located(named)
    if found is None and not on_paper:
        raise EngineError(
            f"there is no vLLM at {clean(named, 300)}"
            if named and named != VLLM
            else "there is no vLLM on this machine",
            rule="engine-missing",
            expected="a program vllm on PATH, or its path",
            fix=_INSTALL,
        )
    if found is None:
        words = "there is no vLLM on this machine: the command is for one that has it"
        missing = Finding("engine-missing", "warning", words, fix=_INSTALL)
        return VllmEngine(
            Path(VLLM), "not here", None, on_cpu=False, env={}, skipped=(missing,), on_paper=True
        )
    version, on_cpu = _version(found, asks=asks_version)
    known = _VERSION.match(version or "")
    if known is not None and (int(known[1]), int(known[2])) < _LEAST:
        raise EngineError(
            f"{clean(str(found), 300)} is vLLM {version}, which cannot draft for Gemma 4",
            rule="engine-unusable",
            expected=f"vLLM {_LEAST[0]}.{_LEAST[1]} or newer",
            fix="pip install -U vllm",
        )
    source = source if named and named != VLLM else "PATH"
    return VllmEngine(found, source, version, on_cpu, {}, on_paper=on_paper)


def _located(named: str | None) -> Path | None:
    """A name alone is looked for on PATH, even where a folder here has it."""
    if named is None or named == VLLM:
        found = shutil.which(VLLM)
    else:
        found = shutil.which(os.path.abspath(paths.typed(named)))  # noqa: PTH100 - a link may be what decides
    return Path(found) if found else None


def installed_version(program: Path) -> str | None:
    """As pip has it, without asking the program."""
    version, _ = _version(program, asks=False)
    return version


def _version(program: Path, *, asks: bool) -> tuple[str | None, bool]:
    """And whether it is a build for the CPU."""
    on_cpu, versions = False, []
    for distribution in _distributions(program):
        on_cpu = on_cpu or distribution["cpu"] is not None
        versions.append(distribution["version"])
    version = next(iter(versions), None)
    if version is None and asks:
        answer = ask([str(program), "--version"], dict(os.environ), _ASK_S)
        found = _VERSION.search(answer.output)
        version = found[0] if found and answer.returncode == 0 else None
    return version, on_cpu or (version or "").endswith("+cpu")


def _distributions(program: Path) -> list[re.Match[str]]:
    """Those called vllm in the Python that the program is written for."""
    try:
        with program.open("rb") as file:
            first = file.readline(_MOST_SHEBANG)
        if not first.startswith(b"#!"):
            return []
        python = Path(first[2:].decode("utf-8", "replace").strip().split(" ")[0])
        folders = sorted(python.parent.parent.glob("lib*/python3*/site-packages"))
        names = [name for folder in folders for name in sorted(os.listdir(folder))]  # noqa: PTH208 - names are enough
    except OSError:
        return []
    return [found for name in names if (found := _DISTRIBUTION.fullmatch(name)) is not None]
