"""Variables that hide GPUs from an engine, by the back end that obeys them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_BY_BACKEND = {
    "CUDA": ("CUDA_VISIBLE_DEVICES",),
    "Vulkan": ("GGML_VK_VISIBLE_DEVICES",),
    "ROCm": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
}
_NONE = ("", "-1", "none", "nodevfiles")


def hiding_all(environ: Mapping[str, str], backends: Iterable[str] = _BY_BACKEND) -> list[str]:
    """Those that are set so that no GPU is left."""
    return [name for name in hiding(environ, backends) if environ[name].strip().lower() in _NONE]


def hiding(environ: Mapping[str, str], backends: Iterable[str] = _BY_BACKEND) -> list[str]:
    """Those that are set and may leave some out."""
    return [name for one in backends for name in _BY_BACKEND.get(one, ()) if name in environ]
