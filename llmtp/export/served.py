"""What every format is made of: a name, and the command that serves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmtp.engine.command import Command, is_flag
from llmtp.engine.kinds import LLAMA_SERVER, Kind
from llmtp.engines.kind import EngineKind
from llmtp.errors import UsageError
from llmtp.text import clean

#: Of a command that llmtp watches: nobody reads that here.
_OURS = ("--verbosity",)
_FILES = ("--model", "--model-draft", "--mmproj", "--api-key-file")
#: Where it listens, and for whom: some who read the file say that themselves.
PLACE = ("--port", "--host", "--api-key-file")


@dataclass(frozen=True, slots=True)
class Served:
    """`options` are flags with their values, the engine's own form; `env` is the difference to the
    environment (None: removed). `about` are lines for who reads the file. The first `key` of a file
    belongs into a variable, where the engine does not read it itself."""

    name: str
    about: tuple[str, ...]
    program: str
    options: tuple[tuple[str, ...], ...]
    env: Mapping[str, str | None]
    engine: Kind = LLAMA_SERVER
    reads_presets: bool = True
    key: tuple[str, Path] | None = None

    @classmethod
    def of(cls, name: str, about: Sequence[str], kind: EngineKind, command: Command) -> Served:
        """Paths are those that `command` has. Raises UsageError for words that no text file can
        hold safely."""
        for word in (*command.argv, *filter(None, command.env.values())):
            if not word.isprintable():
                raise UsageError(
                    f"{clean(word, 120)!r} has characters that no file of settings can hold",
                    rule="export-name",
                    expected="names of printable characters",
                    fix="rename the file",
                )
        theirs = command.argv[1 + sum(map(len, command.options)) :]
        options = (*command.options, *_grouped(theirs))
        kept = tuple(option for option in options if option[0] not in _OURS)
        key = None
        if command.key_variable is not None and command.key_file is not None:
            key = command.key_variable, command.key_file
        return cls(
            clean(name, 80), tuple(about), command.argv[0], kept, command.env, kind.name,
            kind.reads_presets, key,
        )  # fmt: skip

    def check(self, form: str, *, is_preset: bool = False) -> None:
        """Raises UsageError where a format cannot hold a key, or the engine does not read it."""
        if is_preset and not self.reads_presets:
            raise UsageError(
                f"{form} is a format of llama-server, and {self.engine} does not read it",
                rule="export-engine",
                fix="use --to sh or --to systemd",
            )
        if self.key is not None:
            raise UsageError(
                f"{form} has no place for the key that {self.engine} takes from {self.key[0]}",
                rule="export-key",
                fix="use --to sh, which reads it from the file",
            )

    def placed(self, change: Callable[[str], str]) -> Served:
        """The same, with other paths of its files."""
        options = tuple(
            (flag, *map(change, values)) if flag in _FILES else (flag, *values)
            for flag, *values in self.options
        )
        return replace(self, options=options)

    def without(self, *flags: str) -> Served:
        """The same, without these."""
        kept = tuple(option for option in self.options if option[0] not in flags)
        return replace(self, options=kept)

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its words."""
        return (self.program, *(word for option in self.options for word in option))

    @property
    def added(self) -> dict[str, str]:
        """What the environment has more."""
        return {name: value for name, value in self.env.items() if value is not None}

    @property
    def removed(self) -> list[str]:
        """What the environment must not have: the engine reads it as flags."""
        return [name for name, value in self.env.items() if value is None]


def _grouped(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    option: list[str] = []
    for word in words:
        if is_flag(word) and option:
            yield tuple(option)
            option = []
        option.append(word)
    if option:
        yield tuple(option)
