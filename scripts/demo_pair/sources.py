"""The texts that the demo pair learns from: where they come from, and how they are cleaned.

Archives are only read, never unpacked to disk and never executed.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Source:
    """One package whose files are read: `docs` are folders of English, `code` of Python."""

    name: str
    version: str
    licence: str  # SPDX
    takes: str
    code: tuple[str, ...] = ()
    docs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading of a documentation page and the clean paragraphs below it."""

    heading: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a module: what its docstring says it does, and its source, dedented."""

    name: str
    method: bool
    purpose: str  # "returns the number of items", without a period
    text: str


BOTH = "modules and documentation"
SOURCES: tuple[Source, ...] = (
    Source(
        "Django",
        "5.2.19",
        "BSD-3-Clause",
        BOTH,
        ("django",),
        (
            "docs/topics",
            "docs/ref",
            "docs/howto",
            "docs/intro",
            "docs/faq",
            "docs/misc",
            "docs/internals",
        ),
    ),
    Source(
        "Sphinx",
        "9.0.4",
        "BSD-2-Clause",
        BOTH,
        ("sphinx",),
        ("doc/usage", "doc/extdev", "doc/development", "doc/internals", "doc/tutorial", "doc/man"),
    ),
    Source("pytest", "9.2.0", "MIT", BOTH, ("src",), ("doc/en",)),
    Source("Flask", "3.1.3", "BSD-3-Clause", BOTH, ("src",), ("docs",)),
    Source("Werkzeug", "3.1.9", "BSD-3-Clause", BOTH, ("src",), ("docs",)),
    Source("Jinja2", "3.1.6", "BSD-3-Clause", BOTH, ("src",), ("docs",)),
    Source("click", "8.5.1", "BSD-3-Clause", BOTH, ("src",), ("docs",)),
    Source("networkx", "3.6.1", "BSD-3-Clause", BOTH, ("networkx",), ("doc",)),
    Source(
        "sympy",
        "1.14.0",
        "BSD-3-Clause",
        BOTH,
        (
            "sympy/core",
            "sympy/utilities",
            "sympy/combinatorics",
            "sympy/ntheory",
            "sympy/sets",
            "sympy/matrices",
            "sympy/polys",
        ),
        ("doc/src",),
    ),
    Source("Scrapy", "2.19.0", "BSD-3-Clause", BOTH, ("scrapy",), ("docs",)),
    Source("Twisted", "26.10.0", "MIT", BOTH, ("src",), ("docs",)),
    Source("tornado", "6.6.1", "Apache-2.0", BOTH, ("tornado",), ("docs",)),
    Source("alembic", "1.20.1", "MIT", BOTH, ("alembic",), ("docs/build",)),
    Source("attrs", "26.1.0", "MIT", BOTH, ("src",), ("docs",)),
    Source("ipython", "9.18.1", "BSD-3-Clause", BOTH, ("IPython",), ("docs/source",)),
    Source("packaging", "26.4", "Apache-2.0 OR BSD-2-Clause", BOTH, ("src",), ("docs",)),
    Source("kombu", "5.7.0", "BSD-3-Clause", "modules", ("kombu",)),
    Source("celery", "5.7.0", "BSD-3-Clause", "modules", ("celery",)),
    Source("requests", "2.34.2", "Apache-2.0", "modules", ("src",)),
    Source(
        "Pygments",
        "2.21.0",
        "BSD-2-Clause",
        BOTH,
        ("pygments/formatters", "pygments/filters"),
        ("doc/docs",),
    ),
)

SKIPPED_FOLDERS = frozenset(
    ["test", "tests", "testing", "site-packages", "lib2to3", "encodings", "pydoc_data", "turtledemo", "idle_test", "_vendor", "__pycache__", "releases", "changes", "changelog", "release", "whatsnew", "locale", "announce", "_vendored_packages", "roots", "templates_doc", "conf"]
)
SKIPPED_PAGES = re.compile(r"(?i)change|history|news|release|licen[cs]e|authors|requirements|roots")
MAX_MODULE, MIN_MODULE = 60_000, 300


def fetch(folder: Path) -> None:
    """Fetch every source that is not yet in the folder, with the ordinary pip."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        if archive(folder, source) is None:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--no-binary", ":all:", "--dest", str(folder)]
            subprocess.run([*command, f"{source.name}=={source.version}"], check=True)


def archive(folder: Path, source: Source) -> Path | None:
    """Return the archive of the source in the folder, or None where there is none."""
    stem = f"{source.name}-{source.version}".lower().replace("_", "-")
    for path in sorted(folder.iterdir()):
        name = path.name.lower().replace("_", "-")
        if name in (f"{stem}.tar.gz", f"{stem}.zip") or name.startswith(f"{stem}-py"):
            return path
    return None


