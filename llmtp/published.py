"""The shape of a released model as its makers published it: for plans without a header."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmtp.yamlfile import YamlFile

_MOST, _MOST_LAYERS, _MOST_EXPERTS, _MOST_EXPERTS_USED = 1 << 24, 1024, 1024, 32
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
    for name, is_possible, expected in _rules(shape):
        if not is_possible:
            raise section.wrong(name, f"is {getattr(shape, name)}", expected)
    return shape


def _rules(shape: PublishedShape) -> Iterator[tuple[str, bool, str]]:
    """What llama.cpp wants of a shape: the layers that keep a cache end in a full one."""
    kept = shape.layers - shape.shared_kv
    every, kv_heads = shape.full_every, (shape.kv_heads, shape.kv_heads_full)
    yield "full_every", every > 1, "2 or more"
    yield (
        "layers",
        shape.layers <= _MOST_LAYERS and shape.layers % every == 0,
        (f"a multiple of full_every, up to {_MOST_LAYERS}"),
    )
    yield (
        "shared_kv",
        kept > 0 and kept % every == 0,
        "less than layers by a multiple of full_every",
    )
    for name in ("heads", "draft_heads"):
        divides = all(getattr(shape, name) % heads == 0 for heads in kv_heads)
        yield name, divides, "a multiple of kv_heads and of kv_heads_full"
    yield "experts", shape.experts <= _MOST_EXPERTS, f"up to {_MOST_EXPERTS}"
    if shape.experts:
        most = min(shape.experts, _MOST_EXPERTS_USED)
        yield "experts_used", 0 < shape.experts_used <= most, f"1 to {most}"
        yield "expert_feed_forward", shape.expert_feed_forward > 0, "1 or more"
