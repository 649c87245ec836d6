"""From what the user typed to a main model and its drafter on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmtp import paths
from llmtp.errors import LlmtpError, NotFoundError, PairRejectedError, UsageError
from llmtp.gguf.facts import ModelFacts, read_facts
from llmtp.gguf.files import open_model
from llmtp.gguf.kind import ASSISTANT
from llmtp.pairing import check_main, check_pair, is_compatible
from llmtp.profiles import Profile, load_profile
from llmtp.text import clean

_HINTS = ("mtp", "assist")


@dataclass(frozen=True, slots=True)
class Reference:
    """A model as asked for: its facts, and those of its drafter (None where MTP is off)."""

    name: str
    main: ModelFacts
    draft: ModelFacts | None
    profile: Profile | None


def resolve(model: str, draft: str) -> Reference:
    """Find the files of MODEL; `draft` is `auto`, `off` or the path of a drafter.

    Raises NotFoundError for an unknown name, a missing file, or no drafter with `auto`. Nothing
    is judged: a main file that is none comes back without a drafter.
    """
    profile = None if _is_path(model) else load_profile(model)
    path = profile.main if profile else paths.typed(model)
    main = load_facts(path)
    name = profile.name if profile else clean(path.stem, 80)
    if draft in ("auto", "off") and check_main(main):
        return Reference(name, main, None, profile)
    return Reference(name, main, _find_draft(main, draft, profile), profile)


def load_facts(path: Path) -> ModelFacts:
    """Header facts of the model at `path`."""
    if paths.exists(path / "config.json"):
        raise PairRejectedError(
            f"{clean(str(path), 300)} is a folder of safetensors",
            rule="file-kind",
            expected="a GGUF file",
            fix="download the GGUF release of this model",
        )
    return read_facts(open_model(path))


def _is_path(model: str) -> bool:
    if model.startswith("hf:"):
        raise UsageError(
            "hf: references cannot be downloaded by this version",
            rule="reference",
            fix="download both GGUF files and type: llmtp run MAIN.gguf --draft DRAFT.gguf",
        )
    looks_like_one = model.endswith(".gguf") or "/" in model
    return looks_like_one or (model != "" and paths.exists(paths.typed(model)))


def _find_draft(main: ModelFacts, draft: str, profile: Profile | None) -> ModelFacts | None:
    if draft == "off":
        return None
    if draft != "auto":
        return load_facts(paths.typed(draft))
    if profile is not None and profile.draft is not None:
        return load_facts(profile.draft)
    found, skipped = _beside(main)
    if found is not None:
        return found
    raise NotFoundError(
        f"there is no drafter for {clean(str(main.path), 300)} beside it or in MTP/",
        rule="no-drafter",
        expected=f"a {ASSISTANT} file that belongs to it",
        observed=f"{', '.join(skipped)}, which it is not" if skipped else None,
        fix="name it with --draft PATH, or run without MTP: --draft off",
    )


def _beside(main: ModelFacts) -> tuple[ModelFacts | None, list[str]]:
    """The first file near the main model that looks like a drafter by name and is one by header.

    A link is followed: caches link to files that lie elsewhere. Also returned are the names of
    the files that were looked at in vain.
    """
    folders = dict.fromkeys((main.path.parent, main.path.resolve().parent))
    near = [
        path
        for folder in folders
        for place in (folder, folder / "MTP")
        if place.is_dir()
        for path in sorted(place.glob("*.gguf"))
        if path != main.path and any(hint in path.name.lower() for hint in _HINTS)
    ]
    skipped = []
    for path in near:
        try:
            facts = load_facts(path)
        except LlmtpError:
            skipped.append(clean(path.name, 80))
            continue
        if facts.architecture == ASSISTANT and is_compatible(check_pair(main, facts)):
            return facts, skipped
        skipped.append(clean(path.name, 80))
    return None, skipped
