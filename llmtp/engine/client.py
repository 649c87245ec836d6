"""HTTP to an engine, in the words of llama-server: the only importer of httpx. No proxy, no
redirect, bounded waits.

Requests are made aside, so that a signal never leaves a socket that nobody closes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from llmtp.aside import Aside
from llmtp.errors import EngineUnreachableError

_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = 600.0
_PROOF_TIMEOUT_S = 900.0
#: Of anything but a completion. `/metrics` of a vLLM with many models has some 100 kB.
_MOST_BYTES = 8 << 20


class EngineClient:
    """Requests to one server. `base_url` has no trailing slash."""

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=_TIMEOUT_S, trust_env=False)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._aside = Aside("engine-requests")

    def close(self) -> None:
        """Once nobody answers any more, or within the time limit of a request."""
        self._aside.close()
        self._http.close()

    def ready_at(self) -> tuple[str, int] | None:
        """The address at which `/health` says that the model is loaded.

        No key goes along: whose server it is may have to be seen first.
        """
        try:
            return self._aside.call(self._ready_at)
        except httpx.HTTPError:
            return None

    def _ready_at(self) -> tuple[str, int] | None:
        with self._http.stream("GET", "/health") as response:
            host, port, *_ = response.extensions["network_stream"].get_extra_info("server_addr")
            response.read()
        return (host, port) if response.status_code == httpx.codes.OK else None

    def json(self, path: str) -> Any:
        """What a GET there answers."""
        return _parsed(self._get(path))

    def props(self) -> Any:
        return self.json("/props")

    def serves(self) -> str | None:
        """How the server names its model; None where it does not."""
        return _told(self.props(), "model_path")

    def build(self) -> str | None:
        """As the server names it, `b10068-abcdef0`."""
        return _told(self.props(), "build_info")

    def chat_prompt(
        self, text: str, meanwhile: Callable[[], object] | None = None
    ) -> str | list[int]:
        """A question as the model's chat template puts it, thinking off."""
        body = {
            "messages": [{"role": "user", "content": text}],
            "chat_template_kwargs": {"enable_thinking": False},
        }
        return str(self.post("/apply-template", body, meanwhile).get("prompt", text))

    def tokenize(
        self, prompt: str | list[int], meanwhile: Callable[[], object] | None = None
    ) -> list[int]:
        """A prompt, with the template in it, as the engine reads it."""
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return ints(self.post("/tokenize", body, meanwhile).get("tokens"))

    def slots(
        self, timeout_s: float = _TIMEOUT_S, meanwhile: Callable[[], object] | None = None
    ) -> Any:
        """The JSON of `/slots`; `meanwhile` may end the wait by raising."""
        return _parsed(self._get("/slots", timeout_s, meanwhile))

    def why_no_drafts(self) -> str:
        """A likely reason why requests are answered without, although there is a drafter."""
        try:
            speculative = [slot.get("speculative") for slot in self.slots()]
        except (EngineUnreachableError, AttributeError, TypeError):
            return "its slots cannot be read"
        if any(speculative):
            return "its slots are set up for drafting, so the build's drafting is broken"
        return "its slots are not set up for drafting; the build ignores --spec-type draft-mtp"

    def metrics(
        self, timeout_s: float = _TIMEOUT_S, meanwhile: Callable[[], object] | None = None
    ) -> str:
        """The text of `/metrics`; `meanwhile` may end the wait by raising."""
        return self._get("/metrics", timeout_s, meanwhile).decode("utf-8", "replace")

    def complete(
        self, body: dict[str, Any], meanwhile: Callable[[], object] | None = None
    ) -> dict[str, Any]:
        """One `/completion` that is not streamed; `meanwhile` may end the wait by raising."""
        return self.post("/completion", body, meanwhile)

    def post(
        self, path: str, body: dict[str, Any], meanwhile: Callable[[], object] | None = None
    ) -> dict[str, Any]:
        """The object that a POST of JSON is answered with, however long that takes."""
        try:
            response = self._aside.call(
                lambda: self._http.post(
                    path, json=body, headers=self._headers, timeout=_PROOF_TIMEOUT_S
                ),
                meanwhile,
            )
        except httpx.HTTPError as error:
            raise EngineUnreachableError(str(error) or type(error).__name__) from error
        answer = _parsed(_checked(response.status_code, response.content))
        if not isinstance(answer, dict):
            raise EngineUnreachableError("the answer is not an object")
        return answer

    def stream_chat(
        self, body: dict[str, Any], meanwhile: Callable[[], object] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Chunks of a streamed `/v1/chat/completions`; `meanwhile` may end the wait by raising."""
        return self._aside.stream(lambda: self._stream("/v1/chat/completions", body), meanwhile)

    def stream_completion(
        self, body: dict[str, Any], meanwhile: Callable[[], object] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Chunks of a streamed `/completion`; `meanwhile` may end the wait by raising."""
        return self._aside.stream(lambda: self._stream("/completion", body), meanwhile)

    def _stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        request = self._http.stream(
            "POST",
            path,
            json=body | {"stream": True},
            headers=self._headers,
            timeout=_ANSWER_TIMEOUT_S,
        )
        try:
            with request as response:
                if response.status_code != httpx.codes.OK:
                    _checked(response.status_code, response.read())
                for line in response.iter_lines():
                    if line == "data: [DONE]":
                        return
                    if line.startswith("data: "):
                        chunk = json.loads(line.removeprefix("data: "))
                        yield chunk
                        if isinstance(chunk, dict) and chunk.get("stop"):
                            return  # a /completion ends so, and its connection: b10068 closes it
                    elif line.startswith("error: "):
                        raise EngineUnreachableError(line.removeprefix("error: "))
        except (httpx.HTTPError, ValueError) as error:
            raise EngineUnreachableError(str(error) or type(error).__name__) from error
        raise EngineUnreachableError("the answer was cut off")

    def _get(
        self,
        path: str,
        timeout_s: float = _TIMEOUT_S,
        meanwhile: Callable[[], object] | None = None,
    ) -> bytes:
        try:
            return self._aside.call(lambda: self._read(path, timeout_s), meanwhile)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error

    def _read(self, path: str, timeout_s: float) -> bytes:
        """As it comes, not unpacked, and no longer or larger than an engine's answer is."""
        deadline = time.monotonic() + timeout_s
        headers = self._headers | {"Accept-Encoding": "identity"}
        with self._http.stream("GET", path, headers=headers, timeout=timeout_s) as response:
            body = b""
            for piece in response.iter_raw():
                body += piece
                if len(body) > _MOST_BYTES:
                    raise EngineUnreachableError("the answer is too long", is_garbage=True)
                if time.monotonic() > deadline:
                    raise EngineUnreachableError("the answer does not end")
            return _checked(response.status_code, body)


def _told(answer: Any, name: str) -> str | None:
    value = answer.get(name) if isinstance(answer, dict) else None
    return value if isinstance(value, str) else None


def ints(value: Any) -> list[int]:
    """Token numbers, where an answer has such a list."""
    return [int(one) for one in value] if isinstance(value, list) else []


def _unreachable(error: httpx.HTTPError) -> EngineUnreachableError:
    return EngineUnreachableError(
        str(error) or type(error).__name__,
        is_alone=isinstance(error, httpx.ConnectError | httpx.ConnectTimeout),
        is_garbage=isinstance(error, httpx.RemoteProtocolError),
    )


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EngineUnreachableError("the answer is not JSON", is_garbage=True) from error


def _checked(status: int, body: bytes) -> bytes:
    if status == httpx.codes.OK:
        return body
    try:
        detail = str(json.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        detail = body[:200].decode("utf-8", "replace")
    raise EngineUnreachableError(f"HTTP {status}: {detail[:200]}", status=status)
