"""Drawing in place, a frame at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from llmtp import signals


@contextlib.contextmanager
def between_frames() -> Iterator[None]:
    """An interruption in the middle of one would leave rich with a buffer that it never writes.

    The terminal may be gone; a signal says so.
    """
    with signals.hold(), contextlib.suppress(OSError):
        yield
