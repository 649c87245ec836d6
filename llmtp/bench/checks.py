"""Does a structured answer have the form that was asked for? By form alone: no code is run."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Mapping

_FENCED = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_ITEM = re.compile(r"^\W{0,6}(?:(?:step|item)\s+)?(\d{1,2})\W", re.IGNORECASE)
_FIELDS = ("problem", "command", "judgment|judgement|criteria")
_MOST_CHARACTERS = 100_000


def python_compiles(answer: str) -> str | None:
    """Why it does not, or None. All of its fenced blocks together, or all of it."""
    blocks = [block for block in _FENCED.findall(answer) if block.strip()]
    code = "\n".join(blocks) if blocks else answer
    if not code.strip():
        return "the answer is empty"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
            compile(tree, "<answer>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    if not any(isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) for one in ast.walk(tree)):
        return "it defines no function"
    return None


def json_parses(answer: str) -> str | None:
    """Why it does not, or None. A fence around it is let pass, other words are not."""
    fenced = _FENCED.search(answer)
    try:
        value = json.loads(fenced[1] if fenced else answer, parse_constant=_no_constant)
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    return None if isinstance(value, dict | list) else "it is neither an object nor a list"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def five_items(answer: str) -> str | None:
    """Why there are not five numbered items with problem, command and criteria each, or None."""
    items: list[list[str]] = []
    for line in answer.splitlines():
        found = _ITEM.match(line.strip())
        if found and int(found[1]) == len(items) + 1:
            items.append([])
        if items:
            items[-1].append(line)
    if len(items) != 5:
        return f"{len(items)} numbered items, not 5"
    for number, lines in enumerate(items, 1):
        text = "\n".join(lines).lower()
        missing = [field for field in _FIELDS if not re.search(field, text)]
        if missing:
            return f"item {number} lacks {missing[0].partition('|')[0]}"
    return None


#: By workload: what is checked, and how.
CHECKS: Mapping[str, tuple[str, Callable[[str], str | None]]] = {
    "code": ("Python that compiles", python_compiles),
    "json": ("JSON that parses", json_parses),
    "list": ("five items of three fields", five_items),
}


def check(workload: str, answer: str) -> str | None:
    """Why the answer lacks the form, or None where it has it."""
    _, judge = CHECKS[workload]
    return judge(answer[:_MOST_CHARACTERS])
