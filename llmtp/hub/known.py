"""What was read of a header once need not be read again.

One small file a model in the user's cache. `place` is where the model is; `identity` changes
when its content does. A record that cannot be used is as good as none.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from llmtp import __version__, paths
from llmtp.gguf.kind import Kind
from llmtp.gguf.model import ModelFacts, TensorBytes, TensorFault
from llmtp.gguf.shape import TextModel

#: Raised with every change of what is read or how it is judged.
_SCHEMA = 4


def recall(place: str, identity: str, path: Path) -> ModelFacts | None:
    """The facts of that content, as those of `path`."""
    try:
        record = paths.read_cache(_file(place))
        if [record["version"], record["identity"]] != [_version(), identity]:
            return None
        return replace(_unpack(record["facts"]), path=path)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def remember(place: str, identity: str, facts: ModelFacts) -> None:
    """Keep facts for the next time; a cache that cannot be written is none."""
    record = {"version": _version(), "identity": identity, "facts": _pack(facts)}
    paths.write_cache(_file(place), json.dumps(record))


def _file(place: str) -> Path:
    name = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()
    return paths.cache_dir() / "headers" / f"{name[:32]}.json"


def _version() -> str:
    return f"{__version__}/{_SCHEMA}"


def _pack(facts: ModelFacts) -> dict[str, Any]:
    return asdict(replace(facts, path=Path())) | {"path": None}


def _unpack(fields: dict[str, Any]) -> ModelFacts:
    text = fields["text"]
    return ModelFacts(
        **fields
        | {
            "path": Path(),
            "kind": Kind(fields["kind"]),
            "names": tuple(fields["names"]),
            "tensor_bytes": TensorBytes(_sizes(fields["tensor_bytes"]["by_name"])),
            "text": None if text is None else _sound(TextModel(**_tuples(text))),
            "faults": tuple(TensorFault(**fault) for fault in fields["faults"]),
        }
    )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


def _sound(text: TextModel) -> TextModel:
    """Numbers where they belong, and one a layer where there is one a layer."""
    for field in fields(TextModel):
        value = getattr(text, field.name)
        many = value if isinstance(value, tuple) else (value,)
        if isinstance(value, tuple) and len(value) != text.n_layers:
            raise ValueError(f"{field.name} has not one value a layer")
        if any(not isinstance(one, int | float | None) for one in many):
            raise ValueError(f"{field.name} is no number")
    return text


def _sizes(by_name: dict[str, Any]) -> dict[str, int]:
    if not all(type(size) is int and size >= 0 for size in by_name.values()):
        raise ValueError("a size is no number")
    return by_name
