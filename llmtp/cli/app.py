"""The Typer app and the one error boundary around it."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence

import typer

from llmtp import __version__
from llmtp.cli import check, plan
from llmtp.cli import run as run_command
from llmtp.cli.output import Out, ReaderGoneError
from llmtp.errors import ExitCode, Finding, LlmtpError, UsageError
from llmtp.server.signals import Interrupted

app = typer.Typer(
    name="llmtp",
    help="Run Gemma 4 on llama.cpp with its matching MTP drafter, proved and watched.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run_command.command)
app.command("check")(check.command)
app.command("plan")(plan.command)


@app.callback(invoke_without_command=True)
def _main(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        sys.stdout.write(f"llmtp {__version__}\n")
        raise typer.Exit


def run(argv: Sequence[str]) -> int:
    """Run one command line; every ending becomes an exit code here."""
    out = _out_for(argv)
    try:
        code = ExitCode(_run_app(argv, out))
    except LlmtpError as error:
        out.failure(error)
        return error.exit_code
    except Interrupted as interrupted:
        code = ExitCode(interrupted.exit_code)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except ReaderGoneError:
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the boundary: a bug is told and kept, not hidden
        out.fail([_bug(error)], ExitCode.BUG)
        return ExitCode.BUG
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED) and out.as_json:
        out.fail([Finding("stopped", "error", code.name.lower())], code)
    elif out.lines:
        out.exit_line(code)
    return code


def _run_app(argv: Sequence[str], out: Out) -> int:
    """Typer ends with SystemExit; its usage errors are words that JSON has to carry."""
    words = io.StringIO()
    quiet = contextlib.redirect_stderr(words) if out.as_json else contextlib.nullcontext()
    try:
        with quiet:
            app(args=list(argv), prog_name="llmtp", obj=out)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else ExitCode.OK
        if code == ExitCode.USAGE and out.as_json:
            said = words.getvalue().strip().splitlines()
            wrong = said[-1].removeprefix("Error: ") if said else "not understood"
            raise UsageError(wrong, fix=f"llmtp {out.command} --help".replace("  ", " ")) from None
        return code
    return ExitCode.OK


def _out_for(argv: Sequence[str]) -> Out:
    """The output that this command line asks for, known before it is parsed."""
    words = list(argv[: argv.index("--")]) if "--" in argv else list(argv)
    command = next((word for word in words if not word.startswith("-")), "")
    once = any(word.split("=")[0] in ("--ask", "--dry-run") for word in words)
    return Out(
        command,
        as_json="--json" in words,
        lines=command == "run" and not once,
        has_separator="--" in argv,
    )


def _bug(error: Exception) -> Finding:
    """Keep the traceback in the log and say where; without a log it goes to stderr."""
    import time
    import traceback

    from llmtp import paths

    trace = "".join(traceback.format_exception(error))
    log = paths.state_dir() / "llmtp.log"
    try:
        paths.private_dir(log.parent)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} llmtp {__version__}\n{trace}\n")
    except OSError:
        sys.stderr.write(trace)
        return Finding("bug", "error", f"llmtp has a bug: {type(error).__name__}: {error}")
    return Finding(
        "bug",
        "error",
        f"llmtp has a bug: {type(error).__name__}: {error}",
        fix=f"report it with the traceback in {log}",
    )
