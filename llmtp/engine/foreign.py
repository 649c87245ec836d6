"""Which engine answers at an address that somebody names, and what it says of itself.

Any program may answer there: whatever it tells is bounded and made safe to show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llmtp.errors import EngineUnreachableError, NotFoundError, UsageError
from llmtp.text import clean
from llmtp.told import count

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient

Kind = Literal["llama-server", "vllm"]
_LOADING = 503
_KEY_MISSING = (401, 403)


@dataclass(frozen=True, slots=True)
class Told:
    """What a server says of itself; `ctx_size` is of one slot or request."""

    kind: Kind
    build: str | None
    model: str | None
    ctx_size: int | None


def identify(client: EngineClient, url: str) -> Told:
    """Ask it; raises NotFoundError for what is neither, UsageError where it wants a key."""
    try:
        told = _llama_server(client, url) or _vllm(client, url)
    except EngineUnreachableError as error:
        if error.is_alone:
            raise NotFoundError(
                f"nothing answers at {url}: {clean(error.detail, 120)}",
                rule="no-server",
                expected="a running llama-server or vLLM",
                fix="see what runs with llmtp ps, or start one: llmtp run MODEL",
            ) from None
        raise _neither(url, clean(error.detail, 120)) from None
    if told is None:
        raise _neither(url, None)
    return told


def _llama_server(client: EngineClient, url: str) -> Told | None:
    try:
        props = client.props()
    except EngineUnreachableError as error:
        if error.status == _LOADING:
            raise NotFoundError(
                f"the server at {url} is not ready: {clean(error.detail, 80)}",
                rule="not-ready",
                fix="type it again in a moment",
            ) from None
        _check_key(error, url)
        if error.status is None and not error.is_garbage:
            raise
        return None
    if not isinstance(props, dict) or "total_slots" not in props:
        return None
    settings = props.get("default_generation_settings")
    return Told(
        "llama-server",
        _text(props.get("build_info"), 60),
        _name(props.get("model_alias")) or _name(props.get("model_path")),
        count(settings.get("n_ctx")) if isinstance(settings, dict) else None,
    )


def _vllm(client: EngineClient, url: str) -> Told | None:
    try:
        version = client.json("/version")
        if not isinstance(version, dict) or "vllm:" not in client.metrics():
            return None
    except EngineUnreachableError as error:
        _check_key(error, url)
        if error.status is None and not error.is_garbage:
            raise
        return None
    model, ctx_size = None, None
    try:
        models = client.json("/v1/models")
        first = models["data"][0]
        model, ctx_size = _text(first.get("id"), 120), count(first.get("max_model_len"))
    except (EngineUnreachableError, LookupError, TypeError, AttributeError):
        pass  # without its key it still counts
    return Told("vllm", _text(version.get("version"), 60), model, ctx_size)


def _check_key(error: EngineUnreachableError, url: str) -> None:
    if error.status in _KEY_MISSING:
        raise UsageError(
            f"the server at {url} refuses: {clean(error.detail, 80)}",
            rule="key",
            expected="its API key",
            fix="name the file that has it: --api-key-file FILE",
        ) from None


def _neither(url: str, seen: str | None) -> NotFoundError:
    return NotFoundError(
        f"what answers at {url} is no llama-server and no vLLM",
        rule="no-engine",
        expected="the /props of a llama-server, or the /version and /metrics of vLLM",
        observed=seen,
        fix="name the address that the engine prints when it starts, without a path",
    )


def _text(value: Any, limit: int) -> str | None:
    return clean(value, limit) if isinstance(value, str) and value else None


def _name(value: Any) -> str | None:
    """The last part of a path."""
    return (
        _text(value.replace("\\", "/").rpartition("/")[2], 120) if isinstance(value, str) else None
    )
