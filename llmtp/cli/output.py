"""Data on stdout, words on stderr, in the one form that the command was asked for."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast

from llmtp import signals
from llmtp.errors import ExitCode, Finding, UsageError
from llmtp.text import clean

if TYPE_CHECKING:
    from rich.console import Console

    from llmtp.cli.patient import PatientStream

SCHEMA = 1
_FINISH_S = 2.0
_STDOUT = "stdout"
_COLOURS = {"error": "31", "warning": "33", "info": "36", "ok": "32"}


class ReaderGoneError(Exception):
    """Whoever read our stdout has enough, as `head` has. No failure."""


class Out:
    """How one command speaks. `lines` is the form of a running server: one JSON object a line;
    `verbose` tells a person what is only worth it to who asks, `quiet` only what went wrong."""

    def __init__(
        self,
        command: str,
        *,
        as_json: bool = False,
        lines: bool = False,
        verbose: bool = False,
        quiet: bool = False,
    ) -> None:
        self.noticed: list[Finding] = []
        self.command = command
        self.as_json = as_json
        self.lines = lines and as_json
        self.verbose = verbose
        self.quiet = quiet
        self._patient: PatientStream | None = None
        self._stdout_is_told = False

    @property
    def stdout(self) -> TextIO:
        return cast(TextIO, self._patient) if self._patient else sys.stdout

    def keeps_up(self) -> bool:
        """Does somebody read stdout? If not, what may be left out should be.

        A stdout that cannot be written is told once, on stderr: there is no other place for it.
        """
        if self._patient is None:
            return True
        with _writing():
            behind = self._patient.is_behind
        if self._patient.error is not None and not self._stdout_is_told:
            self._stdout_is_told = True
            why = self._patient.error.strerror
            with contextlib.suppress(OSError):
                sys.stderr.write(f"warning: stdout cannot be written: {why}; the server goes on\n")
                sys.stderr.flush()
        return not behind

    def be_patient(self) -> None:
        """From now on nothing waits for who reads stdout: a server has to be kept up."""
        from llmtp.cli.patient import PatientStream

        self._patient = PatientStream(sys.stdout)

    def finish(self) -> None:
        """Give a reader that is behind a moment for the end."""
        if self._patient is not None:
            with contextlib.suppress(ReaderGoneError), _writing():
                self._patient.finish(_FINISH_S)

    def let_go(self) -> None:
        """Of stdin, stdout and stderr, for good: nobody is told anything any more."""
        self.finish()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        os.close(nowhere)

    def result(
        self,
        data: dict[str, Any],
        findings: Iterable[Finding],
        human: str | Callable[[Console], None],
        exit_code: ExitCode = ExitCode.OK,
    ) -> None:
        """A command's answer, and what was noticed on the way.

        `human` is text, or draws on a Rich console, which costs 80 ms to load.
        """
        if isinstance(human, str):
            if not self.as_json:
                self.data(human)
        elif not self.as_json:
            screen = console(sys.stdout)
            with _writing():
                with screen.capture() as drawn:
                    human(screen)
                lines = drawn.get().split("\n")
                sys.stdout.write("\n".join(line.rstrip(" ") for line in lines))
                sys.stdout.flush()
        for finding in findings:
            self.finding(finding)
        if self.as_json:
            self.envelope(data, exit_code)

    def finding(self, finding: Finding) -> None:
        """One finding in words; JSON carries it in the envelope or the last line instead."""
        if self.as_json:
            self.noticed.append(finding)
            return
        if self.quiet and finding.level == "info":
            return
        seen = ""
        if finding.expected or finding.observed:
            parts = [
                f"expected {finding.expected}" if finding.expected else "",
                f"found {finding.observed}" if finding.observed else "",
            ]
            seen = f" ({', '.join(filter(None, parts))})"
        fix = f"\n  {_dim('→')} {finding.fix}" if finding.fix else ""
        self.must_say(
            f"{paint(finding.level, finding.level + ':', sys.stderr)} {finding.message}{seen}{fix}"
        )

    def fail(self, findings: list[Finding], exit_code: ExitCode) -> None:
        """The end of a command that cannot go on; in words where stdout takes no JSON."""
        if any(finding.rule == _STDOUT for finding in findings):
            self.as_json = self.lines = False
        for finding in findings:
            self.finding(finding)
        if self.lines:
            self.exit_line(exit_code)
        elif self.as_json:
            self.envelope({}, exit_code)

    def exit_line(self, exit_code: ExitCode) -> None:
        """The last line of a running server's JSON."""
        self.line({"event": "exit", "at": time.time(), **self._ending(exit_code)})

    def envelope(self, data: dict[str, Any], exit_code: ExitCode) -> None:
        """The one object of every other command."""
        body = {
            "schema": SCHEMA,
            "command": self.command,
            "ok": exit_code == ExitCode.OK,
            "data": data,
        }
        self.line(body | self._ending(exit_code))

    def _ending(self, exit_code: ExitCode) -> dict[str, Any]:
        findings = [finding.to_dict() for finding in self.noticed]
        return {"exit_code": int(exit_code), "findings": findings}

    def line(self, value: dict[str, Any]) -> None:
        """One JSON object, at once."""
        self.data(json.dumps(value) + "\n")

    def data(self, text: str) -> None:
        """Text on stdout, at once."""
        with _writing():
            self.stdout.write(text)
            self.stdout.flush()

    def exact(self, text: str) -> str:
        """Text that is to be run: raises UsageError where stdout would change a letter of it."""
        if not self.as_json:
            try:
                text.encode(sys.stdout.encoding or "utf-8")
            except UnicodeEncodeError as error:
                letter = text[error.start]
                raise UsageError(
                    f"stdout cannot hold {letter!a}: its encoding is {clean(error.encoding, 40)}",
                    rule=_STDOUT,
                    fix="type before it: PYTHONIOENCODING=utf-8",
                ) from None
        return text

    def say(self, text: str) -> None:
        """Words for a person; nobody parses them."""
        if not self.quiet:
            self.must_say(text)

    def must_say(self, text: str) -> None:
        """Words that are more than news."""
        if not self.as_json:
            with contextlib.suppress(OSError):
                sys.stderr.write(text + "\n")
                sys.stderr.flush()


def console(stream: TextIO) -> Console:
    """A Rich console that prints what it is given: no markup, emoji or guessed highlights."""
    from rich.console import Console

    return Console(file=stream, markup=False, emoji=False, highlight=False)


def is_colourful(stream: TextIO) -> bool:
    """NO_COLOR, then FORCE_COLOR, then whether somebody looks."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def paint(level: str, text: str, stream: TextIO) -> str:
    """Text in the colour of its level, where the stream shows colours."""
    return f"\x1b[{_COLOURS[level]}m{text}\x1b[0m" if is_colourful(stream) else text


def _dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if is_colourful(sys.stderr) else text


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Raises ReaderGoneError when nobody reads stdout any more, UsageError when it is full.

    Once we are told to end that is the news, and not a terminal that went with it.
    """
    try:
        yield
    except OSError as error:
        give_up_stdout()
        if signals.count():
            return
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError from None
        raise stdout_error(error) from error


def give_up_stdout() -> None:
    """Python must not flush into a broken stream once more when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stdout_error(error: OSError) -> UsageError:
    """Of a stdout that takes no more, such as a file on a full disk."""
    return UsageError(
        f"stdout cannot be written: {error.strerror}", rule=_STDOUT, fix="free its disk"
    )
