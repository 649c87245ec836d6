"""The names of the engines, as `--engine` and JSON have them."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

Kind = Literal["llama-server", "vllm"]
LLAMA_SERVER: Kind = "llama-server"
VLLM: Kind = "vllm"


def names_vllm(text: str | None) -> bool:
    """Is that vLLM's name, or the path of its program?"""
    return text is not None and PurePath(text).name == VLLM
