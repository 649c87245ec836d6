"""Profiles: the short names, and which files belong to them."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmtp import paths
from llmtp.config import check_folder
from llmtp.errors import NotFoundError, UsageError
from llmtp.hubname import PREFIX, HubName, parse_hub_name
from llmtp.published import PublishedShape, read_shape
from llmtp.text import clean, near_names

if TYPE_CHECKING:
    from llmtp.yamlfile import YamlFile

_FIELDS = {"description", "main", "draft", "n_max", "sources", "shape", "sampling", "vllm",
           "engine", "notes"}  # fmt: skip
_SOURCE_FIELDS = {"repository", "qat", "main", "draft", "mmproj", "quants"}
_REPOSITORY = "OWNER/REPO or OWNER/REPO@REVISION"
_QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_LONGEST_PATTERN = 200


@dataclass(frozen=True, slots=True)
class Source:
    """One repository of a release. Patterns are shell patterns over names of files, case ignored.

    Without `main` it is only good for drafters. `quants` are the tags of its main files, best
    first. One repository may be several sources, with other quants.
    """

    repository: HubName
    qat: bool
    main: tuple[str, ...]
    draft: tuple[str, ...]
    mmproj: tuple[str, ...]
    quants: tuple[str, ...]

    def is_main(self, name: str) -> bool:
        """By its name only, as the two below: the header decides."""
        return matches(name, self.main) and not self.is_draft(name) and not self.is_mmproj(name)

    def is_draft(self, name: str) -> bool:
        return matches(name, self.draft)

    def is_mmproj(self, name: str) -> bool:
        return matches(name, self.mmproj)

    def to_dict(self) -> dict[str, Any]:
        repository = {"repository": self.repository.repo_id, "revision": self.repository.revision}
        return asdict(self) | repository


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the makers of a model recommend; None is up to the engine."""

    temp: float | None = None
    top_k: int | None = None
    top_p: float | None = None


@dataclass(frozen=True, slots=True)
class VllmIds:
    """OWNER/REPO of the safetensors that vLLM serves, or paths of folders, from that of the profile
    if they begin with a dot; `quantised` is a smaller main model, with an assistant of its own or
    the same."""

    model: str
    assistant: str
    quantised: str | None = None
    quantised_assistant: str | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """A name such as `demo`: one main model and its drafter, or `sources` to choose them from.

    Paths are absolute. `n_max` 0 is MTP off, None is up to the plan. `engine` serves it where
    nobody asks for another one.
    """

    name: str
    source: Path
    description: str
    main: Path | HubName | None
    draft: Path | HubName | None
    n_max: int | None
    sources: tuple[Source, ...]
    shape: PublishedShape | None
    sampling: Sampling
    vllm: VllmIds | None
    engine: Literal["llama-server", "vllm"] | None
    notes: str | None

    @property
    def origin(self) -> Literal["shipped", "yours"]:
        return origin(self.source)

    def to_dict(self) -> dict[str, Any]:
        """The `data` of `profiles show --json`."""
        return {
            "name": self.name,
            "origin": self.origin,
            "path": str(self.source),
            "description": self.description,
            "main": str(self.main) if self.main else None,
            "draft": str(self.draft) if self.draft else None,
            "n_max": self.n_max,
            "sources": [source.to_dict() for source in self.sources],
            "shape": asdict(self.shape) if self.shape else None,
            "sampling": asdict(self.sampling),
            "vllm": asdict(self.vllm) if self.vllm else None,
            "engine": self.engine,
            "notes": self.notes,
        }


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Does a name of a file, with its folders, fit one of the patterns?"""
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def user_dir() -> Path:
    """Where the user's own profiles belong, whether it is there or not."""
    return paths.config_dir() / "profiles"


def profile_dirs() -> list[Path]:
    """The user's own folder first, so that it can override what llmtp ships."""
    return [user_dir(), paths.shipped_profiles()]


