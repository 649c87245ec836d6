"""Can the Hub be reached, whose token is it, and may these repositories be had? In two seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import httpx
from huggingface_hub import constants
from huggingface_hub.utils._auth import get_token

from llmtp.aside import begin
from llmtp.errors import LlmtpError
from llmtp.hub.answers import Reach
from llmtp.hub.wire import quiet, raise_for_status, request_headers, translated
from llmtp.hubname import HubName
from llmtp.text import clean, without_passwords

_TIMEOUT_S = 1.5
_ALL_S = 1.8
_MOST_BYTES = 1 << 20
#: These say something of one repository or of the token; others of the Hub as a whole.
_PARTICULAR = {"gated", "forbidden", "repository-not-found", "token"}
_STALLED = httpx.ReadTimeout("no answer")


def reach(names: Sequence[HubName]) -> Reach:
    """Ask for the owner of the token and for these repositories, all at once."""
    quiet()
    if constants.HF_HUB_OFFLINE or not names:
        return Reach(None)
    endpoint = clean(without_passwords(constants.ENDPOINT), 120)
    began = time.monotonic()
    try:
        with translated(names[0]):
            has_token = get_token() is not None
    except LlmtpError as error:
        return Reach(endpoint, 0.0, error)
    owner = begin(partial(_owner, names[0])) if has_token else None
    asked = {name.repo_id: begin(partial(_gate, name, has_token)) for name in names}

    def result(future: Any, name: HubName) -> Any:
        try:
            with translated(name):
                try:
                    return future.result(max(began + _ALL_S - time.monotonic(), 0.0))
                except TimeoutError:
                    raise _STALLED from None
        except LlmtpError as error:
            return error

    answers = {name.repo_id: result(asked[name.repo_id], name) for name in names}
    user = result(owner, names[0]) if owner is not None else None
    took = time.monotonic() - began
    errors = [one for one in answers.values() if isinstance(one, LlmtpError)]
    general = [one for one in errors if one.findings[0].rule not in _PARTICULAR]
    if general and len(errors) == len(answers):
        return Reach(endpoint, took, general[0], has_token)
    told = isinstance(user, LlmtpError)
    gated = {
        repo_id: answer if isinstance(answer, LlmtpError) else None
        for repo_id, answer in answers.items()
        if answer is True
        or (answer in errors and answer.findings[0].rule in ("gated", "forbidden"))
    }
    return Reach(
        endpoint, took, None, has_token, None if told else user, user if told else None, gated
    )


def _owner(name: HubName) -> str | None:
    owner = _get("/api/whoami-v2", name).get("name")
    return clean(owner, 60) if isinstance(owner, str) else None


def _gate(name: HubName, has_token: bool) -> bool:
    """Is it closed to us? Raises what it says where it is."""
    path = f"/api/models/{name.repo_id}"
    if not _get(path, name).get("gated"):
        return False
    if not has_token:
        return True
    _get(f"{path}/auth-check", name)
    return False


def _get(path: str, name: HubName) -> dict[str, Any]:
    with (
        translated(name),
        httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as client,
        client.stream("GET", f"{constants.ENDPOINT}{path}", headers=request_headers()) as response,
    ):
        raise_for_status(response)
        body = b""
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise ValueError("an endless answer")
        value = json.loads(body or b"{}")
        return value if isinstance(value, dict) else {}
