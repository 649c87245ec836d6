"""HTTP to a vLLM, answered in the form that llama-server's /completion has.

vLLM tells no timings. A streamed answer has a chunk a step, with the tokens that were right, so the
clock is ours; how many were drafted is counted by its /metrics, of all requests.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llmtp.engine.client import EngineClient, ints
from llmtp.errors import EngineUnreachableError
from llmtp.text import clean

_DRAFTED = "vllm:spec_decode_num_draft_tokens_total"
_ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
_NUMBERED = "token_id:"
_ENDED = "stop"


class VllmClient(EngineClient):
    """Requests to one server for the model that it serves by `name`; a step has `n_max` drafts."""

    def __init__(self, base_url: str, api_key: str | None, name: str, n_max: int) -> None:
        super().__init__(base_url, api_key)
        self._name = name
        self._n_max = n_max
        self._salts = itertools.count()

    def serves(self) -> str | None:
        try:
            models = self.json("/v1/models")
            name = models["data"][0]["id"]
        except (LookupError, TypeError):
            return None
        return name if isinstance(name, str) else None

    def build(self) -> str | None:
        answer = self.json("/version")
        version = answer.get("version") if isinstance(answer, dict) else None
        return f"vLLM {version}" if isinstance(version, str) else None

    def chat_prompt(
        self, text: str, meanwhile: Callable[[], object] | None = None
    ) -> str | list[int]:
        body = {
            "model": self._name,
            "messages": [{"role": "user", "content": text}],
            "add_generation_prompt": True,
            "chat_template_kwargs": {"enable_thinking": False},
        }
        return ints(self.post("/tokenize", body, meanwhile).get("tokens"))

    def tokenize(
        self, prompt: str | list[int], meanwhile: Callable[[], object] | None = None
    ) -> list[int]:
        if not isinstance(prompt, str):
            return prompt
        body = {"model": self._name, "prompt": prompt}
        return ints(self.post("/tokenize", body, meanwhile).get("tokens"))

    def why_no_drafts(self) -> str:
        if f"\n{_DRAFTED}" in self.metrics():
            return "its counters of drafts stay at 0"
        return "its /metrics have no counters of drafts, so it was started without a drafter"

    def complete(
        self, body: dict[str, Any], meanwhile: Callable[[], object] | None = None
    ) -> dict[str, Any]:
        before = self._drafts()
        answer: dict[str, Any] = {"content": "", "tokens": []}
        for chunk in self._completion(body, _Steps(self._n_max, whole=True), meanwhile):
            answer["content"] += chunk["content"]
            answer["tokens"] += chunk["tokens"]
            later = {name: chunk[name] for name in chunk if name not in ("content", "tokens")}
            answer |= later
        self._count(answer["timings"], before)
        return answer

    def stream_completion(
        self, body: dict[str, Any], meanwhile: Callable[[], object] | None = None
    ) -> Iterator[dict[str, Any]]:
        return self._completion(body, _Steps(self._n_max, whole=False), meanwhile)

    def stream_chat(
        self, body: dict[str, Any], meanwhile: Callable[[], object] | None = None
    ) -> Iterator[dict[str, Any]]:
        asked = {
            "model": self._name,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
        before, steps = self._drafts(), _Steps(self._n_max, whole=True)

        def chunks() -> Iterator[dict[str, Any]]:
            for chunk in self._answered("/v1/chat/completions", body | asked):
                steps.take(chunk)
                yield chunk

        yield from self._aside.stream(chunks, meanwhile)
        timings = steps.timings
        with contextlib.suppress(EngineUnreachableError):  # the answer is whole all the same
            self._count(timings, before)
        yield {"choices": [], "timings": timings}

    def _completion(
        self, body: dict[str, Any], steps: _Steps, meanwhile: Callable[[], object] | None
    ) -> Iterator[dict[str, Any]]:
        asked = self._body(body)

        def chunks() -> Iterator[dict[str, Any]]:
            for chunk in self._answered("/v1/completions", asked):
                steps.take(chunk)
                yield _as_completion(chunk) | {"timings": steps.timings}

        return self._aside.stream(chunks, meanwhile)

    def _body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A body of llama-server as vLLM wants it."""
        asked = {
            "model": self._name,
            "prompt": body["prompt"],
            "max_tokens": body["n_predict"],
            "temperature": body["temperature"],
            "ignore_eos": body.get("ignore_eos", False),
            "return_token_ids": True,
            "stream_options": {"include_usage": True},
        }
        if "seed" in body:
            asked["seed"] = body["seed"]
        if "n_probs" in body:
            asked |= {"logprobs": body["n_probs"], "return_tokens_as_token_ids": True}
        if not body.get("cache_prompt", True):
            asked["cache_salt"] = f"{os.getpid()}-{next(self._salts)}"
        return asked

    def _answered(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Chunks; one that is an error raises it."""
        for chunk in self._stream(path, body):
            error = chunk.get("error") if isinstance(chunk, dict) else {}
            if error is not None:
                words = error.get("message") if isinstance(error, dict) else None
                raise EngineUnreachableError(clean(str(words or "it answers with no object"), 200))
            yield chunk

    def _drafts(self) -> tuple[int, int]:
        """Tokens drafted and accepted so far."""
        counts = {_DRAFTED: 0.0, _ACCEPTED: 0.0}
        for line in self.metrics().splitlines():
            name, _, rest = line.partition("{")
            if name in counts:
                counts[name] += _number(rest.rpartition(" ")[2])
        return int(counts[_DRAFTED]), int(counts[_ACCEPTED])

    def _count(self, timings: dict[str, Any], before: tuple[int, int]) -> None:
        drafted, accepted = self._drafts()
        timings["draft_n"] = max(drafted - before[0], 0)
        timings["draft_n_accepted"] = max(accepted - before[1], 0)


class _Steps:
    """Timings of one answer. The first token is the prompt's. What ends an answer is cut: unless
    the `whole` answer counts, it is left out, so that each chunk is a step."""

    def __init__(self, n_max: int, *, whole: bool) -> None:
        self._n_max = n_max
        self._whole = whole
        self._asked_at = time.monotonic()
        self._first_at: float | None = None
        self._told = {"prompt_n": 0, "predicted_n": 0, "draft_n": 0, "draft_n_accepted": 0}
        self._prompt_s = self._predicted_s = 0.0

    def take(self, chunk: Mapping[str, Any]) -> None:
        now = time.monotonic()
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self._told["prompt_n"] = int(usage.get("prompt_tokens") or 0)
        choices = chunk.get("choices") or ()
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        tokens = len(ints(choice.get("token_ids")))
        if not tokens:
            return
        if self._first_at is None:
            self._first_at = now
            self._prompt_s = now - self._asked_at
            self._told["predicted_n"] = tokens
        elif self._whole or not choice.get("finish_reason"):
            steps = -(-tokens // (self._n_max + 1))
            self._told["predicted_n"] += tokens
            self._told["draft_n"] += steps * self._n_max
            self._told["draft_n_accepted"] += tokens - steps
            self._predicted_s = now - self._first_at

    @property
    def timings(self) -> dict[str, Any]:
        """As llama-server has them, so far."""
        speed = None
        if self._predicted_s:
            speed = (self._told["predicted_n"] - 1) / self._predicted_s
        return {
            **self._told,
            "prompt_ms": 1000 * self._prompt_s,
            "predicted_ms": 1000 * self._predicted_s,
            "predicted_per_second": speed,
        }


def _as_completion(chunk: Mapping[str, Any]) -> dict[str, Any]:
    choices = chunk.get("choices") or ()
    choice = choices[0] if choices and isinstance(choices[0], dict) else {}
    told: dict[str, Any] = {
        "content": str(choice.get("text") or ""),
        "tokens": ints(choice.get("token_ids")),
    }
    if choice.get("finish_reason"):
        told["stop_type"] = "eos" if choice["finish_reason"] == _ENDED else "limit"
    probabilities = choice.get("logprobs")
    if isinstance(probabilities, dict):
        tops = probabilities.get("top_logprobs")
        if isinstance(tops, list) and tops and isinstance(tops[0], dict):
            told["completion_probabilities"] = [{"top_logprobs": _ranked(tops[0])}]
    return told


def _ranked(top: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = [
        {"id": int(name.removeprefix(_NUMBERED)), "token": name, "logprob": _number(value)}
        for name, value in top.items()
        if name.removeprefix(_NUMBERED).isdecimal()
    ]
    return sorted(found, key=lambda one: -one["logprob"])


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) else 0.0
