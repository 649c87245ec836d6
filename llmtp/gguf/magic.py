"""What a file is that is no GGUF, told by its first bytes."""

from __future__ import annotations

from typing import NamedTuple

from llmtp.text import clean

_AGAIN = "download it again, or give another file"
_GGUF = "download the GGUF release of this model"


class Known(NamedTuple):
    """A kind of file in words (`a ZIP archive`), and what to do about it."""

    what: str
    fix: str


_STARTS: tuple[tuple[bytes, Known], ...] = (
    (
        b"version https://git-lfs",
        Known("a Git LFS pointer", "type: git lfs pull, or download the file itself"),
    ),
    (b"PK\x03\x04", Known("a ZIP archive or a PyTorch checkpoint", _GGUF)),
    (b"\x93NUMPY", Known("a NumPy array", _GGUF)),
    (b"\x1f\x8b", Known("a gzip archive", "unpack it")),
    (b"\x28\xb5\x2f\xfd", Known("a Zstandard archive", "unpack it")),
    (b"\xfd7zXZ\x00", Known("an xz archive", "unpack it")),
    (b"7z\xbc\xaf\x27\x1c", Known("a 7-Zip archive", "unpack it")),
    *(
        (magic, Known("a GGML file from before GGUF", _GGUF))
        for magic in (b"lmgg", b"fmgg", b"tjgg", b"algg")
    ),
)


def what_is(head: bytes) -> Known:
    """Name a file by `head`, its first bytes; a file of nothing known shows how it starts."""
    for start, known in _STARTS:
        if head.startswith(start):
            return known
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return Known("a safetensors file", _GGUF)
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html")):
        return Known(
            "a web page", "download the file itself: the link may need a login or /resolve/"
        )
    if text.startswith((b"{", b"[")):
        return Known("JSON text", _AGAIN)
    return Known(f"a file that starts with {clean(repr(head[:4])[2:-1], 20)!r}", _AGAIN)
