"""One question to a server that is up, and what the engine counted of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmtp.bench.scheme import Question
from llmtp.engine.steps import Answer, answer_of
from llmtp.engine.timings import Timings
from llmtp.text import clean

if TYPE_CHECKING:
    from llmtp.engine.client import EngineClient

_TOP = 20
_WARM_UP = "Say hello, then count from one to forty in words."


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of one arm in one round. `tokens` are the engine's numbers of its text; `ended`
    says that the model ended it, and not the limit."""

    question: Question
    n_max: int
    round_number: int
    timings: Timings
    text: str
    tokens: tuple[int, ...]
    ended: bool


@dataclass(frozen=True, slots=True)
class Likely:
    """The likeliest next tokens with their natural log-probabilities, the likeliest first; none
    where the engine does not tell."""

    tokens: tuple[tuple[int, str, float], ...]


class Asker:
    """Asks one server. `meanwhile` may end a wait by raising."""

    def __init__(self, client: EngineClient, meanwhile: Callable[[], object]) -> None:
        self._client = client
        self._meanwhile = meanwhile

    def warm_up(self, tokens: int) -> Timings:
        """A request that counts for nothing: the first after a start may be far slower."""
        return Timings.of(self._complete(self.prompt(_WARM_UP), tokens, 0, ignore_eos=True))

    def build(self) -> str | None:
        """As the server names it, `b10068-abcdef0`."""
        said = self._client.build()
        return None if said is None else clean(said, 60)

    def prompt(self, text: str) -> str | list[int]:
        """As the model's chat template puts it, thinking off."""
        return self._client.chat_prompt(text, self._meanwhile)

    def tokenize(self, prompt: str | list[int]) -> list[int]:
        """A prompt with the template in it as the engine reads it."""
        return self._client.tokenize(prompt, self._meanwhile)

    def ask(
        self, question: Question, text: str, n_max: int, round_number: int, limit: int
    ) -> Answered:
        """Its answer; `text` is the question as it is asked, with whatever stands before it."""
        answer = self._complete(
            self.prompt(text), limit, question.cell.temp, seed=1000 * round_number + question.number
        )
        return Answered(
            question,
            n_max,
            round_number,
            Timings.of(answer),
            str(answer.get("content", "")),
            tuple(answer.get("tokens") or ()),
            answer.get("stop_type") in ("eos", "word"),
        )

    def steps(self, text: str, limit: int, temp: float, seed: int, *, cached: bool) -> Answer:
        """An answer of so many tokens, step by step; `cached` where its prompt may be known."""
        body = {
            "prompt": self.prompt(text),
            "n_predict": limit,
            "temperature": temp,
            "seed": seed,
            "cache_prompt": cached,
            "stream": True,
            "timings_per_token": True,
        }
        chunks = self._client.stream_completion(body, self._meanwhile)
        return answer_of(Timings.of(chunk) for chunk in chunks)

    def likely(self, tokens: list[int]) -> Likely:
        """What may come after these, without drafting: with it the engine tells no probability
        of tokens that were accepted (b10068)."""
        answer = self._complete(tokens, 1, 0, n_probs=_TOP)
        try:
            top = answer["completion_probabilities"][0]["top_logprobs"]
            told = [(int(t["id"]), str(t["token"]), float(t["logprob"])) for t in top]
        except (LookupError, TypeError, ValueError):
            return Likely(())
        return Likely(tuple(told))

    def _complete(
        self, prompt: str | list[int], limit: int, temp: float, **more: Any
    ) -> dict[str, Any]:
        body = {
            "prompt": prompt,
            "n_predict": limit,
            "temperature": temp,
            "cache_prompt": False,
            "return_tokens": True,
        }
        return self._client.complete(body | more, self._meanwhile)
