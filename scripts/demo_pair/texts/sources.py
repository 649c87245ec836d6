"""The texts that the demo pair learns from: where they come from, and how they are cleaned.

Archives are read in place, and nothing in them is run here. pip, which fetches them, runs the build
of each for its metadata, as it always does.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from demo_pair.texts.markup import Section, markdown, restructured


@dataclass(frozen=True, slots=True)
class Source:
    """One package whose files are read: `docs` are folders of English, `code` of Python.

    Licences are SPDX expressions; the documentation has that of the package if not its own.
    """

    name: str
    version: str
    licence: str
    code: tuple[str, ...] = ()
    docs: tuple[str, ...] = ()
    docs_licence: str | None = None


SOURCES: tuple[Source, ...] = (
    Source(
        "Django",
        "5.2.19",
        "BSD-3-Clause",
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
        ("sphinx",),
        ("doc/usage", "doc/extdev", "doc/development", "doc/internals", "doc/tutorial", "doc/man"),
    ),
    Source("pytest", "9.2.0", "MIT", ("src",), ("doc/en",)),
    Source("Flask", "3.1.3", "BSD-3-Clause", ("src",), ("docs",)),
    Source("Werkzeug", "3.1.9", "BSD-3-Clause", ("src",), ("docs",)),
    Source("Jinja2", "3.1.6", "BSD-3-Clause", ("src",), ("docs",)),
    Source("click", "8.5.1", "BSD-3-Clause", ("src",), ("docs",)),
    Source("networkx", "3.6.1", "BSD-3-Clause", ("networkx",), ("doc",)),
    Source(
        "sympy",
        "1.14.0",
        "BSD-3-Clause",
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
    Source("Scrapy", "2.19.0", "BSD-3-Clause", ("scrapy",), ("docs",)),
    Source("Twisted", "26.10.0", "MIT", ("src",), ("docs",)),
    Source("tornado", "6.6.1", "Apache-2.0", ("tornado",), ("docs",), "CC-BY-3.0"),
    Source("alembic", "1.20.1", "MIT", ("alembic",), ("docs/build",)),
    Source("attrs", "26.1.0", "MIT", ("src",), ("docs",)),
    Source("ipython", "9.18.1", "BSD-3-Clause", ("IPython",), ("docs/source",), "CC-BY-4.0"),
    Source("packaging", "26.4", "Apache-2.0 OR BSD-2-Clause", ("src",), ("docs",)),
    Source("kombu", "5.7.0", "BSD-3-Clause", ("kombu",)),
    Source("celery", "5.7.0", "BSD-3-Clause", ("celery",)),
    Source("requests", "2.34.2", "Apache-2.0", ("src",)),
    Source(
        "Pygments",
        "2.21.0",
        "BSD-2-Clause",
        ("pygments/formatters", "pygments/filters"),
        ("doc/docs",),
    ),
)

# fmt: off
SKIPPED_FOLDERS = frozenset((
    "test", "tests", "testing", "site-packages", "lib2to3", "encodings", "pydoc_data",
    "turtledemo", "idle_test", "_vendor", "__pycache__", "releases", "changes", "changelog",
    "release", "whatsnew", "locale", "announce", "_vendored_packages", "roots", "templates_doc",
    "conf",
))
# fmt: on
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
        if name == f"{stem}.tar.gz":
            return path
    return None


def members(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield the regular files of an archive, by their path below its top folder."""
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
                if name.suffix == ".py" or not below(name, source.docs):
                    continue
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