def origin(path: Path) -> Literal["shipped", "yours"]:
    """Did this file come with llmtp?"""
    return "shipped" if path.parent == paths.shipped_profiles() else "yours"


def profile_files() -> list[Path]:
    """Every profile of every folder, also those that are overridden."""
    check_folder()
    folders = [folder for folder in profile_dirs() if folder.is_dir()]
    files = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    return [path for path in files if path.is_file() and path.stem.isprintable()]


def profile_names() -> list[str]:
    """All that can be asked for by name."""
    return sorted({path.stem for path in profile_files()})


def known_repositories() -> list[str]:
    """OWNER/REPO of every profile that can be read, to find near ones."""
    known: set[str] = set()
    for path in profile_files():
        with contextlib.suppress(UsageError):
            known.update(source.repository.repo_id for source in load_profile_file(path).sources)
    return sorted(known)


def find_profile(name: str) -> Path:
    """The file of a name, in any capitalisation; raises NotFoundError with near names."""
    files = profile_files()
    alike = [path for path in files if path.stem.lower() == name.lower()]
    if alike:
        # The user's own stand first, and min takes the first of equals.
        return min(alike, key=lambda path: path.stem != name)
    names = sorted({path.stem for path in files})
    asked = clean(name, 60).lower()
    # `12b` is a part of a name, but not near to it.
    parts = [known for known in names if len(asked) > 1 and asked in known.lower()]
    fix = near_names(asked, names)
    if fix is None:
        fix = f"did you mean {parts[0]!r}?" if parts else "type the name of a profile or a file"
    profile, _, quant = asked.partition(":")
    if quant and profile in map(str.lower, names):
        fix = f"type: {profile} --quant {quant.upper()}"
    raise NotFoundError(
        f"there is no profile {clean(name, 60)!r}",
        rule="profile-not-found",
        expected="one of " + ", ".join(names) + ", or the path of a .gguf file",
        fix=fix,
    )


def load_profile(name: str) -> Profile:
    """Read a profile by name; raises NotFoundError with near names, UsageError with the line."""
    return load_profile_file(find_profile(name))


