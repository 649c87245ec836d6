"""What scripts say on machines where they cannot set llmtp, or vLLM for its tests, up."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")
GOOD = {"uname -s": "Linux", "uname -m": "x86_64", "getconf": "glibc 2.36", "df": "99999999"}


def set_up(
    tmp_path: Path, script: str, answers: dict[str, str], python: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh copy, on a machine whose tools answer as told."""
    fakes = tmp_path / "bin"
    fakes.mkdir()
    asked = "\n".join(f'[ "$0 $1" = "{fakes}/{k}" ] && echo "{v}"' for k, v in answers.items())
    programs = {"uname": asked, "getconf": f'echo "{answers["getconf"]}"'}
    programs["df"] = f'printf "from 1024-blocks used free\\n. 0 0 {answers["df"]}\\n"'
    programs |= dict.fromkeys(PYTHONS, python)
    for name, body in programs.items():
        (fakes / name).write_text(f"#!/bin/sh\n{body}\n")
        (fakes / name).chmod(0o755)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests" / "vllm").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "vllm" / "requirements.txt", tmp_path / "tests" / "vllm")
    return subprocess.run(
        [str(tmp_path / "scripts" / script)],
        env={"PATH": f"{fakes}:{os.environ['PATH']}", "HOME": str(tmp_path)} | env,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("script", ["demo", "test"])
@pytest.mark.parametrize(
    ("change", "python", "missing", "to_type"),
    [
        ({"uname -s": "Darwin", "uname -m": "arm64"}, "exit 0", "macOS", "brew install llama.cpp"),
        ({"uname -s": "MINGW64_NT-10.0"}, "exit 0", "Windows", "wsl --install"),
        ({"uname -m": "aarch64"}, "exit 0", "aarch64", "LLMTP_ENGINE="),
        ({"getconf": "glibc 2.31"}, "exit 0", "glibc 2.35 or newer, this is 2.31", "LLMTP_ENGINE="),
        ({"getconf": ""}, "exit 0", "this is no glibc", "LLMTP_ENGINE="),
        ({}, "exit 1", "Python 3.11 or newer is missing", "PYTHON=/path/to/python3"),
        ({}, 'case "$2" in *venv*) exit 1 ;; esac', "venv module", "apt install python3-venv"),
    ],
    ids=["macos", "windows", "arm64", "old-glibc", "musl", "old-python", "no-venv"],
)
def test_what_is_missing_is_one_line_with_what_to_type(
    tmp_path: Path, script: str, change: dict[str, str], python: str, missing: str, to_type: str
) -> None:
    done = set_up(tmp_path, script, GOOD | change, python)
    assert done.returncode == 9
    (line,) = done.stderr.splitlines()
    assert missing in line
    assert to_type in line
    assert not (tmp_path / ".venv").exists()


def test_an_engine_of_ones_own_needs_no_wheel(tmp_path: Path) -> None:
    on_a_mac = GOOD | {"uname -s": "Darwin"}
    done = set_up(tmp_path, "demo", on_a_mac, "exit 1", LLMTP_ENGINE="llama-server")
    assert "Python 3.11 or newer is missing" in done.stderr


#: A Python whose environments have a pip that says something, and fails.
PIP_THAT_SAYS = """case "$*" in "-m venv .vllm")
    mkdir -p .vllm/bin
    printf '#!/bin/sh\\necho "{}" >&2\\nexit 1\\n' >.vllm/bin/python
    chmod +x .vllm/bin/python ;;
esac"""


@pytest.mark.parametrize(
    ("change", "python", "missing", "to_type"),
    [
        ({"uname -m": "aarch64"}, "exit 0", "the CPU of Linux on aarch64", "without --vllm"),
        ({"df": "2097152"}, "exit 0", "2048 MB are free", "make room"),
        ({}, "exit 1", "Python 3.11 is missing", "PYTHON=/path/to/python3.11"),
        ({}, 'case "$2" in *venv*) exit 1 ;; esac', "venv module", "apt install python3.11-venv"),
        ({}, PIP_THAT_SAYS.format("WARNING: Retrying (Retry(total=4))"), "want of a network",
         "scripts/setup_vllm"),
        ({}, PIP_THAT_SAYS.format("ERROR: No matching distribution found for torch==2.13.0+cpu"),
         "has torch==2.13.0+cpu", "PyTorch's CPU builds"),
        ({}, PIP_THAT_SAYS.format("ERROR: No space left on device"), "(ERROR: No space left",
         "look at .vllm/setup.log"),
    ],
    ids=["arm64", "no-room", "old-python", "no-venv", "no-network", "no-pytorch", "full-disk"],
)  # fmt: skip
def test_what_vllm_misses_is_one_line_too(
    tmp_path: Path, change: dict[str, str], python: str, missing: str, to_type: str
) -> None:
    done = set_up(tmp_path, "setup_vllm", GOOD | change, python)
    assert done.returncode == 9
    (line,) = [line for line in done.stderr.splitlines() if "setting up" not in line]
    assert missing in line
    assert to_type in line
    assert not (tmp_path / ".vllm" / "llmtp-setup").exists()


def test_a_vllm_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    left = tmp_path / ".vllm" / "lib"
    left.mkdir(parents=True)
    set_up(tmp_path, "setup_vllm", GOOD, PIP_THAT_SAYS.format("ERROR: "))
    assert (tmp_path / ".vllm" / "bin").exists()
    assert not left.exists()
