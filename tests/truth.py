"""What the real engine does with a pair that nobody checked."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError, URLError

from harness import WAIT_S, http, wait_until

from llmtp.engine.llama.find import find_engine
from llmtp.ports import free_port

Fate = Literal["aborts", "refuses", "fails requests", "never drafts", "never hits", "hits"]
MTP = ("--spec-type", "draft-mtp", "--spec-draft-n-max", "3")
_PROMPT = "Multi-token prediction pairs a large model with a small drafter. " * 4


@dataclass(frozen=True)
class Truth:
    """`aborts` is a death by signal, `refuses` an exit by itself; both say why in `log`."""

    fate: Fate
    log: str
    drafted: int = 0
    accepted: int = 0


def truth(
    main: Path, draft: Path | None, flags: Sequence[str] = MTP, *, says: str = "", tries: int = 5
) -> Truth:
    """Start the engine with the pair and these flags, ask it something, and stop it; again where
    it ended without saying that: another thread prints it, and now and then is cut off before."""
    for _ in range(tries):
        found = _once(main, draft, flags)
        if found.fate not in ("aborts", "refuses") or re.search(says, found.log):
            break
    return found


def _once(main: Path, draft: Path | None, flags: Sequence[str]) -> Truth:
    engine, port = find_engine(None), free_port()
    argv = [str(engine.path), "-m", str(main), "--port", str(port), "--fit", "off", "-c", "1024"]
    argv += ["-np", "1", "--threads", "1", "-ngl", "0", "--no-webui"]
    if draft is not None:
        argv += ["--model-draft", str(draft), "-ngld", "0"]
    with tempfile.TemporaryFile("w+") as log:
        # Where it aborts, it would call a debugger.
        env = engine.child_env() | {"GGML_NO_BACKTRACE": "1"}
        process = subprocess.Popen([*argv, *flags], stdout=log, stderr=subprocess.STDOUT, env=env)
        try:
            fate, drafted, accepted = _watch(process, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()  # its log is written by a thread, which an end by KILL cuts off
            process.wait(WAIT_S)
        log.seek(0)
        return Truth(fate, log.read(), drafted, accepted)


def assert_says(found: Truth, fate: Fate, words: str) -> None:
    """Its fate, and a pattern in its log. Builds differ in how they do not start."""
    alike = ("aborts", "refuses") if fate in ("aborts", "refuses") else (fate,)
    assert found.fate in alike, (found.fate, found.log[-800:])
    assert found.fate != fate or re.search(words, found.log), found.log[-800:]


def _watch(process: subprocess.Popen[bytes], url: str) -> tuple[Fate, int, int]:
    wait_until(lambda: process.poll() is not None or _is_ready(url))
    if process.poll() is None:
        body = {"prompt": _PROMPT, "n_predict": 40, "temperature": 0}
        try:
            _, answer = http(f"{url}/completion", body)
        except HTTPError:
            return "fails requests", 0, 0
        except (URLError, ConnectionError):
            process.wait(WAIT_S)
        else:
            drafted = answer["timings"].get("draft_n", 0)
            accepted = answer["timings"].get("draft_n_accepted", 0)
            if not drafted:
                return "never drafts", 0, 0
            # A drafter that knows nothing is right by chance once in a hundred.
            return ("hits" if accepted > 0.05 * drafted else "never hits"), drafted, accepted
    return ("aborts" if process.returncode < 0 else "refuses"), 0, 0


def _is_ready(url: str) -> bool:
    try:
        http(f"{url}/health")
    except (URLError, ConnectionError):
        return False
    return True
