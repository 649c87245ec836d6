"""The vocabulary: byte-pair merges as Gemma 4 has them, and chats in the form of its turns.

A space is `▁`; merges run over whole lines, runs of newlines are tokens of their own, and what
has no token falls back to bytes. llama.cpp calls this tokenizer `gemma4`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gemma4_form import BOS, END_OF_TURN, EOS, FIXED_TOKENS, KINDS, NORMAL, TURN
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

NEWLINES = ["\n" * count for count in range(1, 32)]

#: The pieces that merges stay within: runs of spaces, words, single digits, punctuation.
PIECES = r"▁{2,}|▁?[A-Za-z]+|[0-9]|▁?[^A-Za-z0-9▁\n]+|▁"


@dataclass(frozen=True)
class Vocabulary:
    """Token strings by id, their kinds as GGUF numbers them, and merges as pairs, best first."""

    tokens: list[str]
    merges: list[tuple[str, str]]

    @property
    def kinds(self) -> list[int]:
        return [KINDS.get(token, NORMAL) for token in self.tokens]

    @property
    def end_of_turn(self) -> int:
        return self.tokens.index(END_OF_TURN)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"tokens": self.tokens, "merges": self.merges}))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        kept = json.loads(path.read_text())
        return cls(kept["tokens"], [(left, right) for left, right in kept["merges"]])


def learn(texts: Iterable[str], size: int) -> Vocabulary:
    """Learn merges until there are `size` tokens, those that every Gemma 4 file has among them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "removed", invert=True)
    alphabet = [chr(code) for code in range(33, 127)] + ["▁"]
    fixed = [*FIXED_TOKENS, *NEWLINES]
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(fixed), initial_alphabet=alphabet, limit_alphabet=len(alphabet),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    words = sorted(model["vocab"], key=lambda word: model["vocab"][word])
    return Vocabulary([*fixed, *words], [(left, right) for left, right in model["merges"]])


class Encoder:
    """Text to token ids, as the engine does it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        ids = {token: i for i, token in enumerate(vocabulary.tokens)}
        merges = vocabulary.merges
        self._ids = ids
        self._tokenizer = Tokenizer(models.BPE(ids, merges, byte_fallback=True, fuse_unk=False))
        self._tokenizer.normalizer = normalizers.Replace(" ", "▁")

    def text(self, text: str) -> list[int]:
        """Ids of a text without special tokens; a run of more than 31 newlines is shortened."""
        out: list[int] = []
        for part in _parts(text):
            if part.startswith("\n"):
                out.append(self._ids[part[: len(NEWLINES)]])
            else:
                out += self._tokenizer.encode(part).ids
        return out

    def document(self, text: str) -> list[int]:
        return [BOS, *self.text(text), EOS]

    def question(self, prompt: str) -> list[int]:
        """What the chat template makes of one question, up to where the answer begins."""
        turn, end = self._ids[TURN], self._ids[END_OF_TURN]
        return [BOS, turn, *self.text(f"user\n{prompt}"), end, *self.text("\n"),
                turn, *self.text("model\n")]  # fmt: skip

    def chat(self, prompt: str, answer: str) -> list[int]:
        return [*self.question(prompt), *self.text(answer), self._ids[END_OF_TURN]]


def _parts(text: str) -> Iterator[str]:
    """Runs of newlines, and what is between them."""
    start = 0
    while start < len(text):
        end = start
        newline = text[start] == "\n"
        while end < len(text) and (text[end] == "\n") == newline:
            end += 1
        yield text[start:end]
        start = end
