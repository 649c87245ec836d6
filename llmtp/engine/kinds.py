"""The names of the engines, as `--engine` and JSON have them."""

from __future__ import annotations

from typing import Literal

Kind = Literal["llama-server", "vllm"]
LLAMA_SERVER: Kind = "llama-server"
VLLM: Kind = "vllm"
