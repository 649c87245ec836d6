"""The states of a server, and the moves between them. Whoever owns the server owns its Life."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum


class State(Enum):
    """What a server is doing, in the words that a person reads."""

    STARTING = "starting"
    PROVING = "proving"
    READY = "ready"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    FAILED = "failed"


#: Every process ends through STOPPING: of a dead server, too, children may be left. A start ends
#: without one where it cannot be made.
MOVES: Mapping[State, frozenset[State]] = {
    State.STARTING: frozenset(
        {State.PROVING, State.STOPPING, State.RESTARTING, State.STOPPED, State.FAILED}
    ),
    State.PROVING: frozenset({State.READY, State.STOPPING}),
    State.READY: frozenset({State.STOPPING}),
    State.STOPPING: frozenset({State.RESTARTING, State.STOPPED, State.FAILED}),
    State.RESTARTING: frozenset({State.STARTING, State.STOPPED, State.FAILED}),
    State.STOPPED: frozenset(),
    State.FAILED: frozenset(),
}


class Life:
    """The state of one server, through all its starts."""

    def __init__(self, on_move: Callable[[State], None] = lambda _: None) -> None:
        self.state = State.STARTING
        self._on_move = on_move

    def to(self, state: State) -> None:
        """Move on; raises RuntimeError, a bug, where no such move exists."""
        if state not in MOVES[self.state]:
            raise RuntimeError(f"a server that is {self.state.value} cannot be {state.value}")
        self.state = state
        self._on_move(state)
