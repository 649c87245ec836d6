"""Read one GGUF header: metadata and tensor table, versions 2 and 3, little-endian.

Everything in the file is untrusted. Counts and lengths are checked against what the file can
hold before anything is allocated; arrays of strings (262,144 tokens, 514,906 merges) are walked
and hashed, never built, and long arrays of numbers are seeked over. What llama.cpp refuses is
refused here. Format: ggml's docs/gguf.md and ggml/src/gguf.cpp.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from llmtp.errors import BadFileError
from llmtp.gguf.lengths import HEAD_BYTES, StringArrays
from llmtp.gguf.magic import what_is
from llmtp.gguf.types import SCALAR_FORMAT, TENSOR_TYPES, TensorType, ValueType
from llmtp.text import clean

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_KEYS = _MAX_TENSORS = 1 << 16
_MAX_KEY_BYTES = 1 << 16
_MAX_NAME_BYTES = 63
_MAX_STRING_BYTES = 1 << 23
_MAX_BUILT_ELEMENTS = 1 << 12
_MAX_BUILT_BYTES = 1 << 26
_MAX_DIMENSIONS = 4
_MAX_ELEMENTS = 1 << 50
_HEAD_SHOWN = 512
_LARGEST_PADDING = 1 << 16
_FIRST_READ = 1 << 16
_READ_AFTER_SEEK = 1 << 12
_LARGEST_READ = 1 << 20


class Source(Protocol):
    """Where bytes come from: an open file, or one that is read over HTTP."""

    def read(self, size: int, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class SkippedArray:
    """An array that was not built. `digest` is the sha256 of its raw bytes where it was walked."""

    element_type: ValueType
    count: int
    digest: str | None


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

    @property
    def slack_bytes(self) -> int:
        """Bytes behind the data of the last tensor."""
        end = max((t.offset + t.n_bytes for t in self.tensors), default=0)
        return self.file_bytes - self.data_offset - end


def read_header(
    source: Source, file_bytes: int, name: str, known: StringArrays | None = None
) -> Header:
    """Read the header of a GGUF file of `file_bytes` bytes, open at its start.

    `name` is what an error calls the file. With `known`, arrays of strings that were met before
    are jumped over instead of read; where that leads to nonsense, the file is read again without.
    Raises BadFileError, and nothing else, for any content.
    """
    reader = _Reader(source, file_bytes, name, known)
    try:
        header = reader.header()
    except BadFileError:
        if not reader.jumped:
            raise
    else:
        if not reader.jumped or header.slack_bytes < _LARGEST_PADDING:
            return header
    source.seek(0)
    return _Reader(source, file_bytes, name, None).header()


def iter_strings(source: Source, file_bytes: int, name: str, key: str) -> Iterator[bytes]:
    """The elements of one array of strings, one at a time."""
    return _Reader(source, file_bytes, name, None).strings(key)


class _Reader:
    def __init__(
        self, source: Source, file_bytes: int, name: str, known: StringArrays | None
    ) -> None:
        self._source = source
        self._left = file_bytes  # bytes of the file behind the window
        self._window = b""
        self._at = 0  # position in the window
        self._dropped = 0  # bytes of the file before the window
        self._next_read = _FIRST_READ
        self._file_bytes = file_bytes
        self._name = name
        self._known = known
        self._built = 0  # bytes of values that are kept
        self.jumped = False  # was the length of an array taken from memory?

    def header(self) -> Header:
        version, n_tensors, n_keys = self._counts()
        metadata: dict[str, Any] = {}
        for _ in range(n_keys):
            key, kind = self._key()
            if key in metadata:
                self._fail(f"has the key {clean(key, 80)!r} twice", "every key once")
            metadata[key] = self._value(kind)
            if key == "general.alignment" and kind is not ValueType.UINT32:
                self._fail(f"has an alignment of type {kind.name}", "the type UINT32")
        alignment = metadata.get("general.alignment", 32)
        if not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            self._fail(f"has the alignment {alignment!r}", "a power of two")
        tensors, data_bytes = self._tensors(n_tensors, alignment)
        table_end = self._dropped + self._at
        data_offset = -(-table_end // alignment) * alignment
        missing = data_offset + data_bytes - self._file_bytes
        if tensors and missing > 0:
            raise self._truncated(missing)
        return Header(version, metadata, tensors, data_offset, self._file_bytes)

    def strings(self, wanted: str) -> Iterator[bytes]:
        _, _, n_keys = self._counts()
        for _ in range(n_keys):
            key, kind = self._key()
            if key == wanted and kind is ValueType.ARRAY:
                element, count = self._array_head()
                if element is not ValueType.STRING:
                    return
                for _ in range(count):
                    (length,) = struct.unpack("<Q", self._take(8))
                    if length > _MAX_STRING_BYTES:
                        self._fail_long_string(length)
                    yield self._take(length)
                return
            self._value(kind)

    def _counts(self) -> tuple[int, int, int]:
        version = self._version()
        n_tensors, n_keys = self._unpack("<QQ")
        if n_tensors > _MAX_TENSORS or n_keys > _MAX_KEYS:
            self._fail(f"claims {n_tensors} tensors and {n_keys} keys", "at most 65,536 of each")
        return version, n_tensors, n_keys

    def _key(self) -> tuple[str, ValueType]:
        key = self._string(_MAX_KEY_BYTES)
        if not key:
            self._fail("has a key without a name", "names")
        return key, self._value_type()

    def _version(self) -> int:
        self._need(4)
        head = self._window[:_HEAD_SHOWN]
        if not head.startswith(_MAGIC):
            self._fail_kind(head)
        self._take(4)
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
        kind, count = self._array_head()
        if kind is ValueType.STRING:
            return SkippedArray(kind, count, self._skip_strings(count))
        layout = f"<{count}{SCALAR_FORMAT[kind]}"
        if count <= _MAX_BUILT_ELEMENTS:
            return self._unpack(layout)
        self._skip(struct.calcsize(layout))
        return SkippedArray(kind, count, None)

    def _array_head(self) -> tuple[ValueType, int]:
        """Element type and count of an array that the file has room for."""
        kind = self._value_type()
        (count,) = self._unpack("<Q")
        if kind is ValueType.ARRAY:
            self._fail("has an array of arrays", "arrays of plain values")
        is_text = kind is ValueType.STRING
        n_bytes = count * (8 if is_text else struct.calcsize("<" + SCALAR_FORMAT[kind]))
        room = len(self._window) - self._at + self._left
        if n_bytes > room:
            what = "an array of strings" if is_text else "an array"
            self._fail(
                f"claims {what} of at least {n_bytes} bytes", f"the {room} bytes that follow"
            )
        return kind, count

    def _tensors(self, count: int, alignment: int) -> tuple[tuple[TensorInfo, ...], int]:
        """The tensor table, and how many bytes of data it claims, without the last padding."""
        tensors, names = [], set()
        expected = end = 0
        for _ in range(count):
            tensor = self._tensor()
            shown = clean(tensor.name, 80)
            if tensor.name in names:
                self._fail(f"names the tensor {shown!r} twice", "every tensor once")
            if tensor.offset != expected:
                self._fail(
                    f"has the tensor {shown!r} at offset {tensor.offset}",
                    f"{expected}: tensors stand one behind the other",
                )
            names.add(tensor.name)
            tensors.append(tensor)
            end = tensor.offset + tensor.n_bytes
            expected = -(-end // alignment) * alignment
        return tuple(tensors), end

    def _tensor(self) -> TensorInfo:
        name = self._string(_MAX_NAME_BYTES)
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
        n_bytes = elements // kind.block_size * kind.block_bytes
        return TensorInfo(name, tuple(shape), kind, offset, n_bytes)

    def _string(self, limit: int) -> str:
        (length,) = self._unpack("<Q")
        if length > limit:
            self._fail(f"has a string of {length} bytes", f"at most {limit}")
        return self._keep(length).decode("utf-8", "replace")

    def _skip_strings(self, count: int) -> str | None:
        """Walk an array of strings to its digest, or jump over one whose length is known."""
        head = b""
        if self._known is not None:
            n_bytes = min(HEAD_BYTES, len(self._window) - self._at + self._left)
            self._need(n_bytes)
            head = self._window[self._at : self._at + n_bytes]
            length = self._known.length(count, head)
            if length is not None and self._at + length > len(self._window):
                self.jumped = True
                self._skip(length)
                return None
        began = self._dropped + self._at
        digest = self._walk_strings(count)
        if self._known is not None:
            self._known.learn(count, head, self._dropped + self._at - began)
        return digest

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
                    self._fail_long_string(length)
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
        piece = self._source.read(min(self._left, max(n_bytes - held, self._next_read)))
        if len(piece) < n_bytes - held:
            raise self._truncated(n_bytes - held - len(piece))
        self._next_read = min(4 * self._next_read, _LARGEST_READ)
        self._left -= len(piece)
        self._dropped += self._at
        self._window, self._at = rest + piece, 0

    def _skip(self, n_bytes: int) -> None:
        """Go on `n_bytes` further; what is not in the window is not read."""
        behind = self._at + n_bytes - len(self._window)
        if behind <= 0:
            self._at += n_bytes
            return
        if behind > self._left:
            raise self._truncated(behind - self._left)
        self._dropped += self._at + n_bytes
        self._left -= behind
        self._window, self._at = b"", 0
        self._source.seek(self._dropped)
        self._next_read = _READ_AFTER_SEEK

    def _truncated(self, missing: int) -> BadFileError:
        return BadFileError(
            f"{self._name} is truncated: at least {missing:,} bytes are missing at its end",
            rule="file-truncated",
            observed=f"{self._file_bytes:,} bytes",
            fix="download it again",
        )

    def _fail_long_string(self, length: int) -> NoReturn:
        self._fail(f"has a string of {length} bytes", f"at most {_MAX_STRING_BYTES}")

    def _fail_kind(self, head: bytes) -> NoReturn:
        found = what_is(head)
        raise BadFileError(
            f"{self._name} is {found.what}, not a GGUF file",
            rule="file-kind",
            expected="the letters GGUF at its start",
            observed=clean(repr(head[:4])[2:-1], 20),
            fix=found.fix,
        )

    def _fail(self, observed: str, expected: str) -> NoReturn:
        raise BadFileError(
            f"{self._name} is not a usable GGUF file: it {observed}",
            rule="file-header",
            expected=expected,
            observed=observed,
            fix="download it again, or give another file",
        )
