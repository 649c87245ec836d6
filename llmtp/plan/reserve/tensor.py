"""Tensors as ggml has them, without their values: shape, strides, sources (ggml.c)."""

from __future__ import annotations

from collections.abc import Iterable

from llmtp.plan.kv import KV_TYPES

#: GPUs are numbered from 0; there are at most 16 back ends (GGML_SCHED_MAX_BACKENDS).
CPU, NOWHERE = 16, -1
#: Bytes an element, or elements and bytes a block.
BLOCKS = {**KV_TYPES, "i32": (1, 4), "i64": (1, 8)}
#: Operations that only look at memory of another tensor.
VIEWS = {"view", "reshape", "permute"}

Numbers = tuple[int, ...]


class Tensor:
    """A value of a graph. Strides are in bytes.

    `on` is where its memory is from the beginning, as that of a weight or of a cache; `root` whose
    memory it views. `runs_on` is for the scheduler, `place` and the counts for the allocator.
    """

    __slots__ = ("children", "copies", "is_input", "is_output", "is_weight", "n_bytes", "norm_of",
                 "on", "op", "place", "root", "runs_on", "seen", "shape", "sources", "strides",
                 "type", "views")  # fmt: skip

    def __init__(
        self,
        op: str,
        shape: Iterable[int],
        sources: Iterable[Tensor] = (),
        kind: str = "f32",
        *,
        strides: Numbers | None = None,
        root: Tensor | None = None,
        n_bytes: int | None = None,
        on: int = NOWHERE,
        is_weight: bool = False,
        is_input: bool = False,
    ) -> None:
        given = tuple(shape)
        self.op, self.type = op, kind
        self.shape: Numbers = given + (1,) * (4 - len(given))
        self.sources = list(sources)
        a, b, c, d = self.shape
        if strides is None:
            row = row_bytes(kind, a)
            strides = BLOCKS[kind][1], row, row * b, row * b * c
        self.strides = strides
        self.root, self.on = root, on
        self.is_weight, self.is_input, self.is_output = is_weight, is_input, False
        if n_bytes is None:  # from the first to the last element (ggml_nbytes)
            _, x, y, z = strides
            n_bytes = row_bytes(kind, a) + (b - 1) * x + (c - 1) * y + (d - 1) * z
        self.n_bytes = n_bytes
        self.norm_of: int | None = None
        self.runs_on, self.seen = NOWHERE, False
        self.copies: dict[int, Tensor] = {}
        self.place: tuple[int, tuple[int, int], int] | None = None
        self.children = self.views = 0

    @property
    def count(self) -> int:
        a, b, c, d = self.shape
        return a * b * c * d

    @property
    def memory(self) -> Tensor:
        """Whose memory it is in."""
        return self.root or self

    @property
    def is_view(self) -> bool:
        return self.op in VIEWS


def row_bytes(kind: str, count: int) -> int:
    """Of `count` elements in a row."""
    block, n_bytes = BLOCKS[kind]
    return count // block * n_bytes


def view(t: Tensor, shape: Iterable[int], strides: Numbers, op: str = "view") -> Tensor:
    """A part of a tensor."""
    return Tensor(op, shape, [t], t.type, strides=strides, root=t.memory)


def reshape(t: Tensor, *shape: int) -> Tensor:
    """The same elements in another shape."""
    return Tensor("reshape", shape, [t], t.type, root=t.memory)


def permute(t: Tensor) -> Tensor:
    """Axes 0, 2, 1, 3."""
    (a, b, c, d), (w, x, y, z) = t.shape, t.strides
    return view(t, (a, c, b, d), (w, y, x, z), "permute")


def mul_mat(matrix: Tensor, t: Tensor) -> Tensor:
    """A matrix times a tensor."""
    return Tensor("mul_mat", (matrix.shape[1], *t.shape[1:]), [matrix, t])


def like(op: str, t: Tensor, *more: Tensor) -> Tensor:
    """An operation whose result has the shape of its first source."""
    return Tensor(op, t.shape, [t, *more], t.type)


def new_input(kind: str, *shape: int) -> Tensor:
    """What the host fills in before each batch."""
    return Tensor("none", shape, kind=kind, is_input=True)
