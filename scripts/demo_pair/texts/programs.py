"""Generated chats about Python: small tasks with correct answers.

The tasks lie in functions.txt, one a block: what the function does in several phrasings, its
names, its parameters with their other names, the body, and an example in doctest form.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from demo_pair.texts.library import Function, compiles
from demo_pair.texts.verbs import imperative_docstring
from demo_pair.texts.words import Pair, joined, weighted

# fmt: off
ASKED = (
    ("Write a Python function that {p}.", 10), ("Write a Python function that {p}", 5),
    ("Please write a Python function that {p}.", 2), ("Write a function in Python that {p}.", 2),
    ("Implement a Python function that {p}.", 2), ("Create a Python function that {p}.", 2),
    ("Give me Python code that {p}.", 1), ("Give me a Python function that {p}", 1),
    ("Write Python code that {p}.", 1), ("I need a Python function that {p}.", 1),
    ("Can you write a Python function that {p}?", 1), ("Python function that {p}", 1),
    ("Show me a Python function that {p}.", 1), ("write a python function that {p}", 2),
    ("Define a Python function that {p}.", 1), ("Write a short Python function that {p}.", 1),
)
ASKED_BY_NAME = (
    "Write a Python function called {f} that {p}.", "Write a Python function {f} that {p}.",
    "Implement a Python function called {f} that {p}.", "Define a function {f} in Python that {p}.",
    "Write a Python function named {f} that {p}", "Please write a function {f} that {p}.",
)
ASKED_METHOD = (
    "Write a Python method that {p}.", "Write a Python method called {f} that {p}.",
    "Implement a Python method that {p}.", "Write a method {f} that {p}.",
    "Write the method {f} of a Python class that {p}.",
)
UNITS = (
    ("meters", "feet", "* 3.28084"), ("feet", "meters", "* 0.3048"),
    ("kilometers", "miles", "* 0.621371"), ("miles", "kilometers", "* 1.609344"),
    ("inches", "centimeters", "* 2.54"), ("centimeters", "inches", "/ 2.54"),
    ("kilograms", "pounds", "* 2.20462"), ("pounds", "kilograms", "* 0.453592"),
    ("liters", "gallons", "* 0.264172"), ("gallons", "liters", "* 3.78541"),
    ("hours", "minutes", "* 60"), ("minutes", "seconds", "* 60"), ("days", "hours", "* 24"),
    ("seconds", "minutes", "/ 60"), ("minutes", "hours", "/ 60"), ("weeks", "days", "* 7"),
    ("megabytes", "bytes", "* 1024 * 1024"), ("bytes", "kilobytes", "/ 1024"),
    ("kilobytes", "megabytes", "/ 1024"), ("grams", "kilograms", "/ 1000"),
    ("kilometers", "meters", "* 1000"), ("meters", "centimeters", "* 100"),
    ("celsius", "fahrenheit", "* 9 / 5 + 32"), ("celsius", "kelvin", "+ 273.15"),
    ("kelvin", "celsius", "- 273.15"), ("euros", "cents", "* 100"), ("cents", "dollars", "/ 100"),
)
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five")
OPERATIONS = (("adds", "+", "add"), ("multiplies", "*", "multiply"))
PARAMETERS = (tuple("abcd"), tuple("xyzw"), ("first", "second", "third", "fourth"))
NOUNS = (
    "book", "user", "car", "student", "order", "product", "city", "employee", "account", "movie",
    "song", "player", "house", "invoice", "message", "task", "course", "server", "device", "ticket",
    "customer", "recipe", "animal", "dog", "planet", "shop", "team", "game", "flight", "hotel",
)
HELD_NOUNS = ("bridge", "museum", "bicycle", "violin", "garden", "rocket", "island", "newspaper")
FIELDS = (
    ("name", "str"), ("title", "str"), ("price", "float"), ("quantity", "int"), ("age", "int"),
    ("email", "str"), ("color", "str"), ("weight", "float"), ("year", "int"), ("status", "str"),
    ("rating", "float"), ("active", "bool"), ("owner", "str"), ("city", "str"), ("size", "int"),
    ("score", "int"), ("length", "float"), ("tags", "list[str]"), ("balance", "float"),
    ("country", "str"), ("level", "int"), ("code", "str"), ("speed", "float"), ("address", "str"),
)
SHOWN = ("add", "multiply", "markdown_table_to_csv", "reverse_string", "is_palindrome")
CONDITIONS = (
    ("greater than {n}", "> {n}", "above_{n}"), ("less than {n}", "< {n}", "below_{n}"),
    ("divisible by {n}", "% {n} == 0", "divisible_by_{n}"),
    ("equal to {n}", "== {n}", "equal_to_{n}"),
    ("at least {n}", ">= {n}", "at_least_{n}"), ("not {n}", "!= {n}", "without_{n}"),
)
OPTIONS = (
    ("verbose", "", "print more details"), ("output", "str", "the file to write"),
    ("count", "int", "how many times to repeat"), ("name", "str", "the name to use"),
    ("port", "int", "the port to listen on"), ("host", "str", "the host to connect to"),
    ("limit", "int", "the largest number of results"), ("quiet", "", "print nothing"),
    ("format", "str", "the format of the output"), ("timeout", "float", "seconds to wait"),
    ("force", "", "overwrite existing files"), ("input", "str", "the file to read"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Task:
    """A block of functions.txt."""

    purposes: tuple[str, ...]
    names: tuple[str, ...]
    parameters: tuple[tuple[tuple[str, ...], str], ...]
    result: str
    body: str
    call: str
    value: str


@cache
def tasks() -> tuple[Task, ...]:
    """Return the tasks of functions.txt."""
    text = Path(__file__).with_name("functions.txt").read_text("ascii")
    return tuple(map(read_task, text.strip().split("\n\n")))


def read_task(block: str) -> Task:
    """Return the task that a block describes."""
    purposes, names, signature, *rest = block.splitlines()
    given, _, result = signature.partition("->")
    parameters = []
    for item in re.split(r",\s*(?![^\[]*\])", given.strip()):
        if item:
            variants, _, kind = item.partition(":")
            parameters.append((tuple(variants.split("|")), kind.strip()))
    call = value = ""
    if len(rest) > 2 and rest[-2].startswith(">>> "):
        call, value = rest[-2][4:], rest[-1]
        rest = rest[:-2]
    said, called = tuple(purposes.split(" / ")), tuple(names.split(" / "))
    body = "\n".join(rest)
    return Task(said, called, tuple(parameters), result.strip(), body, call, value)


@dataclass(frozen=True, slots=True)
class Style:
    """How an answer is written; what is not the default is said in the prompt."""

    hints: bool = True
    docstring: bool = True
    example: bool = False

    @property
    def wish(self) -> str:
        wishes = []
        if not self.hints:
            wishes.append("Do not use type hints.")
        if not self.docstring:
            wishes.append("Leave out the docstring.")
        if self.example:
            wishes.append("Add an example.")
        return " ".join(wishes)


def render(task: Task, purpose: str, name: str, variant: int, style: Style) -> str:
    """Return the source of a task's function."""
    names = {"f": name}
    signature = []
    for variants, kind in task.parameters:
        chosen = variants[variant % len(variants)]
        names[variants[0]] = chosen
        signature.append(f"{chosen}: {kind}" if style.hints and kind else chosen)
    arrow = f" -> {task.result}" if style.hints and task.result else ""
    body = Template(task.body).substitute(names).splitlines()
    imports = []
    while re.match(r"    (?:import|from) ", body[0]):
        imports.append(body.pop(0).strip())
    if style.hints and any(kind == "Callable" for _, kind in task.parameters):
        imports.insert(0, "from collections.abc import Callable")
    lines = [*imports, "", ""] if imports else []
    lines.append(f"def {name}({', '.join(signature)}){arrow}:")
    if style.docstring:
        lines.append(f'    """{imperative_docstring(purpose)}"""')
    lines += body
    shown = example(task, name)
    if style.example and shown:
        lines += ["", "", shown]
    return "\n".join(lines)


