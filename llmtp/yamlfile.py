"""YAML mappings with the line of every field, so that an error can name it.

Nothing is constructed by PyYAML: values stay texts until somebody asks for them as what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from llmtp.errors import UsageError
from llmtp.text import clean, near_names

#: Far above any profile, and read in well under a second by PyYAML, which is slow.
_MOST_CHARACTERS = 1 << 16
_MOST_NODES = 3000
_MOST_LEVELS = 20

_TAGS = "tag:yaml.org,2002:"
_KINDS = {
    f"{_TAGS}{tag}": kind
    for tag, kind in (
        ("str", "text"), ("int", "int"), ("float", "float"), ("bool", "bool"), ("null", "null"),
        ("timestamp", "date"), ("map", "mapping"), ("seq", "list"),
    )
}  # fmt: skip
_CLASSES = {"mapping": yaml.MappingNode, "list": yaml.SequenceNode}
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class YamlFile:
    """The mapping of a file, or one inside it: `where` is then its name, with a dot behind it."""

    path: Path
    nodes: dict[str, yaml.Node]
    lines: dict[str, int]
    where: str = ""
    line: int = 1

    def wrong(self, field: str, message: str, expected: str) -> UsageError:
        """An error that names file, line and field."""
        return self._wrong_at(self.lines.get(field, self.line), field, message, expected)

    def only(self, allowed: set[str]) -> None:
        """Refuse fields that nobody reads."""
        for field in self.nodes:
            if field not in allowed:
                hint = near_names(clean(field, 60), allowed)
                raise self._wrong_at(
                    self.lines[field],
                    clean(field, 60),
                    "unknown field" + (f"; {hint}" if hint else ""),
                    "one of " + ", ".join(sorted(allowed)),
                )

    def has(self, field: str) -> bool:
        """Is there anything but null?"""
        return self._value(field) is not None

    def text(self, field: str, expected: str = "a text") -> str | None:
        node = self._value(field)
        if node is None:
            return None
        if _kind(node) != "text":
            raise self.wrong(field, f"is {_kind(node)}", expected)
        return str(node.value)

    def texts(
        self,
        field: str,
        is_good: Callable[[str], bool] = bool,
        expected: str = "a text, or a list of texts",
    ) -> tuple[str, ...]:
        """A list of texts that are all good; one text is a list of one."""
        node = self._value(field)
        if node is None:
            return ()
        is_list = isinstance(node, yaml.SequenceNode)
        items: list[yaml.Node] = node.value if is_list else [node]
        for place, item in enumerate(items):
            if _kind(item) != "text" or not is_good(item.value):
                name = f"{field}[{place}]" if is_list else field
                line = _line(item) if is_list else self.lines[field]
                shown = _shown(item) if _kind(item) == "text" else _kind(item)
                raise self._wrong_at(line, name, f"is {shown}", expected)
        return tuple(str(item.value) for item in items)

    def flag(self, field: str) -> bool:
        """False where it is not there."""
        node = self._value(field)
        if node is None:
            return False
        value = _FLAGS.get(str(node.value).lower()) if _kind(node) == "bool" else None
        if value is None:
            raise self.wrong(field, f"is {_shown(node)}", "true or false")
        return value

    def number(self, field: str, low: int, high: int) -> int | None:
        node = self._value(field)
        if node is None:
            return None
        is_whole = _kind(node) == "int" and _WHOLE.fullmatch(node.value)
        if not is_whole or not low <= int(node.value) <= high:
            raise self.wrong(field, f"is {_shown(node)}", f"a whole number from {low} to {high}")
        return int(node.value)

    def real(self, field: str, low: float, high: float) -> float | None:
        node = self._value(field)
        if node is None:
            return None
        value = None
        if _kind(node) in ("int", "float"):
            try:
                value = float(node.value)
            except ValueError:
                value = None
        if value is None or not low <= value <= high:
            raise self.wrong(field, f"is {_shown(node)}", f"a number from {low:g} to {high:g}")
        return value

    def section(self, field: str) -> YamlFile | None:
        """A mapping inside this one."""
        node = self._value(field)
        if node is None:
            return None
        return self._inner(node, field, self.lines[field])

    def sections(self, field: str) -> list[YamlFile]:
        """A list of mappings inside this one."""
        node = self._value(field)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.wrong(field, f"is {_kind(node)}", "a list of mappings, each behind a dash")
        items = enumerate(node.value)
        return [self._inner(item, f"{field}[{place}]", _line(item)) for place, item in items]

    def _inner(self, node: yaml.Node, name: str, line: int) -> YamlFile:
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong_at(line, name, f"is {_kind(node)}", "fields, one a line")
        return _mapping(self.path, node, f"{self.where}{name}.", line)

    def _value(self, field: str) -> yaml.Node | None:
        """What is there; null is nothing."""
        node = self.nodes.get(field)
        return None if node is None or _kind(node) == "null" else node

    def _wrong_at(self, line: int, field: str, message: str, expected: str) -> UsageError:
        return _error(self.path, line, f"{self.where}{field}: {message}", expected)


def load(path: Path) -> YamlFile:
    """Read a mapping; raises UsageError that names the line of the mistake."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise _error(path, None, f"cannot be read: {clean(str(error), 120)}") from error
    if len(text) > _MOST_CHARACTERS:
        raise _error(
            path, None, "is too large", f"at most {_MOST_CHARACTERS >> 10} KiB, as of any profile"
        )
    node = _compose(path, text)
    if node is None or _kind(node) == "null":
        return YamlFile(path, {}, {})
    if not isinstance(node, yaml.MappingNode):
        raise _error(path, 1, f"is {_kind(node)}", "fields, one a line")
    return _mapping(path, node, "", 1)


