"""What the registry keeps of a server: whatever is read, it is an entry or a reason."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import Any

from builders import ENTRY
from hypothesis import given
from hypothesis import strategies as st

from llmtp.machine.identity import ProcessId
from llmtp.server.entry import id_for, is_id, parse_entry
from llmtp.server.life import State

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_an_entry_is_read_as_it_was_written() -> None:
    for one in (
        ENTRY,
        replace(ENTRY, server=None, mtp=None, log=None, api_key_file=None),
        replace(ENTRY, state=State.FAILED, exit_code=7, ended_at=2.5, draining=3),
    ):
        assert parse_entry(one.to_json()) == one
    assert ENTRY.port == 8080
    assert replace(ENTRY, url="").port is None


@given(st.sampled_from(sorted(json.loads(ENTRY.to_json()))), JSON)
def test_another_value_is_read_or_refused(name: str, value: Any) -> None:
    changed = json.dumps(json.loads(ENTRY.to_json()) | {name: value})
    try:
        read = parse_entry(changed)
    except ValueError:
        return
    assert is_id(read.id)
    assert read.llmtp.pid > 0
    assert parse_entry(read.to_json()) == read


@given(st.sampled_from(sorted(json.loads(ENTRY.to_json()))))
def test_nothing_may_be_missing(name: str) -> None:
    value = json.loads(ENTRY.to_json())
    del value[name]
    try:
        parse_entry(json.dumps(value))
    except ValueError:
        return
    raise AssertionError(name)


@given(st.text(), st.integers(0, 5))
def test_every_model_gets_an_id_of_its_own(model: str, others: int) -> None:
    taken: set[str] = set()
    for _ in range(others + 1):
        name = id_for(model, taken)
        assert is_id(name)
        assert name not in taken
        taken.add(name)


def test_an_id_is_easy_to_type() -> None:
    assert id_for("gemma-4-12b", set()) == "gemma-4-12b"
    assert id_for("gemma-4-12b", {"gemma-4-12b"}) == "gemma-4-12b-2"
    assert id_for("hf:unsloth/Gemma-4:Q4_K_M", set()) == "hf-unsloth-gemma-4-q4_k_m"
    assert id_for("/a/b/My Model.gguf", set()) == "my-model"
    assert id_for("all", set()) == "server"
    assert not is_id("all")


def test_a_process_is_known_by_its_start() -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert me.is_alive
    assert not replace(me, started=me.started + "0").is_alive
    assert not replace(me, started=me.started + "0").signal(0)
    assert me.signal(0)
    child = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    known = ProcessId.of(child)
    assert known is not None
    before = time.monotonic()
    assert not known.wait(0.2)
    assert time.monotonic() - before >= 0.2
    assert known.signal(9)
    assert known.wait(30)
    assert not known.is_alive, "a dead one that nobody has reaped is gone, too"
    os.waitpid(child, 0)
    assert ProcessId.of(child) is None
