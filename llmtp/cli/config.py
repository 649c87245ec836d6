"""`llmtp config`: the defaults that hold for every command, and who set them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from llmtp.cli.env import Env
from llmtp.cli.options import JsonOpt, QuietOpt

if TYPE_CHECKING:
    from rich.console import Console

    from llmtp.config import Value

app = typer.Typer(
    help="Show the defaults of every command, and who set them.",
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def default(ctx: typer.Context, _quiet: QuietOpt = False, _json: JsonOpt = False) -> None:
    """The same as show."""
    if ctx.invoked_subcommand is None:
        _show(ctx.obj)


@app.command("show")
def show(ctx: typer.Context, _quiet: QuietOpt = False, _json: JsonOpt = False) -> None:
    """Show every setting, its value, and where that comes from."""
    _show(ctx.obj)


def _show(env: Env) -> None:
    from llmtp.config import (
        SETTINGS,
        Value,
        config_path,
        hub_cache,
        hub_variable,
        load_config,
        value_of,
        variable_of,
    )

    load_config()  # all of it is right, or nothing is shown
    values = {name: value_of(name) for name in SETTINGS}
    if values["cache"].text is None and (variable := hub_variable()):
        values["cache"] = Value(str(hub_cache()), variable)
    rows = [
        {
            "name": name,
            "value": value.text,
            "origin": value.origin,
            "default": SETTINGS[name].default,
            "variable": variable_of(name),
            "about": SETTINGS[name].about,
        }
        for name, value in values.items()
    ]
    path = config_path()
    data = {
        "path": str(path),
        "exists": path.is_file(),
        "settings": rows,
        "cache": str(hub_cache()),
    }
    env.out.result(data, (), lambda console: _draw(console, values))


def _draw(console: Console, values: dict[str, Value]) -> None:
    from rich.table import Table
    from rich.text import Text

    from llmtp.config import SETTINGS, config_path, hub_cache
    from llmtp.text import clean

    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for name, value in values.items():
        fallback = str(hub_cache()) if name == "cache" else SETTINGS[name].default
        text, style = (fallback, "dim") if value.text is None else (value.text, "")
        origin = value.origin.removeprefix(f"{config_path().parent}{os.sep}")
        cells = (Text(clean(one, 400), style, overflow="fold") for one in (text, origin))
        table.add_row(name, *cells)
    console.print(table)
    path = config_path()
    there = "" if path.is_file() else " (not there: all settings are optional)"
    console.print(Text(f"file: {clean(str(path), 400)}{there}", "dim"), soft_wrap=True)


@app.command("validate")
def validate(ctx: typer.Context, _quiet: QuietOpt = False, _json: JsonOpt = False) -> None:
    """Check the file, and the variables. An error names its file, line and field."""
    from llmtp.config import SETTINGS, config_path, load_config, value_of, variable_of

    env: Env = ctx.obj
    config, path = load_config(), config_path()
    named = {variable_of(name): value_of(name).origin for name in SETTINGS}
    variables = [name for name, origin in named.items() if origin == name]
    data = {"path": str(path), "exists": path.is_file(), "settings": dict(config.texts)}
    checked = [f"{path} ({', '.join(config.texts) or 'nothing is set'})"] if path.is_file() else []
    said = ", ".join([*checked, *variables]) or f"there is nothing: no {path}, and no variable"
    env.out.result(data, (), f"valid: {said}\n")


@app.command("path")
def path(ctx: typer.Context, _quiet: QuietOpt = False, _json: JsonOpt = False) -> None:
    """Print where the file is, or would be."""
    from llmtp.config import config_path

    env: Env = ctx.obj
    env.out.result({"path": str(config_path())}, (), f"{config_path()}\n")
