"""Bars of block characters."""

from __future__ import annotations


def bar(share: float, width: int) -> str:
    """A bar of `width` cells; eighths of a cell are drawn."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    partial = " ▏▎▍▌▋▊▉"[rest] if rest else ""
    return ("█" * full + partial).ljust(width, "·")