def example(task: Task, name: str) -> str:
    """Return a line that prints what the function returns, or nothing where it has no example."""
    if not task.call or "\\n" in task.value:
        return ""
    return f"print({Template(task.call).substitute(f=name)})  # {ast.literal_eval(task.value)}"


def asked(rng: random.Random, purpose: str, name: str, default: bool, style: Style) -> str:
    """Return a prompt for a function; its name is said where it is not the usual one."""
    phrase = weighted(rng, ASKED) if default else rng.choice(ASKED_BY_NAME)
    prompt = phrase.format(p=purpose, f=name)
    if style.wish:
        prompt = prompt if prompt.endswith((".", "?")) else f"{prompt}."
        prompt = f"{prompt} {style.wish}"
    return prompt


def random_style(rng: random.Random) -> Style:
    """Return a style, most often the default one."""
    if rng.random() < 0.6:
        return Style()
    return Style(rng.random() < 0.6, rng.random() < 0.6, rng.random() < 0.5)


def fenced(text: str) -> str:
    """Return the text as a block of Python."""
    return f"```python\n{text}\n```"


def written(rng: random.Random) -> Pair:
    """Return a chat about one of the tasks in functions.txt."""
    name = rng.choice(SHOWN) if rng.random() < 0.12 else ""
    shown = [task for task in tasks() if name in ("", task.names[0])]
    return chat(rng, rng.choice(shown))


