"""How long the arrays of strings are that were met before: a tokenizer is the same in many files.

Reading 16 MB over HTTP to find the end of an array is slow, and its length in bytes is written
nowhere. A remembered length is a guess that the reader proves: what follows must be a header.
"""

from __future__ import annotations

import hashlib

HEAD_BYTES = 4096
#: The tokenizer of every Gemma 4, as llama.cpp's models/ggml-vocab-gemma-4.gguf holds it:
#: elements and sha256 of the first 4,096 bytes, to the bytes of the whole array.
_GEMMA4 = {
    (262_144, "5a8b47abb3662ebc98a1520c95631344e53efde55c6467d1063c8af0085311ca"): 4_413_447,
    (514_906, "969b43fed0d01092bca7d591f2570c91fda9b2f3840d44c08222429a01b9bfa7"): 9_251_719,
}


class StringArrays:
    """Lengths in bytes by the number of elements and by how an array starts."""

    def __init__(self) -> None:
        self._lengths = dict(_GEMMA4)

    def length(self, count: int, head: bytes) -> int | None:
        """Bytes of an array of `count` strings that starts with `head`, if one was met."""
        return self._lengths.get((count, _digest(head)))

    def learn(self, count: int, head: bytes, n_bytes: int) -> None:
        """Remember an array that was walked to its end."""
        if n_bytes > HEAD_BYTES:
            self._lengths[count, _digest(head)] = n_bytes


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()
