#!/usr/bin/env python3
"""Start a real llama-server over many settings, and write down what it takes of memory.

Pairs of the released sizes, with holes for weights (make_real_size.py), at settings of which every
two values meet (a pairwise design, drawn by the seed). A row holds what the engine logs of each
part, what the driver shows (nvidia-smi, less what was used before) or the anonymous memory of the
process, the build and the hardware. Rows are added to TABLE; those that it has are not repeated.

    scripts/measure_memory.py ENGINE BACKEND TABLE --build B [--sizes 12b,31b] [--starts N]
        [--fix flash=auto] [--held-out]

BACKEND is cpu, cuda or vulkan. Standard library only: it runs where llmtp is not installed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import platform
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from make_real_size import SIZES, make_real_size_pair

from llmtp.metrics.allocations import Allocations, Owner, Part, Place

Setting = dict[str, str]
#: What is varied, its plainest value first.
FACTORS = {
    "ctx": ["8192", "32768", "131072"],
    "parallel": ["1", "2", "4"],
    "unified": ["no", "yes"],
    "kv_type": ["f16", "q8_0", "q4_0", "f32"],
    "ubatch": ["512", "256", "1024"],
    "n_max": ["3", "0", "8"],
    "flash": ["auto", "off"],
    "quant": ["Q4_K", "Q8_0"],
    "placement": ["all", "half", "experts"],
}
KEYS = ["build", "hardware", "backend", "size", *FACTORS]
OWNERS = get_args(Owner)
PARTS = get_args(Part)
PLACES = get_args(Place)
MIB = 1 << 20
COLUMNS = [
    *KEYS, "held_out",
    *(f"{owner}_{part}_{place}" for owner in OWNERS for part in PARTS for place in PLACES),
    "repacked", "driver", "anonymous",
]  # fmt: skip
_READY = "listening on http"
_START_S, _POLL_S = 180.0, 0.05
_PROMPT_TOKENS = 1200


def design(
    factors: dict[str, list[str]], backend: str, starts: int, seed: int
) -> Iterator[Setting]:
    """Settings in which every two values of two factors meet, as far as `starts` goes.

    The first are the plainest of each size.
    """
    dice, sizes = random.Random(seed), factors["size"]
    names = list(factors)

    def pairs(one: Setting) -> set[tuple[str, str, str, str]]:
        return {(a, one[a], b, one[b]) for a, b in itertools.combinations(names, 2)}

    plain = [{name: values[0] for name, values in factors.items()} | {"size": s} for s in sizes]
    met: set[tuple[str, str, str, str]] = set()
    for number in range(starts):
        if number < len(plain):
            chosen = plain[number]
        else:
            tried = [{n: dice.choice(v) for n, v in factors.items()} for _ in range(200)]
            possible = [one for one in tried if is_possible(one, backend)]
            chosen = max(possible, key=lambda one: len(pairs(one) - met))
        met |= pairs(chosen)
        yield chosen


def is_possible(one: Setting, backend: str) -> bool:
    """A quantised V cache needs flash attention, and scores of a long context without it much room.

    Layers or experts stay in RAM only where there is a GPU that could have them.
    """
    if one["flash"] == "off" and (one["kv_type"] not in ("f16", "f32") or int(one["ctx"]) > 32768):
        return False
    if one["placement"] == "experts":
        return backend != "cpu" and SIZES[one["size"]].experts > 0
    return one["placement"] == "all" or backend != "cpu"


def command(engine: Path, pair: list[Path], one: Setting, backend: str, port: int) -> list[str]:
    argv = [str(engine), "-m", str(pair[0]), "--host", "127.0.0.1", "--port", str(port)]
    argv += ["-c", one["ctx"], "-np", one["parallel"], "-ub", one["ubatch"], "-fa", one["flash"]]
    argv += ["-ctk", one["kv_type"], "-ctv", one["kv_type"], "--fit", "off", "-lv", "4"]
    argv += ["--kv-unified" if one["unified"] == "yes" else "--no-kv-unified"]
    layers = {"all": 999, "half": len(SIZES[one["size"]].layers) // 2, "experts": 999}
    argv += ["-ngl", "0" if backend == "cpu" else str(layers[one["placement"]])]
    argv += ["--device", "none"] if backend == "cpu" else []
    argv += ["--cpu-moe"] if one["placement"] == "experts" else []
    if one["n_max"] != "0":
        argv += ["--model-draft", str(pair[1]), "--spec-type", "draft-mtp"]
        argv += ["--spec-draft-n-max", one["n_max"], "--spec-draft-ngl"]
        argv += ["0" if backend == "cpu" else "999"]
    return argv


def measure(engine: Path, pair: list[Path], one: Setting, backend: str) -> dict[str, str]:
    """One start; raises RuntimeError with the end of the log where it did not become ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = used_by_driver() if backend != "cpu" else 0
    with tempfile.NamedTemporaryFile("r", suffix=".log", errors="replace") as log:
        argv = command(engine, pair, one, backend, port)
        with open(log.name, "w") as output:  # noqa: PTH123 - it has no Path
            server = subprocess.Popen(argv, stdout=output, stderr=output, start_new_session=True)
        try:
            deadline = time.monotonic() + _START_S
            while _READY not in (text := Path(log.name).read_text(errors="replace")):
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(text[-1500:])
                time.sleep(_POLL_S)
            row = parts_of(text)
            row["anonymous"] = anonymous_mib(server.pid)
            if backend != "cpu":
                ask(port)
                row["driver"] = str(used_by_driver() - before)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    return row


