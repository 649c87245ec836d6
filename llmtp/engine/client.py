"""HTTP to a llama-server: the only importer of httpx. No proxy, no redirect, bounded waits.

Requests are made aside, so that a signal never leaves a socket that nobody closes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from llmtp.aside import Aside
from llmtp.errors import EngineUnreachableError

_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = 600.0
_PROOF_TIMEOUT_S = 900.0


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

    def props(self) -> Any:
        return self._json(self._get("/props"))

    def slots(
        self, timeout_s: float = _TIMEOUT_S, meanwhile: Callable[[], object] | None = None
    ) -> Any:
        """The JSON of `/slots`; `meanwhile` may end the wait by raising."""
        return self._json(self._get("/slots", timeout_s, meanwhile))

    def metrics(self) -> str:
        return self._get("/metrics").text

    def complete(
        self, body: dict[str, Any], meanwhile: Callable[[], object] | None = None
    ) -> dict[str, Any]:
        """One `/completion` that is not streamed; `meanwhile` may end the wait by raising."""
        try:
            response = self._aside.call(
                lambda: self._http.post(
                    "/completion", json=body, headers=self._headers, timeout=_PROOF_TIMEOUT_S
                ),
                meanwhile,
            )
        except httpx.HTTPError as error:
            raise EngineUnreachableError(str(error) or type(error).__name__) from error
        answer = self._json(_checked(response))
        if not isinstance(answer, dict):
            raise EngineUnreachableError("the answer is not an object")
        return answer

    def stream_chat(
        self, body: dict[str, Any], meanwhile: Callable[[], object] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Chunks of a streamed `/v1/chat/completions`; `meanwhile` may end the wait by raising."""
        return self._aside.stream(lambda: self._stream_chat(body), meanwhile)

    def _stream_chat(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        request = self._http.stream(
            "POST",
            "/v1/chat/completions",
            json=body | {"stream": True},
            headers=self._headers,
            timeout=_ANSWER_TIMEOUT_S,
        )
        try:
            with request as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    _checked(response)
                for line in response.iter_lines():
                    if line == "data: [DONE]":
                        return
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
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
    ) -> httpx.Response:
        try:
            response = self._aside.call(
                lambda: self._http.get(path, headers=self._headers, timeout=timeout_s), meanwhile
            )
            return _checked(response)
        except httpx.HTTPError as error:
            raise EngineUnreachableError(str(error) or type(error).__name__) from error

    @staticmethod
    def _json(response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise EngineUnreachableError("the answer is not JSON") from error


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code == httpx.codes.OK:
        return response
    try:
        detail = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:200]
    raise EngineUnreachableError(
        f"HTTP {response.status_code}: {detail}", status=response.status_code
    )
