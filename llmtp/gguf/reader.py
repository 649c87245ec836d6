"""Read one GGUF header: metadata and tensor table, versions 2 and 3, little-endian.

Everything in the file is untrusted. Counts and lengths are checked against what the file can
hold before anything is allocated; arrays of strings (262,144 tokens, 514,906 merges) are walked
and hashed, never built. Format: ggml's docs/gguf.md.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from llmtp.errors import BadFileError
from llmtp.gguf.types import SCALAR_FORMAT, TENSOR_TYPES, TensorType, ValueType
from llmtp.text import clean

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_KEYS = _MAX_TENSORS = 1 << 16
_MAX_KEY_BYTES = 1 << 16
_MAX_STRING_BYTES = 1 << 23
_MAX_BUILT_ELEMENTS = 1 << 12
_MAX_BUILT_BYTES = 1 << 26
_MAX_DIMENSIONS = 4
_MAX_ELEMENTS = 1 << 50
_FIRST_READ = 1 << 16
_NEXT_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """An array that was walked but not built. `digest` is the sha256 of its raw bytes."""

    element_type: ValueType
    count: int
    digest: str


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One row of the tensor table; `offset` counts from the start of the data."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the tensor data of one file."""

    version: int
    metadata: dict[str, Any]
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    file_bytes: int


def read_header(file: BinaryIO, file_bytes: int, name: str) -> Header:
    """Read the header of a GGUF file of `file_bytes` bytes, open at its start.

    `name` is what an error calls the file. Raises BadFileError, and nothing else, for any content.
    """
    return _Reader(file, file_bytes, name).header()