def load_profile_file(path: Path) -> Profile:
    """Read a profile from any file, once as long as it does not change; raises NotFoundError, or
    UsageError with the line."""
    _check_file(path)
    stat = path.stat()
    return _read(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read(path: Path, _size: int, _time_ns: int) -> Profile:
    from llmtp import yamlfile

    file = yamlfile.load(path)
    file.only(_FIELDS)
    main, draft, sources = file.text("main"), file.text("draft"), _sources(file)
    _check_which(file, main, draft, sources)
    return Profile(
        name=path.stem,
        source=path,
        description=file.text("description") or "",
        main=_place(file, "main", main) if main else None,
        draft=_place(file, "draft", draft) if draft else None,
        n_max=file.number("n_max", 0, 16),
        sources=sources,
        shape=read_shape(file),
        sampling=_sampling(file),
        vllm=_vllm(file),
        engine=_engine(file),
        notes=file.text("notes"),
    )


def _check_file(path: Path) -> None:
    """Is there something that can be read to its end?"""
    if not paths.exists(path):
        raise NotFoundError(
            f"there is no file {clean(str(path), 300)}", rule="profile-not-found",
            fix="see the names with: llmtp profiles",
        )  # fmt: skip
    if not path.is_file():
        raise UsageError(
            f"{clean(str(path), 300)}: is no regular file", rule="yaml", expected="a YAML file",
            fix="give the file itself",
        )  # fmt: skip


def _check_which(
    file: YamlFile, main: str | None, draft: str | None, sources: tuple[Source, ...]
) -> None:
    """Either one main model or sources, and something to chat with among them."""
    if file.has("sources"):
        if main:
            raise file.wrong("sources", "stands beside main", "either main or sources")
        if draft:
            raise file.wrong("draft", "stands without main", "patterns in draft of a source")
        if not any(source.main for source in sources):
            raise file.wrong("sources", "has no main model", "main and quants in one of them")
    elif not main and not file.has("vllm"):
        raise file.wrong(
            "main",
            "is missing",
            "the path of the main GGUF file, hf:OWNER/REPO:QUANT, or sources instead of main",
        )


def _sources(file: YamlFile) -> tuple[Source, ...]:
    return tuple(_source(section) for section in file.sections("sources"))


def _source(file: YamlFile) -> Source:
    file.only(_SOURCE_FIELDS)
    main, draft, mmproj = (_patterns(file, field) for field in ("main", "draft", "mmproj"))
    quants = file.texts(
        "quants", lambda text: bool(_QUANT.fullmatch(text)), "a tag such as Q4_K_M, or a list"
    )
    if quants and not main:
        raise file.wrong("quants", "stands without main", "patterns of main files in main")
    if main and not quants:
        raise file.wrong("quants", "is missing", "tags of the main files, such as [Q8_0, Q4_K_M]")
    if not main and not draft:
        raise file.wrong("main", "is missing", "patterns of files in main, in draft or in both")
    return Source(
        repository=_repository(file, "repository"),
        qat=file.flag("qat"),
        main=main,
        draft=draft,
        mmproj=mmproj,
        quants=quants,
    )


def _sampling(file: YamlFile) -> Sampling:
    section = file.section("sampling")
    if section is None:
        return Sampling()
    section.only({"temp", "top_k", "top_p"})
    return Sampling(
        temp=section.real("temp", 0, 5),
        top_k=section.number("top_k", 0, 1000),
        top_p=section.real("top_p", 0, 1),
    )


def _vllm(file: YamlFile) -> VllmIds | None:
    section = file.section("vllm")
    if section is None:
        return None
    section.only({"model", "assistant", "quantised", "quantised_assistant"})

    def other(name: str) -> str | None:
        return _model_id(section, name) if section.has(name) else None

    return VllmIds(
        model=_model_id(section, "model"),
        assistant=_model_id(section, "assistant"),
        quantised=other("quantised"),
        quantised_assistant=other("quantised_assistant"),
    )


def _engine(file: YamlFile) -> Literal["llama-server", "vllm"] | None:
    match file.text("engine"):
        case None | "":
            return None
        case "llama-server":
            return "llama-server"
        case "vllm":
            return "vllm"
        case other:
            raise file.wrong("engine", f"is {clean(other, 60)}", "llama-server or vllm")


def _patterns(file: YamlFile, field: str) -> tuple[str, ...]:
    return file.texts(
        field, _is_pattern, 'a shell pattern inside the repository such as "*-it-*.gguf", or a list'
    )


def _is_pattern(text: str) -> bool:
    return (
        0 < len(text) <= _LONGEST_PATTERN
        and text.isprintable()
        and text.strip() != ""
        and not text.startswith(("/", "\\"))
        and ".." not in re.split(r"[/\\]", text)
    )


def _repository(file: YamlFile, field: str, form: str = _REPOSITORY) -> HubName:
    text = file.text(field, form)
    if not text:
        raise file.wrong(field, "is missing", form)
    try:
        name = parse_hub_name(PREFIX + text)
    except UsageError:
        name = None
    if name is None or name.quant is not None:
        raise file.wrong(field, f"is {clean(text, 120)!r}", form)
    return name


def _model_id(file: YamlFile, field: str) -> str:
    text = file.text(field, "OWNER/REPO") or ""
    if text.startswith((".", "/", "~")):
        return text
    name = _repository(file, field, "OWNER/REPO")
    if name.revision is not None:
        raise file.wrong(field, f"has the revision {clean(name.revision, 60)}", "OWNER/REPO")
    return name.repo_id


def _place(file: YamlFile, field: str, text: str) -> Path | HubName:
    if text.startswith(PREFIX):
        try:
            return parse_hub_name(text)
        except UsageError as error:
            raise file.wrong(field, str(error), error.findings[0].expected or "") from error
    return file.path.parent.resolve() / paths.typed(text)
