"""The command that serves a plan, of whichever engine, and where it listens."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llmtp.errors import Finding

#: The rule of a finding: the user lets the engine log what requests say.
PROMPTS_LOGGED = "prompts-logged"


@dataclass(frozen=True, slots=True)
class Serving:
    """Where and for whom the server listens."""

    host: str
    port: int
    port_was_asked: bool = False
    api_key_file: Path | None = None
    temp: float | None = None
    top_k: int | None = None
    top_p: float | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What is started: `argv` are the program, `options` with their values, and the flags of the
    user. `env` is the difference to the user's environment (None: removed). `serves` is how the
    server will name its model. The key of clients, the first of `key_file`, goes into
    `key_variable`, where the engine does not read it from a file. The first `recipe_words` are as
    the makers of the engine recommend. Of several machines `ranks` are the commands of all."""

    argv: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    env: Mapping[str, str | None]
    findings: tuple[Finding, ...]
    serves: str = ""
    key_variable: str | None = None
    key_file: Path | None = None
    recipe_words: int = 0
    ranks: tuple[tuple[str, ...], ...] = ()

    def with_env(self, more: Mapping[str, str | None]) -> Command:
        """The same, with a larger difference to the user's environment."""
        return replace(self, env={**self.env, **more})

    def shell_line(self, break_at: int = 0) -> str:
        """The same command for a POSIX shell; a line ends behind so many words of `argv`."""
        prefix: list[str] = []
        secret = ""
        if self.key_variable and self.key_file:
            # Not by env, whose words everybody sees.
            reads = f"grep -m1 '^[^#]' {quote(str(self.key_file))}"
            secret = f'{self.key_variable}="$({reads})" && export {self.key_variable} && '
        if self.env:
            prefix.append("env")
            for name, value in self.env.items():
                prefix += ["-u", name] if value is None else [f"{name}={value}"]
        first = " ".join(quote(word) for word in (*prefix, *self.argv[: break_at or None]))
        rest = " ".join(quote(word) for word in self.argv[break_at:]) if break_at else ""
        return f"{secret}{first} \\\n  {rest}" if rest else secret + first


def quote(word: str) -> str:
    """For a shell; control characters are escaped, so that a terminal may show the line too."""
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, _bytes(word)))}'"


def _bytes(word: str) -> bytes:
    """Those of a file's name where it can be one."""
    try:
        return word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return word.encode("utf-8", "replace")


def _escaped(byte: int) -> str:
    character = chr(byte)
    if 0x20 <= byte < 0x7F:
        return f"\\{character}" if character in "\\'" else character
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\x{byte:02x}")


def is_flag(word: str) -> bool:
    """`-c` and `--ctx-size`; no `-1`, which is a value."""
    return (word.startswith("-") and word[1:2].isalpha()) or word.startswith("--")
