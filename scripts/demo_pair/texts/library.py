"""Functions and docstrings out of the Python sources."""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from demo_pair.texts.markup import restructured
from demo_pair.texts.sources import modules
from demo_pair.texts.verbs import imperative_docstring, third_person


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a module: what its docstring says it does, and its source, dedented."""

    name: str
    method: bool
    purpose: str  # "returns the number of items", without a period
    text: str


PLAIN_DECORATORS = frozenset({"staticmethod", "classmethod", "property"})
MAX_FUNCTION = 900


@cache
def functions(folder: Path) -> tuple[Function, ...]:
    """Return the short functions whose docstring begins with what they do."""
    found: dict[str, Function] = {}
    for text in modules(folder):
        lines = text.splitlines()
        for parent in ast.walk(ast.parse(text)):
            if isinstance(parent, ast.Module | ast.ClassDef):
                for node in parent.body:
                    if isinstance(node, ast.FunctionDef):
                        function = usable_function(node, lines, isinstance(parent, ast.ClassDef))
                        if function:
                            found.setdefault(function.text, function)
    return tuple(found.values())


@cache
def docstrings(folder: Path) -> tuple[str, ...]:
    """Return the clean paragraphs in the docstrings of the modules."""
    found: dict[str, None] = {}
    for text in modules(folder):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for section in restructured(ast.get_docstring(node) or ""):
                    found.update(dict.fromkeys(section.paragraphs))
    return tuple(found)


def usable_function(node: ast.FunctionDef, lines: list[str], method: bool) -> Function | None:
    """Return the function with its docstring cut to one line, or None where it is of no use."""
    docstring = ast.get_docstring(node)
    if not docstring or len(node.body) < 2 or node.name.startswith("__"):
        return None
    names = {
        decorator.id if isinstance(decorator, ast.Name) else "" for decorator in node.decorator_list
    }
    purpose = third_person(docstring)
    if (
        not purpose
        or not names <= PLAIN_DECORATORS
        or isinstance(node.body[1], ast.Raise | ast.Pass)
    ):
        return None
    first = min([node.lineno, *(item.lineno for item in node.decorator_list)]) - 1
    doc = node.body[0]
    body = lines[(doc.end_lineno or doc.lineno) : node.end_lineno]
    while body and not body[0].strip():
        del body[0]
    if not 1 <= len(body) <= 36 or doc.lineno <= node.lineno:
        return None
    sentence = imperative_docstring(purpose)
    blanks = " " * doc.col_offset
    text = "\n".join([*lines[first : doc.lineno - 1], f'{blanks}"""{sentence}"""', *body])
    text = textwrap.dedent(text)
    if len(text) > MAX_FUNCTION or max(map(len, text.splitlines())) > 90 or not compiles(text):
        return None
    return Function(node.name, method, purpose, text)


def compiles(text: str) -> bool:
    """Say whether the text is Python."""
    try:
        compile(text, "text", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True
