"""YAML mappings with the line of every field, so that an error can name it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmtp.errors import UsageError
from llmtp.text import clean, near_names

_MOST_CHARACTERS = 1 << 20


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A top-level mapping of plain values."""

    path: Path
    values: dict[str, Any]
    lines: dict[str, int]

    def wrong(self, field: str, message: str, expected: str) -> UsageError:
        """An error that names file, line and field."""
        line = self.lines.get(field, 1)
        return UsageError(
            f"{self.path}:{line}: {field}: {message}",
            rule="yaml",
            expected=expected,
            fix=f"edit line {line} of {self.path}",
        )

    def only(self, allowed: set[str]) -> None:
        """Refuse fields that nobody reads."""
        for field in self.values:
            if field not in allowed:
                hint = near_names(field, allowed)
                raise self.wrong(
                    clean(field),
                    "unknown field" + (f"; {hint}" if hint else ""),
                    "one of " + ", ".join(sorted(allowed)),
                )

    def text(self, field: str) -> str | None:
        value = self.values.get(field)
        if value is not None and not isinstance(value, str):
            raise self.wrong(field, f"is {type(value).__name__}", "a text")
        return value

    def number(self, field: str, low: int, high: int) -> int | None:
        value = self.values.get(field)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(
                field, f"is {clean(str(value), 40)!r}", f"a whole number from {low} to {high}"
            )
        return value


def load(path: Path) -> YamlFile:
    """Read a mapping; raises UsageError that names the line of the mistake."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_CHARACTERS)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        values = None if node is None else loader.construct_document(node)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: cannot be read: {clean(str(error), 120)}", rule="yaml", fix=f"check {path}"
        ) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(
            f"{path}:{line}: not valid YAML: {error.problem}",
            rule="yaml",
            fix=f"edit line {line} of {path}",
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # PyYAML builds dates and numbers with Python's own constructors, which raise ValueError.
        raise UsageError(
            f"{path}: not valid YAML: {clean(str(error), 120)}", rule="yaml", fix=f"edit {path}"
        ) from error
    if values is None:
        return YamlFile(path, {}, {})
    if not isinstance(node, yaml.MappingNode) or not isinstance(values, dict):
        raise UsageError(
            f"{path}:1: is {type(values).__name__}",
            rule="yaml",
            expected="fields, one a line",
            fix=f"edit {path}",
        )
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            raise UsageError(
                f"{path}:{line}: {clean(name, 60)}: is there twice, first in line {lines[name]}",
                rule="yaml",
                fix=f"edit line {line} of {path}",
            )
        lines[name] = line
    return YamlFile(path, {str(key): value for key, value in values.items()}, lines)
