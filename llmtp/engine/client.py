"""HTTP to a llama-server: the only importer of httpx. No proxy, no redirect, bounded waits.

Requests are made aside, so that a signal never leaves a socket that nobody closes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from llmtp.aside import Aside
from llmtp.errors import EngineUnreachableError

_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = 600.0
_PROOF_TIMEOUT_S = 300.0


class EngineClient:
    """Requests to one server. `base_url` has no trailing slash."""

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(
            base_url=base_url, headers=headers, timeout=_TIMEOUT_S, trust_env=False
        )
        self._aside = Aside("engine-requests")

    def close(self) -> None:
        """Once nobody answers any more, or within the time limit of a request."""
        self._aside.close()
        self._http.close()

    def is_ready(self) -> bool:
        """Does `/health` say that the model is loaded?"""
        try:
            response = self._aside.call(lambda: self._http.get("/health"))
        except httpx.HTTPError:
            return False
        return response.status_code == httpx.codes.OK

    def slots(self) -> Any:
        return self._json(self._get("/slots"))

    def metrics(self) -> str:
        return self._get("/metrics").text

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """One `/completion` that is not streamed."""
        try:
            response = self._aside.call(
                lambda: self._http.post("/completion", json=body, timeout=_PROOF_TIMEOUT_S)
            )
        except httpx.HTTPError as error:
            raise EngineUnreachableError(str(error) or type(error).__name__) from error
        answer = self._json(_checked(response))
        if not isinstance(answer, dict):
            raise EngineUnreachableError("the answer is not an object")
        return answer

    def stream_chat(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Chunks of a streamed `/v1/chat/completions`, as objects."""
        return self._aside.stream(lambda: self._stream_chat(body))

    def _stream_chat(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        request = self._http.stream(
            "POST", "/v1/chat/completions", json=body | {"stream": True}, timeout=_ANSWER_TIMEOUT_S
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

    def _get(self, path: str) -> httpx.Response:
        try:
            return _checked(self._aside.call(lambda: self._http.get(path)))
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
