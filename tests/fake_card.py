"""A machine with an NVIDIA card that cannot be had: its driver, and an engine that uses it."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness import fake_engine

#: What llmtp asks of nvidia-ml-py. The engine that llmtp started takes TAKEN_MIB, or what the fake
#: engine wrote down for this start; others have what OTHERS says (`Xorg:200,blender:6000`), and the
#: process HOLDER (`PID:9000`) computes as long as it lives.
_DRIVER = """
import os, types
from pathlib import Path
import psutil

class NVMLError(Exception): ...

MiB, nvmlMemory_v2 = 1 << 20, 2
nvmlInit = nvmlShutdown = lambda: None
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetName = lambda handle: "NVIDIA Imaginary 4090"
nvmlDeviceGetPowerUsage = lambda handle: 212_500
nvmlDeviceGetUtilizationRates = lambda handle: types.SimpleNamespace(
    gpu=int(os.environ.get("BUSY", "0")))
nvmlSystemGetDriverVersion = lambda: "580.95.05"
nvmlDeviceGetMemoryBusWidth = lambda handle: 5120
NVML_CLOCK_MEM = 2
nvmlDeviceGetMaxClockInfo = lambda handle, type: 2619
OTHERS = [one.split(":") for one in os.environ.get("OTHERS", "").split(",") if one]

def nvmlDeviceGetMemoryInfo(handle, version=1):
    used = 500 + sum(one.usedGpuMemory for one in (*computing(), *others())) // MiB
    return types.SimpleNamespace(total=24564 * MiB, used=used * MiB, free=(24564 - used) * MiB)

def taken():
    file = Path(os.environ.get("FAKE_ENGINE_TAKES", "/") + ".now")
    return int(file.read_text()) if file.is_file() else int(os.environ.get("TAKEN_MIB", "0"))

def running():
    return [types.SimpleNamespace(pid=c.pid, usedGpuMemory=taken() * MiB)
            for c in psutil.Process().children()]

def holder():
    pid, mib = os.environ.get("HOLDER", "0:0").split(":")
    there = psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != "zombie"
    return [types.SimpleNamespace(pid=int(pid), usedGpuMemory=int(mib) * MiB)] if there else []

def computing():
    return [*running(), *(holder() if "HOLDER" in os.environ else [])]

def others():
    return [types.SimpleNamespace(pid=-i, usedGpuMemory=int(mib) * MiB)
            for i, (name, mib) in enumerate(OTHERS, 1)]

def nvmlDeviceGetComputeRunningProcesses(handle):
    if os.environ.get("HIDES_PROCESSES"):
        raise NVMLError
    return computing()

def nvmlDeviceGetGraphicsRunningProcesses(handle):
    return others()

def nvmlSystemGetProcessName(pid):
    if pid == int(os.environ.get("HOLDER", "0:0").split(":")[0]):
        return psutil.Process(pid).name()
    return "/usr/bin/" + OTHERS[-pid - 1][0] if pid < 0 else "/usr/bin/llama-server"
"""


def fake_card(folder: Path) -> dict[str, str]:
    """The environment for llmtp, with a cache of its own."""
    driver = folder / "driver"
    driver.mkdir()
    (driver / "pynvml.py").write_text(_DRIVER)
    # llmtp looks for the driver's library before it loads pynvml; any library will do here.
    maps = Path("/proc/self/maps").read_text()
    library = next(row.split()[-1] for row in maps.splitlines() if "/libm.so" in row)
    shutil.copy(library, driver / "libnvidia-ml.so.1")
    return {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": str(driver),
        "LD_LIBRARY_PATH": str(driver),
        "FAKE_ENGINE": "gpu",
        "LLMTP_ENGINE": str(fake_engine(folder)),
    }
