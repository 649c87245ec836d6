"""Every test runs the installed llmtp in a child process, in a home of its own."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from harness import MARK, REAL_SIZE, Cli
from hypothesis import HealthCheck, settings
from make_crafted_pair import FOLDER, write_profile
from make_real_size import make_real_size_pair
from pairs import write_pairs

ROOT = Path(__file__).resolve().parent.parent
_SCRUBBED = (
    "LLAMA_",
    "HF_",
    "LLMTP_",
    "XDG_",
    "NO_COLOR",
    "FORCE_COLOR",
    "COLUMNS",
    "LINES",
    "PYTHONDONTWRITEBYTECODE",
)
#: A machine that is busy makes no test fail.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
#: The first test with vLLM may have to wait until it is set up.
_VLLM_S = 1200


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="full counts instead of seconds")
    parser.addoption("--fuzz", action="store_true", help="also the coverage-guided fuzzer")
    parser.addoption("--shells", action="store_true", help="also TAB in zsh and fish")
    parser.addoption("--systemd", action="store_true", help="also what systemd-analyze says")
    parser.addoption("--browser", action="store_true", help="also the page in a real Chromium")
    parser.addoption(
        "--vllm", action="store_true", help="also vLLM itself, with scripts/setup_vllm"
    )
    parser.addoption("--seed", type=int, default=None, help="seed of random moments and damage")


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.option.seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What not every platform has is an option; the fuzzer is part of the long run too."""
    wanted = {
        "fuzz": config.getoption("--fuzz") or config.getoption("--soak"),
        "browser": config.getoption("--browser"),
        "shells": config.getoption("--shells"),
        "systemd": config.getoption("--systemd"),
        "vllm": config.getoption("--vllm"),
    }
    for item in items:
        if item.get_closest_marker("vllm") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_VLLM_S))
    unwanted = [name for name, is_wanted in wanted.items() if not is_wanted]
    left_out = [item for item in items if any(map(item.get_closest_marker, unwanted))]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_configure(config: pytest.Config) -> None:
    """One seed for all processes that share the tests, which inherit the options.

    Background jobs of a shell ignore SIGINT, and so would everything that they start. A proxy of
    the machine would answer for a server that is not there.
    """
    for name in _PROXIES:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(1 << 32)
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of the seed that the run prints."""
    return random.Random(f"{request.config.option.seed}{request.node.nodeid}")


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> bool:
    """Is this the long run?"""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is learned of an engine is learned once for the whole suite."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cli(tmp_path: Path, shared_cache: Path) -> Iterator[Cli]:
    """Runs llmtp; the test fails when anything that it started is still running at its end."""
    mark = uuid.uuid4().hex
    env = {k: v for k, v in os.environ.items() if not k.startswith(_SCRUBBED)}
    if "LLMTP_ENGINE" in os.environ:
        env["LLMTP_ENGINE"] = os.environ["LLMTP_ENGINE"]
    home = tmp_path / "home"
    home.mkdir()
    env |= {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(shared_cache),
        "COLUMNS": "100",
        "PYTHONWARNINGS": "error",
        MARK: mark,
    }
    cli = Cli(Path(sysconfig.get_path("scripts")) / "llmtp", env, tmp_path)
    write_profile(cli.profiles)
    yield cli
    left = _with_mark(mark)
    for process in left:
        process.kill()
    assert not left, f"left running: {left}"


@pytest.fixture(scope="session")
def crafted() -> Path:
    """The folder of the pair whose text and counts are known."""
    return FOLDER


@pytest.fixture(scope="session")
def real_size(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """A main model and a drafter with headers of the 12B's size, changed long ago. They take
    seconds to make, so that all processes that share the tests have the same, and so have tests
    that a test runs."""
    mine = tmp_path_factory.getbasetemp()
    shared = mine.parent if hasattr(request.config, "workerinput") else mine
    folder = Path(os.environ.get(REAL_SIZE, shared / "real-size"))
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            made = folder.with_name("real-size.made")
            made.mkdir(exist_ok=True)
            for path in make_real_size_pair(made):
                os.utime(path, (1_700_000_000, 1_700_000_000))
            made.rename(folder)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a real vLLM; one process sets it up, or fails to, for all of them."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    outcome = shared / "setup-vllm"
    with FileLock(shared / "setup-vllm.lock"):
        if not outcome.exists():
            script = [str(ROOT / "scripts" / "setup_vllm")]
            done = subprocess.run(script, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            said = done.stderr.strip() or f"scripts/setup_vllm ended with {done.returncode}"
            outcome.write_text(said if done.returncode else "", encoding="utf-8")
    if said := outcome.read_text(encoding="utf-8"):
        pytest.fail(said, pytrace=False)
    return ROOT / ".vllm" / "bin" / "vllm"


@pytest.fixture(scope="session")
def vllm_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pairs whose answers and acceptance are known, by vLLM's files."""
    folder = tmp_path_factory.mktemp("vllm-pairs")
    write_pairs(folder)
    return folder


def _with_mark(mark: str) -> list[psutil.Process]:
    """Processes that run, and have the mark in their environment."""
    found = []
    for pid in _may_have(mark):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            has_it = process.environ().get(MARK) == mark
            if has_it and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _may_have(mark: str) -> Iterator[int]:
    """On Linux read from where psutil would read much more of each."""
    if sys.platform != "linux":
        yield from psutil.pids()
        return
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in environ.read_bytes():
                yield int(environ.parent.name)
