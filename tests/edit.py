"""Change one key or one tensor of a GGUF file and write it again, whole."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf as reference
import numpy
from builders import VALUE_LAYOUTS, string, tensor

ARRAY, STRING, U32, I32, F32, BOOL = 9, 8, 4, 5, 6, 7


@dataclass
class Row:
    """A tensor: its shape as ggml writes it, its type and its raw data."""

    shape: tuple[int, ...]
    kind: int
    data: bytes

    @property
    def array(self) -> numpy.ndarray[Any, Any]:
        """Float32 data, rows first."""
        return numpy.frombuffer(self.data, "<f4").reshape(self.shape[::-1]).copy()

    @array.setter
    def array(self, values: numpy.ndarray[Any, Any]) -> None:
        self.data = values.astype("<f4").tobytes()


@dataclass
class Edited:
    """The parts of a file. `entries` holds type and payload of every key, raw."""

    entries: dict[str, bytes] = field(default_factory=dict)
    tensors: dict[str, Row] = field(default_factory=dict)

    def set(self, key: str, kind: int, value: object) -> None:
        """A scalar, a text, or an array of `kind` where `value` is a list."""
        if isinstance(value, list):
            body = b"".join(_value(kind, v) for v in value)
            self.entries[key] = struct.pack("<IIQ", ARRAY, kind, len(value)) + body
        else:
            self.entries[key] = struct.pack("<I", kind) + _value(kind, value)

    def write(self, path: Path) -> None:
        rows, data = [], b""
        for name, row in self.tensors.items():
            data += bytes(-len(data) % 32)
            rows.append(tensor(name, row.shape, row.kind, len(data)))
            data += row.data
        head = b"GGUF" + struct.pack("<IQQ", 3, len(rows), len(self.entries))
        body = head + b"".join(string(k) + v for k, v in self.entries.items()) + b"".join(rows)
        path.write_bytes(body + bytes(-len(body) % 32) + data)


def load(path: Path) -> Edited:
    """Take a small file apart with the reference reader."""
    reader = reference.GGUFReader(path)
    edited = Edited()
    for key, found in reader.fields.items():
        if not key.startswith("GGUF."):
            # The first two parts are the length and the letters of the key.
            edited.entries[key] = b"".join(part.tobytes() for part in found.parts[2:])
    for row in reader.tensors:
        shape = tuple(int(n) for n in row.shape)
        edited.tensors[row.name] = Row(shape, int(row.tensor_type), row.data.tobytes())
    return edited


def edit(path: Path, change: Callable[[Edited], object]) -> Path:
    """Change a file in place."""
    edited = load(path)
    change(edited)
    edited.write(path)
    return path


def _value(kind: int, value: object) -> bytes:
    return string(str(value)) if kind == STRING else struct.pack("<" + VALUE_LAYOUTS[kind], value)
