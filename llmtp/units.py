"""Numbers as people write and read them: the only parser and formatter of sizes."""

from __future__ import annotations

import re

from llmtp.errors import UsageError
from llmtp.text import clean

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

_SIZES = {"": 1, "B": 1, "K": KiB, "M": MiB, "G": GiB, "T": TiB}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_COUNT = re.compile(r"([0-9]{1,12})([kK]?)")


def parse_size(text: str, name: str) -> int:
    """Bytes of `12GiB`, `512M` or `1073741824`; K, M, G and T are powers of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{name} {clean(text, 40)!r} is not a size",
            expected="a size such as 12GiB or 512MiB",
            fix=f"type for example: {name} 12GiB",
        )
    return int(float(match[1]) * _SIZES[match[2].upper()])


def parse_count(text: str, name: str) -> int:
    """A positive count of tokens: `8192` or `8k` (k is 1024)."""
    match = _COUNT.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(
            f"{name} {clean(text, 40)!r} is not a number of tokens",
            expected="a number such as 8192 or 32k",
            fix=f"type for example: {name} 8k",
        )
    return int(match[1]) * (1024 if match[2] else 1)


def format_bytes(count: int | None) -> str:
    """`7.31 GiB`, `608 MiB`; unknown is a question mark, never a zero."""
    if count is None:
        return "?"
    for size, unit in ((TiB, "TiB"), (GiB, "GiB")):
        if abs(count) >= size:
            return f"{count / size:,.2f} {unit}"
    if abs(count) >= 10 * MiB or count == 0:
        return f"{count / MiB:,.0f} MiB"
    return f"{count / MiB:,.1f} MiB"


def format_mib(count: int | None) -> str:
    """`6,390.2`: in MiB without the unit, for columns whose differences matter."""
    return "-" if count is None else f"{count / MiB:,.1f}"


def format_count(count: int | None) -> str:
    """With thousands separators."""
    return "?" if count is None else f"{count:,}"


def format_rate(per_s: float | None) -> str:
    """Tokens per second with three telling digits."""
    if per_s is None:
        return "-"
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.1f}"


def format_percent(share: float | None) -> str:
    """A share of 1 as whole percent."""
    return "-" if share is None else f"{100 * share:.0f}%"


def format_duration(seconds: float) -> str:
    """`0:01:05`, hours first."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