def chat(rng: random.Random, task: Task) -> Pair:
    """Return a chat about a task, in some phrasing and style."""
    style = random_style(rng)
    if style.example and not example(task, task.names[0]):
        style = Style(style.hints, style.docstring)
    purpose = rng.choice(task.purposes)
    name = task.names[0] if rng.random() < 0.6 else rng.choice(task.names)
    default = name == task.names[0] and rng.random() < 0.8
    variant = 0 if rng.random() < 0.8 else rng.randrange(4)
    prompt = asked(rng, purpose, name, default, style)
    if variant and task.parameters and len(task.parameters[0][0]) > 1:
        chosen = [variants[variant % len(variants)] for variants, _ in task.parameters]
        prompt = prompt if prompt.endswith((".", "?")) else f"{prompt}."
        plural = "s" if len(chosen) > 1 else ""
        prompt += f" Use the parameter{plural} {joined(chosen)}."
    return prompt, fenced(render(task, purpose, name, variant, style))


def conversion(rng: random.Random) -> Pair:
    """Return a chat about a conversion of units."""
    source, target, formula = rng.choice(UNITS)
    purpose = f"converts {source} to {target}"
    body = f"    return ${source} {formula}"
    task = Task(
        (purpose, purpose, f"takes {source} and returns {target}"),
        (f"{source}_to_{target}", f"convert_{source}_to_{target}"),
        (((source, "value", "amount"), "float"),), "float", body, "", "",
    )  # fmt: skip
    return chat(rng, task)


def arithmetic(rng: random.Random) -> Pair:
    """Return a chat about adding or multiplying three or four numbers."""
    verb, sign, name = rng.choice(OPERATIONS)
    count = rng.choice((3, 3, 4))
    word = NUMBER_WORDS[count]
    values = [rng.randint(1, 9) for _ in range(count)]
    call = f"$f({', '.join(map(str, values))})"
    result = sum(values)
    if sign == "*":
        result = 1
        for value in values:
            result *= value
    noun = {"+": "sum", "*": "product"}[sign]
    task = Task(
        (f"{verb} {word} numbers", f"returns the {noun} of {word} numbers"),
        (f"{name}_{word}", f"{name}_numbers"),
        tuple((tuple(row[index] for row in PARAMETERS), "float") for index in range(count)),
        "float", "    return " + f" {sign} ".join(f"${PARAMETERS[0][i]}" for i in range(count)),
        call, str(result),
    )  # fmt: skip
    return chat(rng, task)


def filtering(rng: random.Random) -> Pair:
    """Return a chat about choosing, counting or checking numbers by a condition."""
    words, test, suffix = rng.choice(CONDITIONS)
    n = rng.randint(2, 60)
    words, test, suffix = words.format(n=n), test.format(n=n), suffix.format(n=n)
    kind = rng.randrange(3)
    numbers = (("numbers", "values", "items"), "list[int]")
    if kind == 0:
        purposes: tuple[str, ...] = (f"returns the numbers of a list that are {words}",)
        body = f"    return [number for number in $numbers if number {test}]"
        task = Task(purposes, (f"numbers_{suffix}",), (numbers,), "list[int]", body, "", "")
    elif kind == 1:
        purposes = (f"counts the numbers in a list that are {words}",)
        body = f"    return sum(1 for number in $numbers if number {test})"
        task = Task(purposes, (f"count_{suffix}",), (numbers,), "int", body, "", "")
    else:
        purposes = (f"checks whether a number is {words}", f"returns True if a number is {words}")
        one = ((("number", "n", "value"), "int"),)
        task = Task(purposes, (f"is_{suffix}",), one, "bool", f"    return $number {test}", "", "")
    return chat(rng, task)