def ask(port: int) -> None:
    """One request of more than an ubatch: some buffers only come with it. Any answer will do."""
    body = {"prompt": list(range(300, 300 + _PROMPT_TOKENS)), "n_predict": 8, "cache_prompt": False}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/completion",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=_START_S).read()
    except urllib.error.HTTPError as error:
        error.close()


def parts_of(log: str) -> dict[str, str]:
    """MiB of each part on the device and in RAM, of the main model and of the drafter."""
    said = Allocations()
    for line in log.splitlines():
        said = said.add(line)
    found = {
        f"{owner}_{part}_{place}": said.total(owner, part, place)
        for owner in OWNERS for part in PARTS for place in PLACES
    }  # fmt: skip
    sizes = found | {"repacked": said.repacked}
    return {name: f"{size / MIB:.2f}" for name, size in sizes.items() if size is not None}


def anonymous_mib(pid: int) -> str:
    """Anonymous memory of a process: what no file stands behind."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Anonymous: +(\d+) kB", text, re.MULTILINE)
    return f"{int(found[1]) / 1024:.1f}" if found else ""


def used_by_driver() -> int:
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, check=True, capture_output=True, text=True).stdout.split()[0])


def hardware(backend: str) -> str:
    if backend == "cpu":
        cpus = Path("/proc/cpuinfo").read_text()
        name = re.search(r"model name\s*: (.+)", cpus)
        cores = len(os.sched_getaffinity(0))
        return f"{name[1].strip() if name else platform.processor()}, {cores} cores"
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, check=True, capture_output=True, text=True).stdout.split("\n")[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", type=Path)
    parser.add_argument("backend", choices=["cpu", "cuda", "vulkan"])
    parser.add_argument("table", type=Path)
    parser.add_argument("--build", required=True)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--fix", action="append", default=[], metavar="FACTOR=VALUE")
    parser.add_argument("--held-out", action="store_true", help="never to fit a constant")
    parser.add_argument("--starts", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "real-size")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server is left running
    known = list(csv.DictReader(asked.table.open())) if asked.table.exists() else []
    same = {"build": asked.build, "hardware": hardware(asked.backend), "backend": asked.backend}
    factors = {"size": asked.sizes.split(","), **FACTORS}
    factors |= {name: [value] for name, value in (fixed.split("=") for fixed in asked.fix)}
    print(f"seed {asked.seed}, {same}", flush=True)
    with asked.table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not known:
            writer.writeheader()
        for one in design(factors, asked.backend, asked.starts, asked.seed):
            keys = same | one
            if any(all(row[key] == keys[key] for key in KEYS) for row in known):
                continue
            folder = asked.folder / one["size"] / one["quant"]
            pair = [folder / "main.gguf", folder / "mtp-main.gguf"]
            if not pair[1].exists():
                folder.mkdir(parents=True, exist_ok=True)
                make_real_size_pair(folder, 0, one["quant"], one["quant"], size=one["size"])
            began = time.monotonic()
            try:
                row = measure(asked.engine, pair, one, asked.backend)
            except RuntimeError as error:
                print(f"did not start: {one}\n{error}", file=sys.stderr, flush=True)
                continue
            writer.writerow(keys | row | {"held_out": "yes" if asked.held_out else "no"})
            file.flush()
            print(f"{time.monotonic() - began:.1f} s {one} {row}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
