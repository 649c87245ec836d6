"""What functions do, as a prompt and as a docstring say it."""

from __future__ import annotations

import re

from demo_pair.texts.markup import inline

# fmt: off
VERBS = frozenset((
    "add", "append", "apply", "build", "calculate", "call", "change", "check", "clean", "clear",
    "close", "collect", "combine", "compare", "compute", "construct", "convert", "copy",
    "count", "create", "decode", "delete", "determine", "display", "encode", "ensure", "escape",
    "evaluate", "execute", "expand", "extract", "fetch", "fill", "filter", "find", "flatten",
    "format", "generate", "get", "give", "handle", "insert", "iterate", "join", "list", "load",
    "look", "make", "map", "mark", "match", "merge", "move", "multiply", "normalize", "open",
    "parse", "perform", "pop", "prepare", "print", "process", "produce", "provide", "put",
    "quote", "raise", "read", "register", "remove", "rename", "render", "replace", "report",
    "reset", "resolve", "retrieve", "return", "reverse", "run", "save", "search", "select",
    "send", "set", "show", "skip", "sort", "split", "start", "stop", "store", "strip", "swap",
    "test", "transform", "translate", "truncate", "turn", "update", "validate", "verify",
    "wait", "walk", "wrap", "write", "yield",
))
# fmt: on


def third_person(docstring: str) -> str:
    """Return the docstring's first sentence as what a function does: "returns the sum"."""
    sentence = re.split(r"(?<=[a-z)])\.(?:\s|$)|\n\s*\n|[:;](?:\s|$)", docstring.strip())[0]
    sentence = inline(sentence).strip().rstrip(".")
    verb, _, rest = sentence.partition(" ")
    base = imperative(verb.lower())
    if base not in VERBS or not 12 <= len(rest) <= 90 or not verb[0].isupper():
        return ""
    if not rest.isascii() or re.search(r"[`|<>{}\\=@#~^\[\]*\"]|__|\.\.|\bself\b| >|\($", rest):
        return ""
    if rest.count("(") != rest.count(")") or re.search(r"\b(?:the|a|of|to|and|or|is|this)$", rest):
        return ""
    return f"{conjugated(base)} {rest}"


def conjugated(verb: str) -> str:
    """Return the third person of a verb: "returns" of "return"."""
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + ("es" if re.search(r"(?:s|sh|ch|x|z|o)$", verb) else "s")


def imperative(verb: str) -> str:
    """Return a verb without the ending of its third person: "return" of "returns"."""
    if verb.endswith("ies"):
        return verb[:-3] + "y"
    if re.search(r"(?:ss|sh|ch|x|zz)es$", verb):
        return verb[:-2]
    return verb[:-1] if verb.endswith("s") and not verb.endswith("ss") else verb


def imperative_docstring(purpose: str) -> str:
    """Return a docstring that says the purpose: "Return the sum."."""
    verb, _, rest = purpose.partition(" ")
    rest = re.sub(r"(?<= and )[a-z]+s(?= )", second_verb, rest)
    return f"{imperative(verb).capitalize()} {rest}."


def second_verb(match: re.Match[str]) -> str:
    """Return the word after "and" without its ending, where it is a verb."""
    base = imperative(match[0])
    return base if base in VERBS | {"keep"} else match[0]
