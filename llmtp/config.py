"""Defaults that hold for every command: variables of the environment before `config.yaml`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llmtp import paths
from llmtp.errors import UsageError
from llmtp.ports import is_address
from llmtp.text import clean
from llmtp.units import parse_size

LOOPBACK = "127.0.0.1"
#: Variables of huggingface_hub, the first that is set holds, and what is below their folders.
_BELOW = {"HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "", "HF_HOME": "/hub",
          "XDG_CACHE_HOME": "/huggingface/hub", None: "/huggingface/hub"}  # fmt: skip
_FILE, _PREFIX = "config.yaml", "LLMTP_"


@dataclass(frozen=True, slots=True)
class Setting:
    """`default` is in words, for people; a text that is not `good` should be `expected`."""

    about: str
    default: str
    expected: str
    is_good: Callable[[str], bool]


def _is_size(text: str) -> bool:
    try:
        parse_size(text, "")
    except UsageError:
        return False
    return True


def _is_quant(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text and len(text) <= 96


def _is_place(text: str) -> bool:
    return "\0" not in text and paths.typed(text).is_absolute()


SETTINGS: Mapping[str, Setting] = {
    "engine": Setting("the llama-server to try first", "the first that works",
                      "a program or its path", lambda text: "\0" not in text),
    "host": Setting("address to listen on; wider than this machine needs a key", LOOPBACK,
                    "an IP address of this machine, or localhost", is_address),
    "cache": Setting("folder for models", "where huggingface_hub has it",
                     "an absolute path, or one behind ~", _is_place),
    "margin": Setting("memory to leave free", "256 MiB on a GPU, 1 GiB of RAM",
                      "a size such as 512MiB", _is_size),
    "quant": Setting("the quant to take where a model has it and it fits",
                     "what is on this disk, or else the best that fits",
                     "a quant such as UD-Q4_K_XL", _is_quant),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Config:
    """What `config.yaml` says, by setting, and in which lines."""

    texts: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def engine(self) -> str | None:
        return self.texts.get("engine")


@dataclass(frozen=True, slots=True)
class Value:
    """What holds for a setting, None where nobody chose, and who did: a variable, or a line."""

    text: str | None
    origin: str = "default"


def config_path() -> Path:
    """Where the file is, or would be."""
    return paths.config_dir() / _FILE


def check_folder() -> None:
    """Raises UsageError for a folder of the user's settings that is there and hidden from us."""
    folder = paths.config_dir()
    if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):  # noqa: PTH112 - Path's raises
        shown = clean(str(folder), 300)
        raise UsageError(
            f"{shown} cannot be read",
            rule="config-folder",
            expected="a folder of your user",
            fix=f'sudo chown -R "$(id -u)" {shown}',
        )


def load_config() -> Config:
    """Read the config file if there is one; raises UsageError naming the wrong line."""
    return Config() if _FILE in _left_out else _read(config_path())


#: What this process leaves out, because that it is wrong is told already: variables, or the file.
_left_out: set[str] = set()


def leave_out_what_is_wrong() -> list[UsageError]:
    """From now on that counts for nothing. Returns what is wrong with each."""
    found = []
    for origin in (_FILE, *map(variable_of, SETTINGS)):
        try:
            load_config() if origin == _FILE else _variable(origin)
        except UsageError as error:
            _left_out.add(origin)
            found.append(error)
    return found


def value_of(name: str) -> Value:
    """Raises UsageError for a variable that is wrong, or the file."""
    variable = variable_of(name)
    text = _variable(variable)
    if text is not None:
        return Value(text, variable)
    config = load_config()
    if name in config.texts:
        return Value(config.texts[name], f"{config_path()}:{config.lines[name]}")
    return Value(None)


def variable_of(name: str) -> str:
    """`LLMTP_HOST` for `host`."""
    return f"{_PREFIX}{name.upper()}"


def host() -> str:
    """Where servers listen unless `--host` says otherwise."""
    return value_of("host").text or LOOPBACK


def margin_bytes() -> int | None:
    """What plans leave free unless `--margin` says otherwise; None leaves it to the plan."""
    text = value_of("margin").text
    return None if text is None else parse_size(text, "margin")


def preferred_quant() -> str | None:
    """Of a model that has it, unless `--quant` says otherwise."""
    text = value_of("quant").text
    return None if text is None or text.lower() == "auto" else text


def hub_variable() -> str | None:
    """The one that says where huggingface_hub has its cache; None for the usual place."""
    return next((name for name in _BELOW if name and os.environ.get(name)), None)


def hub_cache() -> Path:
    """The folder for models: as set here, or else where huggingface_hub, `hf` and llama.cpp keep
    what they download.

    That is by the variables of huggingface_hub, whose import would cost 100 ms. llama.cpp reads the
    same ones, after its own LLAMA_CACHE.
    """
    text = value_of("cache").text
    if text is not None:
        return paths.typed(text).absolute()
    variable = hub_variable()
    folder = f"{os.environ[variable] if variable else '~/.cache'}{_BELOW.get(variable, '')}"
    return Path(os.path.expandvars(os.path.expanduser(folder))).absolute()  # noqa: PTH111 - Path's raises


def _variable(variable: str) -> str | None:
    text = os.environ.get(variable)
    if not text or variable in _left_out:
        return None
    name = variable.removeprefix(_PREFIX).lower()
    setting = SETTINGS[name]
    if not setting.is_good(text):
        raise UsageError(
            f"{variable} {clean(text, 60)!r} cannot be the {name}",
            rule="variable",
            expected=setting.expected,
            fix=f"unset {variable}",
        )
    return text


@functools.cache
def _read(path: Path) -> Config:
    check_folder()
    if not os.path.lexists(path):
        return Config()
    if not os.path.isfile(path):  # noqa: PTH113 - Path's raises
        shown = clean(str(path), 300)
        raise UsageError(f"{shown} is no file", rule="yaml", fix=f"see what it is: ls -ld {shown}")
    from llmtp import yamlfile

    file = yamlfile.load(path)
    file.only(set(SETTINGS))
    texts = {}
    for name, setting in SETTINGS.items():
        text = file.text(name, setting.expected)
        if text is None:
            continue
        if not text or not setting.is_good(text):
            raise file.wrong(name, f"is {clean(text, 60)!r}", setting.expected)
        texts[name] = text
    return Config(texts, {name: file.lines[name] for name in texts})
