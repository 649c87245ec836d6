"""The Typer app and the one error boundary around it."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence, Set

import typer

from llmtp import __version__
from llmtp.cli.commands import Commands
from llmtp.cli.env import Env
from llmtp.cli.output import Out, ReaderGoneError, give_up_stdout, stdout_error
from llmtp.errors import ExitCode, Finding, LlmtpError, UsageError
from llmtp.machine.marks import is_detached
from llmtp.signals import Interrupted, behind
from llmtp.text import clean, in_plain_letters

_KEPT_LOG = 1 << 16
#: The name of what writes characters that a stream has not.
_PLAIN = "llmtp-plain"
#: With these `run` prints one envelope.
_ONCE = {"--ask", "--dry-run", "--detach", "-d"}
_INSTALL = "--install-completion"
_FOLLOW = {"--follow", "-f"}
_VERBOSE, _QUIET = {"--verbose", "-v"}, {"--quiet", "-q"}

app = typer.Typer(
    name="llmtp",
    cls=Commands,
    help="Run Gemma 4 on llama.cpp with its matching MTP drafter, proved and watched.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _main(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    env: Env = ctx.obj
    if version:
        env.out.data(f"llmtp {__version__}\n")
    elif ctx.invoked_subcommand is None:
        env.out.data(ctx.get_help() + "\n")
    else:
        return
    raise typer.Exit


def run(argv: Sequence[str]) -> int:
    """Run one command line; every ending becomes an exit code here."""
    _open_streams()
    _forget_no_width()
    env = _env_for(argv)
    out = env.out
    try:
        code = ExitCode(_run_app(argv, env))
        if out.lines:
            out.exit_line(code)
    except ReaderGoneError:
        return ExitCode.OK
    except Interrupted as interrupted:
        code = _end(out, interrupted)
    except LlmtpError as error:
        code = _fail(out, error.findings, error.exit_code)
    except Exception as error:  # noqa: BLE001 - the boundary: a bug is told and kept, not hidden
        cause = behind(error)
        code = _end(out, cause) if cause else _fail(out, [_bug(error)], ExitCode.BUG)
    out.finish()
    return code


def end_early(argv: Sequence[str], interrupted: Interrupted) -> int:
    """The end of a command line that was interrupted before it ran."""
    _open_streams()
    return _end(_env_for(argv).out, interrupted)


def _end(out: Out, interrupted: Interrupted) -> ExitCode:
    code = ExitCode(interrupted.exit_code)
    if out.as_json:
        _fail(out, [Finding("stopped", "error", code.name.lower())], code)
    return code


def _fail(out: Out, findings: list[Finding], code: ExitCode) -> ExitCode:
    """Say why; a stdout that cannot take it changes nothing."""
    with contextlib.suppress(ReaderGoneError, LlmtpError):
        out.fail(findings, code)
    return code


def _run_app(argv: Sequence[str], env: Env) -> int:
    """Typer's own errors become ours: they have to fit in one line, and in JSON."""
    try:
        code = app(args=list(argv), prog_name="llmtp", obj=env, standalone_mode=False)
    except SystemExit as ended:
        # The only one left is Typer's: nobody reads the help that it prints.
        raise ReaderGoneError from ended
    except OSError as error:
        if _INSTALL in argv and error.filename is not None:
            raise UsageError(
                f"completion cannot be installed: {clean(str(error.filename), 200)}: "
                f"{error.strerror}",
                fix="print it, and put it where your shell reads: llmtp --show-completion",
            ) from error
        if error.errno in (errno.ENOSPC, errno.EIO) and error.filename is None:
            give_up_stdout()
            raise stdout_error(error) from error
        raise
    except Exception as error:
        say = getattr(error, "format_message", None)
        if say is None:
            raise
        command = getattr(getattr(error, "ctx", None), "command_path", "llmtp")
        said = clean(" ".join(say().split()), 300)
        raise UsageError(said, fix=f"see {clean(command, 60)} --help") from None
    return code if isinstance(code, int) else ExitCode.OK


def _forget_no_width() -> None:
    """A terminal that does not say how wide it is may say 0."""
    if not re.fullmatch("[1-9][0-9]{0,5}", os.environ.get("COLUMNS", "")):
        os.environ.pop("COLUMNS", None)


def _open_streams() -> None:
    """Python starts with None where a stream is closed; and no word may fail for its encoding."""
    codecs.register_error(_PLAIN, in_plain_letters)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8", closefd=False))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAIN)


def _env_for(argv: Sequence[str]) -> Env:
    """The output that this command line asks for, known before it is parsed."""
    end = argv.index("--") if "--" in argv else len(argv)
    words = list(argv[:end])
    command = next((word for word in words if not word.startswith("-")), "")
    names = set(_option_names(words))
    keeps = command == "run" and is_detached()
    out = Out(
        command,
        as_json="--json" in names or keeps,
        lines=keeps or _prints_lines(command, names),
        verbose=bool(names & _VERBOSE),
        quiet=bool(names & _QUIET),
    )
    return Env(out, behind_dashes=tuple(argv[end + 1 :]), argv=tuple(argv))


def _option_names(words: Sequence[str]) -> Iterator[str]:
    """`-vd` is `-v` and `-d`."""
    for word in words:
        if word.startswith("-") and not word.startswith("--"):
            yield from (f"-{letter}" for letter in word[1:])
        else:
            yield word.partition("=")[0]


def _prints_lines(command: str, names: Set[str]) -> bool:
    """Does it print JSON lines, for as long as it goes on, and not one envelope?"""
    match command:
        case "run":
            return not names & _ONCE
        case "worker":
            return True
        case "top":
            return "--once" not in names
        case "logs":
            return bool(names & _FOLLOW)
    return False


def _bug(error: Exception) -> Finding:
    """Keep the traceback in the log and say where; without a log it goes to stderr."""
    import time
    import traceback

    from llmtp import paths

    trace = "".join(traceback.format_exception(error))
    log = paths.state_dir() / "llmtp.log"
    message = f"llmtp has a bug: {type(error).__name__}: {clean(str(error))}"
    try:
        paths.private_dir(log.parent)
        old = log.read_text(encoding="utf-8")[-_KEPT_LOG:] if log.exists() else ""
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{old}{time.strftime('%Y-%m-%d %H:%M:%S')} llmtp {__version__}\n{trace}\n")
    except OSError:
        return Finding("bug", "error", message, fix="report it; its log could not be written")
    return Finding("bug", "error", message, fix=f"report it with the traceback in {log}")