def members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the regular files of an archive, by their path below its top folder."""
    if path.suffix in (".zip", ".whl"):
        with zipfile.ZipFile(path) as pack:
            for info in pack.infolist():
                if not info.is_dir() and wanted(PurePosixPath(info.filename)):
                    yield PurePosixPath(info.filename), pack.read(info)
        return
    with tarfile.open(path) as tar:
        for member in tar:
            name = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if member.isfile() and wanted(name) and (stream := tar.extractfile(member)):
                yield name, stream.read()


def wanted(name: PurePosixPath) -> bool:
    """Say whether a file is Python or a page, outside the folders that are of no use."""
    return name.suffix in (".py", ".rst", ".txt", ".md") and not SKIPPED_FOLDERS & set(name.parts)


def below(name: PurePosixPath, folders: tuple[str, ...]) -> bool:
    """Say whether a file lies in one of the folders."""
    return any(name.is_relative_to(folder) for folder in folders)


@cache
def modules(folder: Path) -> tuple[str, ...]:
    """Return the source of every usable Python module, of the standard library first."""
    found = []
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        name = PurePosixPath(path.relative_to(library))
        if wanted(name) and not name.name.startswith("test"):
            found.append(path.read_bytes())
    for source in SOURCES:
        pack = archive(folder, source)
        if pack and source.code:
            found += [
                data
                for name, data in members(pack)
                if name.suffix == ".py" and below(name, source.code)
            ]
    return tuple(text for text in map(usable_module, found) if text)


def usable_module(data: bytes) -> str:
    """Return the text of a module worth learning from, or nothing."""
    if not MIN_MODULE < len(data) < MAX_MODULE or not data.isascii() or b"\r" in data:
        return ""
    text = data.decode("ascii").expandtabs(4)
    lines = text.splitlines()
    digits = sum(map(str.isdigit, text))
    if digits > len(text) * 0.08 or max(map(len, lines)) > 160 or any(ord(c) < 10 for c in text):
        return ""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return ""
    return text


@cache
def sections(folder: Path) -> tuple[Section, ...]:
    """Return the sections of the documentation pages that have clean English below them."""
    found = list(topics())
    for source in SOURCES:
        pack = archive(folder, source)
        if pack and source.docs:
            for name, data in members(pack):
                if name.suffix != ".py" and below(name, source.docs):
                    if not SKIPPED_PAGES.search(name.name):
                        text = data.decode("utf-8", "replace")
                        found += markdown(text) if name.suffix == ".md" else restructured(text)
    return tuple(section for section in found if section.paragraphs)


def topics() -> Iterator[Section]:
    """Yield the sections of the language reference that Python carries for its help()."""
    path = Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for value in node.values:
                yield from restructured(str(ast.literal_eval(value)).replace('"', ""))


UNDERLINE = re.compile(r"([=\-~^\"'`*+#.:_])\1{2,}\s*$")
CODE_DIRECTIVE = re.compile(
    r"\s*\.\. (?:\S*code\S*|sourcecode|parsed-literal|doctest|testcode|testoutput|ipython|plot|"
    r"math|toctree|image|figure|table|\S*-table|index|console|literalinclude|include|raw|"
    r"productionlist|graphviz|digraph|prompt|click|contents|currentmodule|_).*"
)


def restructured(text: str) -> Iterator[Section]:
    """Yield the sections of a page in reStructuredText."""
    heading, kept = "", []
    hidden = -1  # what is indented further than this is code
    for block in re.split(r"\n\s*\n", text.expandtabs(8)):
        lines = block.rstrip().splitlines()
        while lines and not lines[0].strip():
            del lines[0]
        if lines and UNDERLINE.fullmatch(lines[0]):
            del lines[0]
        if len(lines) >= 2 and UNDERLINE.fullmatch(lines[1]):
            yield Section(heading, tuple(kept))
            heading, kept = inline(lines[0].strip()), []
            lines = lines[2:]
        if not lines:
            continue
        depth = indent(lines[0])
        if hidden >= 0 and depth > hidden:
            continue
        hidden = -1
        if CODE_DIRECTIVE.fullmatch(lines[0]) or lines[-1].endswith("::"):
            last = depth if CODE_DIRECTIVE.fullmatch(lines[0]) else indent(lines[-1])
            hidden = last
        if paragraph := clean(lines):
            kept.append(paragraph)
    yield Section(heading, tuple(kept))


def markdown(text: str) -> Iterator[Section]:
    """Yield the sections of a page in Markdown."""
    text = re.sub(r"(?ms)^( *)(```+|:::+|~~~+).*?^\1?\2.*?$", "", text)
    text = re.sub(r"\{[\w:-]+\}`", "`", text)
    text = re.sub(r"!?\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    heading, kept = "", []
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip("\n").splitlines()
        if lines and lines[0].startswith("#"):
            yield Section(heading, tuple(kept))
            heading, kept = inline(lines[0].lstrip("# ")), []
            del lines[0]
        if lines and (paragraph := clean(lines)):
            kept.append(paragraph)
    yield Section(heading, tuple(kept))


def indent(line: str) -> int:
    """Return the number of blanks before the line's text."""
    return len(line) - len(line.lstrip())


