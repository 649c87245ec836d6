"""Profiles: the short names, and which files belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmtp import paths
from llmtp.errors import NotFoundError, UsageError
from llmtp.hubname import PREFIX, HubName, parse_hub_name
from llmtp.text import clean, near_names

if TYPE_CHECKING:
    from llmtp.yamlfile import YamlFile

_FIELDS = {"description", "main", "draft", "n_max"}


@dataclass(frozen=True, slots=True)
class Profile:
    """A name such as `demo`: files at absolute paths, or in repositories.

    `n_max` 0 is MTP off, None is up to the plan.
    """

    name: str
    source: Path
    description: str
    main: Path | HubName
    draft: Path | HubName | None
    n_max: int | None


def profile_dirs() -> list[Path]:
    """The user's own folder first, so that it can override what llmtp ships."""
    return [paths.config_dir() / "profiles", paths.shipped_profiles()]


def profile_names() -> list[str]:
    """All that can be asked for by name."""
    folders = [folder for folder in profile_dirs() if folder.is_dir()]
    files = [path for folder in folders for path in folder.glob("*.yaml") if path.is_file()]
    return sorted({path.stem for path in files if path.stem.isprintable()})


def load_profile(name: str) -> Profile:
    """Read a profile by name; raises NotFoundError with near names, UsageError with the line."""
    if name in profile_names():
        for folder in profile_dirs():
            path = folder / f"{name}.yaml"
            if path.is_file():
                return _read(path)
    raise NotFoundError(
        f"there is no profile {clean(name, 60)!r}",
        rule="profile-not-found",
        expected="one of " + ", ".join(profile_names()) + ", or the path of a .gguf file",
        fix=near_names(clean(name, 60), profile_names()) or "type the name of a profile or a file",
    )


def _read(path: Path) -> Profile:
    from llmtp import yamlfile

    file = yamlfile.load(path)
    file.only(_FIELDS)
    main = file.text("main")
    if not main:
        raise file.wrong(
            "main", "is missing", "the path of the main GGUF file, or hf:OWNER/REPO:QUANT"
        )
    draft = file.text("draft")
    return Profile(
        name=path.stem,
        source=path,
        description=file.text("description") or "",
        main=_source(file, "main", main),
        draft=_source(file, "draft", draft) if draft else None,
        n_max=file.number("n_max", 0, 16),
    )


def _source(file: YamlFile, field: str, text: str) -> Path | HubName:
    if text.startswith(PREFIX):
        try:
            return parse_hub_name(text)
        except UsageError as error:
            raise file.wrong(field, str(error), error.findings[0].expected or "") from error
    return file.path.parent.resolve() / paths.typed(text)
