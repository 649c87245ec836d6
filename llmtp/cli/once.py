"""`run --ask` and `run --dry-run`: one answer, then the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from llmtp.chain import Prepared, with_key
from llmtp.cli.output import Out
from llmtp.errors import ExitCode, UsageError
from llmtp.server.access import key_file
from llmtp.server.entry import id_for
from llmtp.units import format_count, format_percent, format_rate

if TYPE_CHECKING:
    from llmtp.start import Running


def read_prompt(ask: str) -> str:
    """The question itself, or all of stdin for `-`."""
    prompt = ask.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if ask == "-":
        prompt = sys.stdin.buffer.read().decode("utf-8", "replace") if sys.stdin else ""
    if not prompt.strip():
        raise UsageError(
            "--ask has nothing to ask",
            expected="a text, or - with a text on stdin",
            fix='type for example: --ask "Why is the sky blue?"',
        )
    return prompt


def show_command(out: Out, prepared: Prepared, *, makes_key: bool) -> None:
    """The command that run would start, as a shell line; a key is made by who starts it."""
    if makes_key:
        prepared = with_key(prepared, key_file(id_for(prepared.plan.name, set()), os.getpid()))
    for finding in prepared.findings:
        out.finding(finding)
    if out.as_json:
        out.envelope(prepared.to_dict(), ExitCode.OK)
    else:
        out.data("".join(out.exact(line) + "\n" for line in _lines(prepared)))


def _lines(prepared: Prepared) -> Iterator[str]:
    """The command; where the makers of the engine recommend some of it, that stands first, and of
    several machines each has its own."""
    command = prepared.command
    if not command.recipe_words:
        yield command.shell_line()
        return
    for rank, argv in enumerate(command.ranks or (command.argv,)):
        if command.ranks:
            yield f"# On machine {rank} of {len(command.ranks)}:"
        yield f"# {prepared.kind.name}'s recipe; behind the break what llmtp adds."
        yield replace(command, argv=argv).shell_line(break_at=command.recipe_words)


def answer(out: Out, running: Running, prompt: str) -> None:
    """Stream the answer to stdout, one line about it to stderr."""
    quiet = out.as_json
    given = running.answer(prompt, (lambda _: None) if quiet else out.data)
    if quiet:
        plan = running.session.plan
        data = {
            "model": plan.name,
            "n_max": plan.n_max,
            "given_up": [one.to_dict() for one in plan.given_up],
        }
        out.envelope(data | given.to_dict(), ExitCode.OK)
        return
    if not given.answer.endswith("\n"):
        out.data("\n")
    drafting = "MTP off"
    if given.drafted:
        drafting = (
            f"{format_percent(given.acceptance)} of {format_count(given.drafted)} drafted tokens "
            "accepted"
        )
    out.say(
        f"{format_count(given.predicted)} tokens, {format_rate(given.tokens_per_s)} tokens/s, "
        f"{drafting}"
    )
