"""A tiny vision projector for the crafted pair, real enough for the engine to encode images."""

from __future__ import annotations

from array import array
from pathlib import Path

from make_crafted_pair import BOOL, F32, STRING, U32, Writer

# The engine pools 3 x 3 patches into one of the "unified" form, which stands for one token.
PATCH = 2
POOL = 3
# At most 1120 tokens an image, and none may lie beyond the position table: any shape fits.
POSITIONS = 1120
EMBEDDING = 32


def make_mmproj(path: Path, width: int) -> Path:
    """Write a Gemma 4 "unified" projector (gemma4uv) for a main model of that hidden size.

    This form has no layers: patches are normed, multiplied, given a learned position for their
    column and their row, normed again and projected to the width. No audio encoder.
    """
    pixels = 3 * (PATCH * POOL) ** 2
    w = Writer(seed=3)
    w.add("general.architecture", STRING, "clip")
    w.add("general.type", STRING, "mmproj")
    w.add("general.name", STRING, "llmtp crafted projector")
    w.add("general.file_type", U32, 0)
    w.add("clip.has_vision_encoder", BOOL, True)
    w.add("clip.vision.projector_type", STRING, "gemma4uv")
    for key, value in {
        "image_size": 224,  # required, unused
        "patch_size": PATCH,
        "embedding_length": EMBEDDING,
        "feed_forward_length": 0,
        "block_count": 0,
        "attention.head_count": 0,
        "projection_dim": width,
    }.items():
        w.add(f"clip.vision.{key}", U32, value)
    w.add("clip.vision.attention.layer_norm_epsilon", F32, 1e-6)
    w.add_array("clip.vision.image_mean", F32, [0.0] * 3)
    w.add_array("clip.vision.image_std", F32, [1.0] * 3)
    w.noise("v.patch_embd.weight", pixels, EMBEDDING)
    w.constant("v.patch_embd.bias", EMBEDDING, 0.0)
    for number, size in enumerate((pixels, EMBEDDING, EMBEDDING), 1):
        w.constant(f"v.patch_norm.{number}.weight", size, 1.0)
        w.constant(f"v.patch_norm.{number}.bias", size, 0.0)
    table = array("f", bytes(4 * 2 * POSITIONS * EMBEDDING))
    w.tensors.append(("v.position_embd.weight", (EMBEDDING, POSITIONS, 2), table))
    w.noise("mm.input_projection.weight", EMBEDDING, width)
    w.write(path)
    return path
