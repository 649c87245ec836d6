"""Models on this disk: their facts, and the drafter that lies beside a main model."""

from __future__ import annotations

import time
from pathlib import Path

from llmtp import paths
from llmtp.errors import LlmtpError, NotFoundError, PairRejectedError
from llmtp.gguf.kind import ASSISTANT, Kind
from llmtp.gguf.model import ModelFacts
from llmtp.gguf.split import part_paths
from llmtp.hub.known import recall, remember
from llmtp.pairing import check_pair, is_compatible
from llmtp.text import clean

_HINTS = ("mtp", "assist")
#: Headers below are read faster than a record of them.
_WORTH_KEEPING_BYTES = 1 << 20
#: A file that changed so short ago may change again without another time stamp.
_SETTLED_S = 2.0


def load_facts(path: Path) -> ModelFacts:
    """Facts of the model at `path`, remembered by path, size, time and inode of its parts.

    Raises what `open_model` and `read_facts` raise, and PairRejectedError for safetensors.
    """
    if paths.exists(path / "config.json") or paths.exists(path / "model.safetensors.index.json"):
        raise PairRejectedError(
            f"{clean(str(path), 300)} is a folder of safetensors",
            rule="file-kind",
            expected="a GGUF file",
            fix="download the GGUF release of this model",
        )
    place, identity, changed_at = _identity(path)
    if identity is not None:
        known = recall(place, identity, path)
        if known is not None:
            return known
    # What is remembered needs no reader.
    from llmtp.gguf.facts import read_facts
    from llmtp.gguf.files import open_model

    model = open_model(path)
    facts = read_facts(model)
    header_bytes = sum(header.data_offset for header in model.headers)
    settled = time.time() - changed_at > _SETTLED_S
    if identity is not None and settled and header_bytes >= _WORTH_KEEPING_BYTES:
        remember(place, identity, facts)
    return facts


def find_beside(main: ModelFacts) -> ModelFacts:
    """The first file near the main model that looks like a drafter by name and is one by header.

    A link is followed: caches link to files that lie elsewhere. Raises NotFoundError, which names
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
        if facts.kind is Kind.ASSISTANT and is_compatible(check_pair(main, facts)):
            return facts
        skipped.append(clean(path.name, 80))
    raise NotFoundError(
        f"there is no drafter for {clean(str(main.path), 300)} beside it or in MTP/",
        rule="no-drafter",
        expected=f"a {ASSISTANT} file that belongs to it",
        observed=f"{', '.join(skipped)}, which it is not" if skipped else None,
        fix="name it with --draft PATH, or run without MTP: --draft off",
    )


def _identity(path: Path) -> tuple[str, str | None, float]:
    """Place and identity of a model, and when it was changed last; None where it is not whole."""
    place = str(path.absolute())
    try:
        stats = [part.stat() for part in part_paths(path)]
    except (OSError, ValueError, LlmtpError):
        return place, None, 0.0
    identity = " ".join(f"{s.st_size}:{s.st_mtime_ns}:{s.st_ino}" for s in stats)
    return place, identity, max(s.st_mtime for s in stats)
