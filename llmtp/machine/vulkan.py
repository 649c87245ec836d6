"""What NVIDIA's Vulkan driver needs besides itself: libraries, and a file that names it.

Servers and containers often have neither. Then the engine sees no card, and says nothing.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

from llmtp import paths

#: The driver is linked with these, or opens them.
LIBRARIES = ("libX11.so.6", "libXext.so.6", "libxcb.so.1", "libGLdispatch.so.0", "libGLX.so.0",
             "libGL.so.1", "libEGL.so.1", "libvulkan.so.1")  # fmt: skip
#: Of the loader, the first three name files instead of those in its folders.
VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
_FOLDERS = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d",
            "~/.local/share/vulkan/icd.d")  # fmt: skip
_NAME = "nvidia_icd*.json"
_ELSEWHERE = ("/usr/local/nvidia", "/usr/local/cuda", "/opt/nvidia", "/run/opengl-driver",
              "/usr/lib64", "/usr/lib")  # fmt: skip
_BELOW = "share/vulkan/icd.d"


def missing_libraries() -> list[str]:
    """Those of LIBRARIES that this system does not have."""
    return [name for name in LIBRARIES if not _loads(name)]


def is_registered(environ: Mapping[str, str]) -> bool:
    """Does the loader find NVIDIA's driver?"""
    named = [file for name in VARIABLES for file in environ.get(name, "").split(os.pathsep) if file]
    if named:
        return any(map(os.path.isfile, named))
    return any(True for folder in _FOLDERS for _ in paths.typed(folder).glob(_NAME))


def registration_elsewhere() -> Path | None:
    """The file that names the driver, where the loader does not look."""
    found = (file for place in _ELSEWHERE for file in sorted(Path(place, _BELOW).glob(_NAME)))
    return next(found, None)


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
