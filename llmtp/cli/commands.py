"""Every command by its name, loaded when it is asked for: to build all costs as much as Typer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import getdoc
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from llmtp.text import clean, near_names

#: Where each is, in the order of `--help`.
COMMANDS: Mapping[str, str] = {
    "run": "run.command",
    "top": "top.command",
    "ps": "servers.ps_command",
    "stop": "servers.stop_command",
    "logs": "servers.logs_command",
    "wait": "servers.wait_command",
    "env": "servers.env_command",
    "pull": "pull.command",
    "list": "shelf.list_command",
    "rm": "shelf.rm_command",
    "check": "check.command",
    "plan": "plan.command",
    "export": "export.command",
    "bench": "bench.command",
    "tune": "tune.command",
    "worker": "worker.command",
    "doctor": "doctor.command",
    "bug-report": "bug_report.command",
    "profiles": "profiles.app",
    "config": "config.app",
}


class Commands(TyperGroup):
    """The commands of `llmtp`."""

    _is_listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as TyperGroup has it
        """All names, in order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of them; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            near = near_names(cmd_name, COMMANDS)
            if near and not ctx.resilient_parsing:
                ctx.fail(f"There is no command {clean(cmd_name, 40)!r}; {near}")
            return None
        module, _, name = COMMANDS[cmd_name].partition(".")
        found = getattr(import_module(f"llmtp.cli.{module}"), name)
        is_group = isinstance(found, typer.Typer)
        if self._is_listing:
            return TyperCommand(cmd_name, help=found.info.help if is_group else getdoc(found))
        app = found
        if not is_group:
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            app.command(cmd_name)(found)
        command = typer.main.get_command(app)
        command.name = cmd_name
        return command

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Names of commands with their summaries."""
        with self._listing():
            return super().shell_complete(ctx, incomplete)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The part of `--help` that lists them."""
        with self._listing():
            super().format_commands(ctx, formatter)

    @contextlib.contextmanager
    def _listing(self) -> Iterator[None]:
        """Only a name and a summary is needed of each: nothing of its options is built."""
        self._is_listing = True
        try:
            yield
        finally:
            self._is_listing = False