def clean(lines: list[str]) -> str:
    """Return the block as one line of English, or nothing where it is something else."""
    if len(lines) > 1 and indent(lines[1]) > indent(lines[0]):
        bullet = re.match(r"\s*(?:[*+-]|#\.|\d+\.) ", lines[0])
        lines = lines if bullet else lines[1:]
    if re.match(r"\s*(\.\. |:|\||\+-|>>>|\$ |<|@|#)", lines[0]):
        return ""
    text = " ".join(line.strip() for line in lines)
    if re.search(r"(?<=\S)\s[*+-]\s+[A-Z`]", text):  # a list in one block
        return ""
    text = inline(re.sub(r"^(?:[*+-]|#\.|\d+\.)\s+", "", text))
    return text if english(text) else ""


def english(text: str) -> bool:
    """Say whether the text is one or more whole sentences with few symbols."""
    if not (60 <= len(text) <= 1500 and re.match(r"[A-Z]", text) and re.search(r"[.!?]$", text)):
        return False
    if not text.isascii() or re.search(
        r"[`|<>{}\\=@#~^]|\*\*|://|__|\(\)\.|\]_| [a-z]?_ |::", text
    ):
        return False
    plain = sum(c.isalpha() or c in " ,.'" for c in text)
    return plain >= len(text) * 0.95 and text.count("(") == text.count(")") and " " in text[:25]


REPLACED = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": " - "}
    | {"\u2026": "...", "\u00a0": " ", "\u2192": "->", "\u2011": "-"}
)
MARKUP = (
    (re.compile(r":[\w:+.-]+:`!?~(?:[^`<]*\.)?([^`.<]+)`"), r"\1"),
    (re.compile(r":[\w:+.-]+:`([^`<]*?)\s*<[^>`]*>`"), r"\1"),
    (re.compile(r":[\w:+.-]+:`!?\.?([^`]*)`"), r"\1"),
    (re.compile(r"``([^`]*)``"), r"\1"),
    (re.compile(r"`([^`<]*?)\s*<[^>`]*>`_{0,2}"), r"\1"),
    (re.compile(r"`([^`]*)`_{0,2}"), r"\1"),
    (re.compile(r"\s*\[(?:\d+|#\w*)\]_?"), ""),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])"), r"\1"),
    (re.compile(r"\b([A-Za-z]\w*[a-z])_(?=[\s.,;)]|$)"), r"\1"),
    (re.compile(r"\\(?:\s|(?=\W))"), ""),
    (re.compile(r"::(?=\s|$)"), ":"),
    (re.compile(r"\s+"), " "),
)


def inline(text: str) -> str:
    """Return the text without inline markup, in ASCII where that is possible."""
    text = unicodedata.normalize("NFKC", text.translate(REPLACED))
    for pattern, plain in MARKUP:
        text = pattern.sub(plain, text)
    return text.strip()


VERBS = frozenset(
    ["add", "append", "apply", "build", "calculate", "call", "change", "check", "clean", "clear", "close", "collect", "combine", "compare", "compute", "construct", "convert", "copy", "count", "create", "decode", "delete", "determine", "display", "encode", "ensure", "escape", "evaluate", "execute", "expand", "extract", "fetch", "fill", "filter", "find", "flatten", "format", "generate", "get", "give", "handle", "insert", "iterate", "join", "list", "load", "look", "make", "map", "mark", "match", "merge", "move", "multiply", "normalize", "open", "parse", "perform", "pop", "prepare", "print", "process", "produce", "provide", "put", "quote", "raise", "read", "register", "remove", "rename", "render", "replace", "report", "reset", "resolve", "retrieve", "return", "reverse", "run", "save", "search", "select", "send", "set", "show", "skip", "sort", "split", "start", "stop", "store", "strip", "swap", "test", "transform", "translate", "truncate", "turn", "update", "validate", "verify", "wait", "walk", "wrap", "write", "yield"]
)
PLAIN_DECORATORS = frozenset({"staticmethod", "classmethod", "property"})
MAX_FUNCTION = 900


@cache
def functions(folder: Path) -> tuple[Function, ...]:
    """Return the short functions whose docstring begins with what they do."""
    found: dict[str, Function] = {}
    for text in modules(folder):
        tree = ast.parse(text)
        for parent in ast.walk(tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, ast.FunctionDef):
                    function = usable_function(node, text, isinstance(parent, ast.ClassDef))
                    if function:
                        found.setdefault(function.text, function)
    return tuple(found.values())


def usable_function(node: ast.FunctionDef, module: str, method: bool) -> Function | None:
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
    lines = module.splitlines()
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
    return f"{imperative(verb).capitalize()} {rest}."
