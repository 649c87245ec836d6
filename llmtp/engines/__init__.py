"""The engines that serve: of each one table of what depends on it, loaded when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtp import config
from llmtp.engine.kinds import LLAMA_SERVER, VLLM, Kind, names_vllm
from llmtp.engines.kind import EngineKind
from llmtp.hub.reference import is_source
from llmtp.profiles import load_profile

if TYPE_CHECKING:
    from llmtp.server.entry import Entry


def kind_named(name: Kind) -> EngineKind:
    """Of an engine by its name."""
    if name == VLLM:
        from llmtp.engines.vllm import KIND as OF_VLLM

        return OF_VLLM
    from llmtp.engines.llama import KIND

    return KIND


def kind_of(entry: Entry) -> EngineKind:
    """Of a server of ours; entries of earlier versions do not tell, and are of llama-server."""
    return kind_named(VLLM if entry.plan.get("engine") == VLLM else LLAMA_SERVER)


def kind_for(requested: str | None, model: str) -> EngineKind:
    """By what is requested, or else by the profile that MODEL may name, or else by the settings.

    `requested` is `--engine`: a name, or the path of a program.
    """
    if requested is None and not is_source(model):
        requested = load_profile(model).engine
    named = requested or config.value_of("engine").text
    return kind_named(VLLM if names_vllm(named) else LLAMA_SERVER)