class _Reader:
    def __init__(self, file: BinaryIO, file_bytes: int, name: str) -> None:
        self._file = file
        self._left = file_bytes  # bytes of the file not yet in the window
        self._window = b""
        self._at = 0  # position in the window
        self._dropped = 0  # bytes of the file before the window
        self._file_bytes = file_bytes
        self._name = name
        self._built = 0  # bytes of values that are kept

    def header(self) -> Header:
        version = self._version()
        n_tensors, n_keys = self._unpack("<QQ")
        if n_tensors > _MAX_TENSORS or n_keys > _MAX_KEYS:
            self._fail(f"claims {n_tensors} tensors and {n_keys} keys", "at most 65,536 of each")
        metadata: dict[str, Any] = {}
        for _ in range(n_keys):
            key = self._string(_MAX_KEY_BYTES)
            if key in metadata:
                self._fail(f"has the key {clean(key, 80)!r} twice", "every key once")
            metadata[key] = self._value(self._value_type())
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & 7:
            self._fail(f"has the alignment {alignment!r}", "a positive multiple of 8")
        tensors = tuple(self._tensor(alignment) for _ in range(n_tensors))
        if len({t.name for t in tensors}) != len(tensors):
            self._fail("names a tensor twice", "every tensor once")
        table_end = self._dropped + self._at
        data_offset = -(-table_end // alignment) * alignment
        data_bytes = max((t.offset + t.n_bytes for t in tensors), default=0)
        missing = data_offset + data_bytes - self._file_bytes
        if tensors and missing > 0:
            raise self._truncated(missing)
        return Header(version, metadata, tensors, data_offset, self._file_bytes)

    def _version(self) -> int:
        magic = self._take(4)
        if magic != _MAGIC:
            self._fail(f"starts with {clean(repr(magic)[2:-1], 20)!r}", "a GGUF file")
        (version,) = self._unpack("<I")
        if version in _VERSIONS:
            return int(version)
        if int.from_bytes(version.to_bytes(4, "little"), "big") in (1, *_VERSIONS):
            self._fail("is big-endian", "a little-endian GGUF file, version 2 or 3")
        return self._fail(f"has the GGUF version {version}", "version 2 or 3")

    def _value_type(self) -> ValueType:
        (number,) = self._unpack("<I")
        if number not in SCALAR_FORMAT and number not in (ValueType.STRING, ValueType.ARRAY):
            self._fail(f"has a value of type {number}", "a type from 0 to 12")
        return ValueType(number)

    def _value(self, kind: ValueType) -> Any:
        if kind is ValueType.STRING:
            return self._string(_MAX_STRING_BYTES)
        if kind is ValueType.ARRAY:
            return self._array()
        return self._unpack("<" + SCALAR_FORMAT[kind])[0]

    def _array(self) -> tuple[Any, ...] | SkippedArray:
        kind = self._value_type()
        (count,) = self._unpack("<Q")
        if kind is ValueType.ARRAY:
            self._fail("has an array of arrays", "arrays of plain values")
        if kind is ValueType.STRING:
            self._check_room(count * 8, "an array of strings")
            digest = self._walk_strings(count)
            return SkippedArray(kind, count, digest)
        size = struct.calcsize("<" + SCALAR_FORMAT[kind])
        self._check_room(count * size, "an array")
        if count <= _MAX_BUILT_ELEMENTS:
            return self._unpack(f"<{count}{SCALAR_FORMAT[kind]}")
        return SkippedArray(kind, count, self._hash_bytes(count * size))

    def _tensor(self, alignment: int) -> TensorInfo:
        name = self._string(_MAX_KEY_BYTES)
        (n_dims,) = self._unpack("<I")
        if n_dims > _MAX_DIMENSIONS:
            self._fail(f"has a tensor of {n_dims} dimensions", "at most 4")
        shape = self._unpack(f"<{n_dims}Q")
        number, offset = self._unpack("<IQ")
        kind = TENSOR_TYPES.get(number)
        shown = clean(name, 80)
        if kind is None:
            self._fail(f"has the tensor {shown!r} of unknown type {number}", "a type that ggml has")
        elements = 1
        for length in shape:
            elements *= length
            if length == 0 or elements > _MAX_ELEMENTS:
                self._fail(f"has the tensor {shown!r} of shape {shape}", "a possible shape")
        if shape and shape[0] % kind.block_size:
            self._fail(
                f"has the tensor {shown!r} with rows of {shape[0]} {kind.name} elements",
                f"a multiple of {kind.block_size}",
            )
        if offset % alignment:
            self._fail(f"has the tensor {shown!r} at offset {offset}", f"multiples of {alignment}")
        n_bytes = elements // kind.block_size * kind.block_bytes
        return TensorInfo(name, tuple(shape), kind, offset, n_bytes)

    def _string(self, limit: int) -> str:
        (length,) = self._unpack("<Q")
        if length > limit:
            self._fail(f"has a string of {length} bytes", f"at most {limit}")
        return self._keep(length).decode("utf-8", "replace")

    def _walk_strings(self, count: int) -> str:
        """Hash `count` length-prefixed strings in one tight loop over the window."""
        digest = hashlib.sha256()
        length_at = struct.Struct("<Q").unpack_from
        window, at, end = self._window, self._at, len(self._window)
        for _ in range(count):
            if at + 8 > end:
                at, end, window = self._refill(digest.update, at, 8)
            (length,) = length_at(window, at)
            if at + 8 + length > end:
                if length > _MAX_STRING_BYTES:
                    self._fail(f"has a string of {length} bytes", f"at most {_MAX_STRING_BYTES}")
                at, end, window = self._refill(digest.update, at, 8 + length)
            at += 8 + length
        digest.update(window[self._at : at])
        self._at = at
        return digest.hexdigest()

    def _refill(
        self, consume: Callable[[bytes], object], at: int, n_bytes: int
    ) -> tuple[int, int, bytes]:
        """Hand over what was walked, then read on until `n_bytes` stand at the new position."""
        consume(self._window[self._at : at])
        self._at = at
        self._need(n_bytes)
        return self._at, len(self._window), self._window

    def _hash_bytes(self, n_bytes: int) -> str:
        digest = hashlib.sha256()
        while n_bytes:
            piece = self._take(min(n_bytes, _NEXT_READ))
            digest.update(piece)
            n_bytes -= len(piece)
        return digest.hexdigest()

    def _unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self._keep(struct.calcsize(layout)))

    def _keep(self, n_bytes: int) -> bytes:
        """Take bytes that become values: all together may not fill the memory."""
        self._built += n_bytes
        if self._built > _MAX_BUILT_BYTES:
            self._fail("has over 64 MiB of metadata", "some MiB")
        return self._take(n_bytes)

    def _take(self, n_bytes: int) -> bytes:
        self._need(n_bytes)
        piece = self._window[self._at : self._at + n_bytes]
        self._at += n_bytes
        return piece

    def _need(self, n_bytes: int) -> None:
        held = len(self._window) - self._at
        if held >= n_bytes:
            return
        missing = n_bytes - held - self._left
        if missing > 0:
            raise self._truncated(missing)
        rest = self._window[self._at :]
        self._dropped += self._at
        least = _NEXT_READ if self._dropped else _FIRST_READ
        wanted = min(self._left, max(n_bytes - held, least))
        piece = self._file.read(wanted)
        if len(piece) < n_bytes - held:
            raise self._truncated(n_bytes - held - len(piece))
        self._left -= len(piece)
        self._window, self._at = rest + piece, 0

    def _check_room(self, n_bytes: int, what: str) -> None:
        room = len(self._window) - self._at + self._left
        if n_bytes > room:
            self._fail(
                f"claims {what} of at least {n_bytes} bytes", f"the {room} bytes that follow"
            )

    def _truncated(self, missing: int) -> BadFileError:
        return BadFileError(
            f"{self._name} is truncated: at least {missing:,} bytes are missing at its end",
            rule="file-truncated",
            observed=f"{self._file_bytes:,} bytes",
            fix="download it again",
        )

    def _fail(self, observed: str, expected: str) -> NoReturn:
        raise BadFileError(
            f"{self._name} is not a usable GGUF file: it {observed}",
            rule="file-header",
            expected=expected,
            observed=observed,
            fix="download it again, or give another file",
        )
