"""What `run` does once everything is prepared: keep a server, ask one, or start one that stays."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from llmtp import signals
from llmtp.chain import Prepared, with_key
from llmtp.cli import once
from llmtp.cli.output import Out, ReaderGoneError
from llmtp.cli.views import RunView
from llmtp.cli.words import summary
from llmtp.errors import ExitCode, Finding
from llmtp.joining import follow_first
from llmtp.registered import Registered, ended, register
from llmtp.server import registry
from llmtp.server.access import key_file, make_key
from llmtp.server.entry import Entry
from llmtp.server.registry import Registration
from llmtp.signals import Interrupted
from llmtp.story import Event
from llmtp.supervisor import Supervisor


def keep(
    out: Out, prepared: Prepared, view: RunView, prompt: str | None, *, makes_key: bool
) -> None:
    """Keep a server up until somebody ends it; with a prompt, until that is answered."""
    with contextlib.ExitStack() as stack:
        with signals.hold():
            registration = register(prepared, makes_key=makes_key)
            stack.enter_context(ended(registration, fine=ReaderGoneError))
        try:
            _keep(out, prepared, view, prompt, registration, makes_key=makes_key)
        except Interrupted:
            if prompt is not None or not registration.stop_is_asked:
                raise


def _keep(
    out: Out,
    prepared: Prepared,
    view: RunView,
    prompt: str | None,
    registration: Registration,
    *,
    makes_key: bool,
) -> None:
    if makes_key:
        file = key_file(registration.id, registration.entry.llmtp.pid)
        registration.change(api_key_file=file, key_is_made=True)
        make_key(file)
        prepared = with_key(prepared, file)
        out.say(f"clients need the key in {file}")
    shown = Registered(view, registration)
    nodes = prepared.request.wishes.nodes
    if nodes is not None and nodes.rank:
        follow_first(prepared, nodes, shown, registration.marks)
        return
    supervisor = Supervisor(prepared, shown, registration.marks)
    if prompt is not None:
        supervisor.once(lambda running: once.answer(out, running, prompt))
        return
    _tell_of_others(view, registration.entry)
    supervisor.keep()


def _tell_of_others(view: RunView, ours: Entry) -> None:
    same = registry.kept_for(ours.wanted, None, besides=ours.id)
    if same is not None:
        text = f"{same.model} runs already, as {same.id} at {same.url}/v1; this is another one"
        view.finding(Finding("already-running", "warning", text, fix=_offer(same)))


def _offer(entry: Entry) -> str:
    return f'use that one: eval "$(llmtp env {entry.id})"; or end it: llmtp stop {entry.id}'


def detach(
    out: Out, prepared: Prepared, view: RunView, argv: Sequence[str], *, makes_key: bool
) -> None:
    """Start a server that stays, and say where it is."""
    from llmtp.detach import detach as start_detached

    out.say(summary(prepared.plan))
    told: dict[str, Event] = {}

    def tell(event: Event) -> None:
        told[event.name] = event
        match event.name:
            case "loading":
                view.loading(**event.fields)
            case "mtp" | "restarting":
                view.event(event)

    entry, was_there = start_detached(
        prepared,
        argv,
        makes_key=makes_key,
        on_event=tell,
        on_finding=view.finding,
        on_wait=lambda entry: out.say(f"{entry.id} is there, and {entry.state.value}"),
    )
    if was_there:
        text = f"{entry.model} runs already, as {entry.id}"
        view.finding(Finding("already-running", "info", text))
    proof = told["mtp"].fields if "mtp" in told else {}
    if out.as_json:
        out.envelope(_data(entry, proof, was_there), ExitCode.OK)
        return
    out.data(f"{entry.id}  {entry.url}/v1\n")
    if entry.key_is_made:
        out.say(f"clients need the key in {entry.api_key_file}: llmtp env {entry.id}")
    out.say(f"watch it: llmtp top {entry.id}; end it: llmtp stop {entry.id}")


def _data(entry: Entry, proof: dict[str, object], was_there: bool) -> dict[str, object]:
    return {
        "id": entry.id,
        "pid": entry.server.pid if entry.server else None,
        "url": entry.url,
        "port": entry.port,
        "model": entry.model,
        "n_max": entry.n_max,
        "mtp": entry.mtp,
        "drafted": proof.get("drafted"),
        "accepted": proof.get("accepted"),
        "ctx_size": entry.plan.get("ctx_size"),
        "given_up": entry.plan.get("given_up"),
        "api_key_file": str(entry.api_key_file) if entry.api_key_file else None,
        "log": str(entry.log) if entry.log else None,
        "was_running": was_there,
    }