def class_prompt(rng: random.Random, noun: str, names: list[str], what: str) -> str:
    """Return a prompt for a class of a noun with some fields."""
    article = "an" if noun[0] in "aeiou" else "a"
    phrases = (
        f"Write a Python {what} for {article} {noun} with {joined(names)}.",
        f"Write a Python {what} {noun.capitalize()} with the fields {joined(names)}.",
        f"Create a {what} in Python that describes {article} {noun} with {joined(names)}.",
        f"Define a Python {what} called {noun.capitalize()} with {joined(names)}.",
        f"write a python {what} for {article} {noun} with {joined(names)}",
    )
    return rng.choice(phrases)


def some_fields(rng: random.Random) -> list[tuple[str, str]]:
    """Return two to four fields for a class."""
    return rng.sample(FIELDS, rng.randint(2, 4))


def plain_class(rng: random.Random) -> Pair:
    """Return a chat about a class with __init__ and __str__ or a property."""
    noun, fields = rng.choice(NOUNS), some_fields(rng)
    names = [name for name, _ in fields]
    prompt = class_prompt(rng, noun, names, "class")
    signature = ", ".join(f"{name}: {kind}" for name, kind in fields)
    lines = [f"class {noun.capitalize()}:", f"    def __init__(self, {signature}) -> None:"]
    lines += [f"        self.{name} = {name}" for name in names]
    shown = ", ".join(f"{name}={{self.{name}!r}}" for name in names)
    lines += ["", "    def __repr__(self) -> str:"]
    lines.append(f'        return f"{noun.capitalize()}({shown})"')
    return prompt, fenced("\n".join(lines))


def data_class(rng: random.Random) -> Pair:
    """Return a chat about a dataclass."""
    noun, fields = rng.choice(NOUNS), some_fields(rng)
    prompt = class_prompt(rng, noun, [name for name, _ in fields], "dataclass")
    lines = ["from dataclasses import dataclass", "", "", "@dataclass"]
    lines += [f"class {noun.capitalize()}:", *(f"    {name}: {kind}" for name, kind in fields)]
    return prompt, fenced("\n".join(lines))


def script(rng: random.Random) -> Pair:
    """Return a chat about a command line program with argparse."""
    options = rng.sample(OPTIONS, rng.randint(1, 3))
    names = [f"--{name}" for name, _, _ in options]
    noun = "option" if len(names) == 1 else "options"
    prompt = rng.choice((
        f"Write a Python script with argparse that takes the {noun} {joined(names)}.",
        f"Write a Python program that parses the {noun} {joined(names)} with argparse.",
        f"Show me how to use argparse with the {noun} {joined(names)}.",
    ))  # fmt: skip
    lines = ["import argparse", "", "", "def main() -> None:"]
    lines.append("    parser = argparse.ArgumentParser()")
    for name, kind, text in options:
        how = f"type={kind}" if kind else 'action="store_true"'
        lines.append(f'    parser.add_argument("--{name}", {how}, help="{text}")')
    lines += [
        "    args = parser.parse_args()",
        *(f"    print(args.{name})" for name, _, _ in options),
    ]
    lines += ["", "", 'if __name__ == "__main__":', "    main()"]
    return prompt, fenced("\n".join(lines))


def from_source(rng: random.Random, found: tuple[Function, ...]) -> Pair:
    """Return a chat about a function of the sources."""
    function = rng.choice(found)
    if function.method:
        phrase = rng.choice(ASKED_METHOD)
    elif function.name.startswith("_") or rng.random() < 0.5:
        phrase = weighted(rng, ASKED)
    else:
        phrase = rng.choice(ASKED_BY_NAME)
    return phrase.format(p=function.purpose, f=function.name), fenced(function.text)


MAKERS: tuple[tuple[Callable[[random.Random], Pair], int], ...] = (
    (written, 12), (conversion, 2), (arithmetic, 1), (filtering, 2), (plain_class, 2),
    (data_class, 2), (script, 1),
)  # fmt: skip


def code(rng: random.Random, found: tuple[Function, ...]) -> Pair:
    """Return a chat about Python: of the sources, or generated."""
    if found and rng.random() < 0.35:
        return from_source(rng, found)
    makers = [maker for maker, _ in MAKERS]
    return rng.choices(makers, [weight for _, weight in MAKERS])[0](rng)


def valid(answer: str) -> bool:
    """Say whether the answer is one block of Python that compiles."""
    match = re.fullmatch(r"```python\n(.*)\n```", answer, re.DOTALL)
    return bool(match and compiles(match[1]))