class _Loader(yaml.SafeLoader):
    """Builds small trees of known kinds. Without aliases nothing repeats or contains itself."""

    nodes_seen = 0
    levels = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # PyYAML has no types
        self.nodes_seen += 1
        self.levels += 1
        if self.check_event(yaml.AliasEvent):
            raise ComposerError("alias", None, "there are no aliases here", mark)
        if self.nodes_seen > _MOST_NODES:
            raise ComposerError(None, None, f"there are more than {_MOST_NODES} values", mark)
        if self.levels > _MOST_LEVELS:
            raise ComposerError(None, None, f"there are more than {_MOST_LEVELS} levels", mark)
        node = super().compose_node(parent, index)
        self.levels -= 1
        if node is not None and (problem := _problem(node)):
            raise ComposerError(None, None, problem, mark)
        return node


def _problem(node: yaml.Node) -> str | None:
    """Is it something that no field can be?"""
    if node.tag not in _KINDS:
        return f"the tag {node.tag.replace(_TAGS, '!!')} means nothing here"
    if type(node) is not _CLASSES.get(_kind(node), yaml.ScalarNode):
        return f"this is no {_kind(node)}"
    if isinstance(node, yaml.ScalarNode) and any("\ud800" <= c <= "\udfff" for c in node.value):
        return "this is half a character"
    return None


def _compose(path: Path, text: str) -> yaml.Node | None:
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _error(path, line, f"not valid YAML: {error.reason}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = clean(str(error.problem), 120)
        # Two things that YAML takes a plain text for.
        quotes = None
        if "alias" in str(error.context):
            quotes = "quotes around a text that begins with *"
        elif problem.startswith("mapping values"):
            quotes = "quotes around a text with a colon in it"
        raise _error(path, line, f"not valid YAML: {problem}", quotes) from error
    except (ValueError, OverflowError) as error:
        # PyYAML hands numbers of escapes and directives to Python as they are.
        line = loader.line + 1 if loader else 1
        raise _error(path, line, f"not valid YAML: {clean(str(error), 120)}") from error


def _mapping(path: Path, node: yaml.MappingNode, where: str, line: int) -> YamlFile:
    nodes: dict[str, yaml.Node] = {}
    lines: dict[str, int] = {}
    for key, value in node.value:
        at = _line(key)
        if _kind(key) != "text":
            shown = f"{where}{_shown(key)}"
            raise _error(path, at, f"{shown}: is the name of no field", "a text as its name")
        if key.value in nodes:
            twice = f"is there twice, first in line {lines[key.value]}"
            raise _error(path, at, f"{where}{clean(key.value, 60)}: {twice}")
        nodes[key.value], lines[key.value] = value, at
    return YamlFile(path, nodes, lines, where, line)


def _kind(node: yaml.Node | None) -> str:
    return _KINDS[node.tag] if node is not None else "null"


def _shown(node: yaml.Node) -> str:
    return repr(clean(node.value, 40)) if isinstance(node, yaml.ScalarNode) else _kind(node)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _error(path: Path, line: int | None, message: str, expected: str | None = None) -> UsageError:
    shown = clean(str(path), 300)
    return UsageError(
        f"{shown}{'' if line is None else f':{line}'}: {message}",
        rule="yaml",
        expected=expected,
        fix=f"edit {'' if line is None else f'line {line} of '}{shown}",
    )
