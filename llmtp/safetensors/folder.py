"""A folder of safetensors on this disk: is it whole, and what is it?

Each file begins with the length of its header in eight bytes, and the header, JSON, says where each
tensor ends (github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from llmtp.errors import BadFileError, NotFoundError
from llmtp.gguf.model import ModelFacts
from llmtp.safetensors.config import MOST_BYTES, parse_config
from llmtp.text import clean
from llmtp.told import count

CONFIG = "config.json"
WEIGHTS = ".safetensors"
INDEX = "model.safetensors.index.json"
_MOST_HEADER_BYTES = 100 << 20
_MOST_FILES = 1000


def load_folder(path: Path) -> ModelFacts:
    """Facts of the model in a folder; raises NotFoundError where nothing is, BadFileError for
    files that are no whole model."""
    config = path / CONFIG
    if not config.is_file():
        raise NotFoundError(
            f"there is no model in {clean(str(path), 300)}",
            expected="a folder with a config.json and files of safetensors",
            fix="give such a folder, hf:OWNER/REPO, or the name of a profile",
        )
    try:
        with config.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        weights = sorted(
            one for one in path.iterdir() if one.name.endswith(WEIGHTS) and one.is_file()
        )
        if len(text) > MOST_BYTES or not 0 < len(weights) <= _MOST_FILES:
            raise _broken(path, f"has {len(weights)} files of weights", "1 or more")
        _check_index(path, {one.name for one in weights})
        size = sum(_checked_size(one) for one in weights)
    except OSError as error:
        raise _broken(path, f"cannot be read: {error.strerror}", None) from error
    return parse_config(text.decode("utf-8", "replace"), path, size)


def _check_index(path: Path, names: set[str]) -> None:
    """Is every file there that the index has tensors in? A download may have been cut short."""
    file = path / INDEX
    if not file.is_file():
        return
    with file.open("rb") as stream:
        text = stream.read(_MOST_HEADER_BYTES)
    try:
        wanted = {str(name) for name in json.loads(text)["weight_map"].values()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise _broken(file, "is no index of safetensors", "JSON with a weight_map") from None
    missing = sorted(wanted - names)
    if missing:
        raise _broken(path, f"lacks {clean(missing[0], 120)}", f"{len(wanted)} files of weights")


def _checked_size(path: Path) -> int:
    """Of a file that is as long as its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 0 < length <= min(_MOST_HEADER_BYTES, size):
            raise _broken(path, "is no file of safetensors", "a header of JSON at its start")
        header = file.read(length)
    try:
        tensors = json.loads(header)
        ends = [
            _offset(one["data_offsets"][1])
            for name, one in tensors.items()
            if name != "__metadata__"
        ]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise _broken(path, "is no file of safetensors", "a header of JSON at its start") from None
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise _broken(path, f"has {size:,} bytes", f"{expected:,}, as its header says")
    return size


def _offset(value: Any) -> int:
    found = count(value)
    if found is None or found != value:
        raise ValueError("no offset")
    return found


def _broken(path: Path, what: str, expected: str | None) -> BadFileError:
    return BadFileError(
        f"{clean(str(path), 300)} {what}",
        rule="safetensors",
        expected=expected,
        fix="get it anew from where it came",
    )
