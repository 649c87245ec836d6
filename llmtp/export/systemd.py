"""A unit of systemd for one user: starts at login, and again after a failure."""

from __future__ import annotations

from llmtp.errors import UsageError
from llmtp.export.served import Served
from llmtp.text import clean, file_name

#: A model may take minutes from a slow disk; requests that run may end first.
_RESTART_S, _STOP_S = 5, 30


def unit_name(served: Served) -> str:
    """`llmtp-demo.service`."""
    return f"llmtp-{file_name(served.name)}.service"


def render(served: Served) -> str:
    """`systemd-analyze verify` has nothing to say about it. Raises UsageError for what it cannot
    hold."""
    served.check("a unit")
    if not served.program.startswith("/"):
        raise UsageError(
            f"a unit needs the whole path of {clean(served.program, 120)}, which is not here",
            rule="export-name",
            expected="a program of this machine",
            fix="make it where it will run, or use --engine PATH",
        )
    command = [_quoted(served.program), *map(_words, served.options)]
    environment = [f"Environment={_quoted(f'{n}={v}')}" for n, v in served.added.items()]
    environment += [f"UnsetEnvironment={name}" for name in served.removed]
    lines = [
        *(f"# {line}" for line in served.about),
        "[Unit]",
        f"Description={served.engine} with {_plain(served.name)}",
        "StartLimitIntervalSec=300",
        "StartLimitBurst=5",
        "",
        "[Service]",
        *environment,
        "ExecStart=" + " \\\n    ".join(command),
        "Restart=on-failure",
        f"RestartSec={_RESTART_S}",
        f"TimeoutStopSec={_STOP_S}",
        "NoNewPrivileges=yes",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def _words(option: tuple[str, ...]) -> str:
    return " ".join(_quoted(word.replace("$", "$$")) for word in option)


def _plain(text: str) -> str:
    """A backslash at the end of a line would take in the next one."""
    return text.replace("%", "%%").replace("\\", "/")


def _quoted(word: str) -> str:
    """One word, however it looks (systemd.syntax: quoting, specifiers)."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return word if word and not set(word) & set(" \t'\"\\;#") else f'"{word}"'
