"""MODEL and the options that choose its files, as the core takes them."""

from __future__ import annotations

from collections.abc import Collection

import typer

from llmtp import config
from llmtp.cli.env import Env
from llmtp.errors import UsageError
from llmtp.hub.models import is_offline
from llmtp.hub.reference import Asked
from llmtp.text import clean


def files_asked(model: str, draft: str, quant: str | None, mmproj: str, offline: bool) -> Asked:
    """What names the files, in any capitalisation; HF_HUB_OFFLINE counts as `--offline`."""
    for name, value in (
        ("MODEL", model), ("--draft", draft), ("--quant", quant or "auto"), ("--mmproj", mmproj)
    ):  # fmt: skip
        if not value.strip():
            raise UsageError(f"{name} is empty", fix="leave it out, or type a name")
    return Asked(
        model,
        _word(draft, "auto", "off"),
        None if quant is None or quant.lower() == "auto" else quant,
        _word(mmproj, "auto", "off"),
        is_offline(offline),
        config.preferred_quant() if quant is None else None,
    )


def only_behind_dashes(env: Env, extra: list[str]) -> None:
    """Raises UsageError where flags for the engine stand anywhere else."""
    surplus = extra[: len(extra) - len(env.behind_dashes)]
    if surplus:
        raise UsageError(
            f"unexpected argument {clean(surplus[0], 60)!r}",
            expected="one MODEL; flags for llama-server stand behind --",
            fix="put text with spaces in quotes",
        )


def typed_options(ctx: typer.Context, besides: Collection[str]) -> list[str]:
    """The options that were typed, besides those whose parameters have these names."""
    return [
        one.opts[0]
        for one in ctx.command.params
        if one.name is not None
        and one.name not in besides
        and (source := ctx.get_parameter_source(one.name)) is not None
        and source.name == "COMMANDLINE"
    ]


def _word(value: str, *words: str) -> str:
    return value.lower() if value.lower() in words else value
