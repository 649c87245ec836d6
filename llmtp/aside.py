"""Threads for calls that a signal must not break off in the middle, or that take long together.

Interrupted is raised in the main thread, wherever it is: between the making of a socket and the
place where it is kept, nobody would close it. The main thread waits here instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from llmtp import signals

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
_CLOSE_WAIT_S = 5.0
_MEANWHILE_EVERY_S = 0.25


def begin(make: Callable[[], T]) -> Future[T]:
    """Start a call in a thread of its own; what it returns or raises is the result.

    The process may end without it.
    """
    from concurrent.futures import Future

    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(make())
        except BaseException as raised:  # noqa: BLE001 - whoever waits raises it
            future.set_exception(raised)

    with signals.hold():
        threading.Thread(target=work, daemon=True).start()
    return future


class _End:
    """Nothing more comes, for this reason."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Aside:
    """One thread, one call after the other; started with the first."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Iterable[Any]], SimpleQueue[Any]] | None] = (
            SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._started = False

    def call(self, make: Callable[[], T], meanwhile: Callable[[], object] | None = None) -> T:
        """What `make` returns or raises; the wait for it may be interrupted, `make` may not.

        `meanwhile` is called four times a second of the wait, and may end it by raising.
        """
        (result,) = self.stream(lambda: [make()], meanwhile)
        return result

    def stream(
        self, produce: Callable[[], Iterable[T]], meanwhile: Callable[[], object] | None = None
    ) -> Iterator[T]:
        """What `produce` yields, as it comes."""
        if not self._started:
            with signals.hold():  # or nobody knows whether there is a thread to wait for
                self._thread.start()
                self._started = True
        results: SimpleQueue[T | _End] = SimpleQueue()
        self._jobs.put((produce, results))
        while True:
            try:
                item = results.get(timeout=_MEANWHILE_EVERY_S if meanwhile else None)
            except Empty:
                if meanwhile:
                    meanwhile()
                continue
            if isinstance(item, _End):
                break
            yield item
        if item.error is not None:
            raise item.error

    def close(self) -> None:
        """End the thread, once the call that it is in has ended; a bounded wait."""
        if self._started:
            self._jobs.put(None)
            self._thread.join(_CLOSE_WAIT_S)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            produce, results = job
            error: BaseException | None = None
            try:
                for item in produce():
                    results.put(item)
            except BaseException as raised:  # noqa: BLE001 - whoever waits raises it
                error = raised
            results.put(_End(error))
