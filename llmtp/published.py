"""The shape of a released model as its makers published it: for plans without a header."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmtp.yamlfile import YamlFile

_MOST, _MOST_LAYERS = 1 << 24, 1024
_NEEDED = ("width", "layers", "full_every", "heads", "kv_heads", "kv_heads_full", "feed_forward",
           "window", "context", "draft_width", "draft_heads", "draft_feed_forward")  # fmt: skip
_OPTIONAL = ("shared_kv", "per_layer", "experts", "experts_used", "expert_feed_forward")


@dataclass(frozen=True, slots=True)
class PublishedShape:
    """The text part of a release and its drafter, in the words of its configuration.

    Every `full_every`th layer is full, with `kv_heads_full`; the last `shared_kv` layers have no
    keys and values of their own and, if `shared_wide`, feed forward twice as wide. Where
    `full_values`, full layers have values beside their keys. `per_layer` is the width of the
    embeddings by layer. 0 is none.
    """

    width: int
    layers: int
    full_every: int
    heads: int
    kv_heads: int
    kv_heads_full: int
    feed_forward: int
    window: int
    context: int
    draft_width: int
    draft_heads: int
    draft_feed_forward: int
    shared_kv: int = 0
    per_layer: int = 0
    experts: int = 0
    experts_used: int = 0
    expert_feed_forward: int = 0
    shared_wide: bool = False
    full_values: bool = False


def read_shape(file: YamlFile) -> PublishedShape | None:
    """The section `shape` of a profile; raises UsageError with the line."""
    section = file.section("shape")
    if section is None:
        return None
    section.only({field.name for field in fields(PublishedShape)})

    def number(name: str) -> int:
        given = section.number(name, 1, _MOST)
        if given is None:
            raise section.wrong(name, "is missing", "a whole number")
        return given

    shape = PublishedShape(
        **{name: number(name) for name in _NEEDED},
        **{name: section.number(name, 0, _MOST) or 0 for name in _OPTIONAL},
        shared_wide=section.flag("shared_wide"),
        full_values=section.flag("full_values"),
    )
    if not shape.shared_kv < shape.layers <= _MOST_LAYERS:
        raise section.wrong("layers", f"is {shape.layers}", f"above shared_kv, to {_MOST_LAYERS}")
    return shape
