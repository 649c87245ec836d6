"""What a report says of a model file: its name, size and origin, and what its header holds."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmtp.errors import LlmtpError
from llmtp.gguf.files import ModelFile, open_model
from llmtp.gguf.reader import SkippedArray
from llmtp.gguf.split import part_paths
from llmtp.hub import cache
from llmtp.units import format_bytes

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SNAPSHOT = re.compile(r"models--([^/]+)/snapshots/([0-9a-f]{40,64})/")
_TEMPLATE = "tokenizer.chat_template"
_MOST_ELEMENTS = 128
_MOST_KEYS = 120


def model_lines(role: str, path: Path) -> Iterator[str]:
    """Everything of one file; where it cannot be read, why. `role` is main, draft or mmproj."""
    yield f"{role}: {path.name}"
    origin = _SNAPSHOT.search(str(path))
    if origin is not None:
        yield f"  from        hf:{origin[1].replace('--', '/', 1)}@{origin[2]}"
    try:
        model = open_model(path)
    except LlmtpError as error:
        yield f"  not read    {error}"
        return
    for part in part_paths(path):
        yield f"  sha256      {_known_sha256(part) or 'not computed'}  {part.name}"
    yield f"  bytes       {model.file_bytes}"
    yield f"  GGUF        version {model.headers[0].version}, {len(model.headers)} file(s)"
    yield f"  tensors     {_tensors(model)}"
    yield from _metadata(model.headers[0].metadata)


def _tensors(model: ModelFile) -> str:
    count: Counter[str] = Counter()
    n_bytes: Counter[str] = Counter()
    for tensor in model.tensors:
        count[tensor.type.name] += 1
        n_bytes[tensor.type.name] += tensor.n_bytes
    return ", ".join(
        f"{n} {name} ({format_bytes(n_bytes[name])})" for name, n in count.most_common()
    )


def _metadata(metadata: dict[str, Any]) -> Iterator[str]:
    """What shapes the model; of tokens and templates only what tells whether two are the same."""
    architecture = str(metadata.get("general.architecture"))
    wanted = ("general.", f"{architecture}.", "split.", "clip.", "tokenizer.")
    known = {key: value for key, value in metadata.items() if key.startswith(wanted)}
    for key, value in list(known.items())[:_MOST_KEYS]:
        yield f"  {key} = {_value(key, value)}"
    other = [*list(known)[_MOST_KEYS:], *(key for key in metadata if key not in known)]
    if other:
        yield f"  and {len(other)} other keys: {', '.join(other)}"


def _value(key: str, value: Any) -> str:
    if key.startswith(_TEMPLATE) and isinstance(value, str):
        raw = value.encode("utf-8", "replace")
        return f"{len(value)} characters, sha256 {hashlib.sha256(raw).hexdigest()[:16]}"
    if isinstance(value, SkippedArray):
        digest = f", sha256 {value.digest[:16]}" if value.digest else ""
        return f"{value.count} of {value.element_type.name}{digest}"
    if isinstance(value, tuple):
        if len(value) > _MOST_ELEMENTS or key.startswith("tokenizer."):
            return f"{len(value)} numbers"
        numbers = [int(one) if isinstance(one, bool) else one for one in value]
        return f"[{', '.join(f'{one:.7g}' for one in numbers)}]"
    if isinstance(value, float):
        return f"{value:.7g}"
    return str(value).replace("\n", "\\n")


def _known_sha256(path: Path) -> str | None:
    """The cache of the Hub calls a content by it."""
    target = path.resolve()
    is_blob = target.parent.name == "blobs" and cache.is_inside(target)
    return target.name if is_blob and _SHA256.fullmatch(target.name) else None
