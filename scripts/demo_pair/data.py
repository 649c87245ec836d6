"""The corpus as arrays of token ids, and batches of it on the device that trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demo_pair.corpus import Chat, chats, documents
from demo_pair.shape import Shape
from demo_pair.tokens import Encoder, learn

VOCABULARY, DOCUMENTS, CHATS = "vocabulary.json", "documents.npz", "chats.npz"
CHATS_FOR_VOCABULARY = 60_000


def prepare(sources: Path, folder: Path, shape: Shape, seed: int, count: int) -> None:
    """Learn a vocabulary of the corpus and write the corpus in its tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    some = islice(chats(sources, seed, count), CHATS_FOR_VOCABULARY)
    texts = chain(documents(sources), (f"{chat.prompt}\n{chat.answer}" for chat in some))
    vocabulary = learn(texts, shape.vocabulary)
    vocabulary.save(folder / VOCABULARY)
    encoder = Encoder(vocabulary)
    rows = [np.array(encoder.document(text), np.uint16) for text in documents(sources)]
    np.savez_compressed(folder / DOCUMENTS, tokens=np.concatenate(rows))
    _write_chats(folder / CHATS, encoder, chats(sources, seed, count))


def _write_chats(path: Path, encoder: Encoder, all_chats: Iterable[Chat]) -> None:
    rows, starts, answers, at = [], [], [], 0
    for chat in all_chats:
        question, whole = encoder.question(chat.prompt), encoder.chat(chat.prompt, chat.answer)
        rows.append(np.array(whole, np.uint16))
        starts.append(at)
        answers.append(at + len(question))
        at += len(whole)
    np.savez_compressed(
        path, tokens=np.concatenate(rows), starts=np.array(starts, np.uint32),
        answers=np.array(answers, np.uint32),
    )  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """`tokens` (B, T) and what is to be learned of them: `wanted` (B, T), true where a token is
    one that the model should foretell."""

    tokens: Tensor
    wanted: Tensor


class Corpus:
    """All of it in the memory of the device; batches are drawn with a seed."""

    def __init__(self, folder: Path, device: str, seed: int) -> None:
        kept, asked = np.load(folder / DOCUMENTS), np.load(folder / CHATS)
        self.documents = _on(kept["tokens"], device)
        self.chats = _on(asked["tokens"], device)
        self.starts = _on(asked["starts"], device)
        wanted = np.zeros(len(asked["tokens"]), bool)
        ends = np.append(asked["starts"][1:], len(wanted))
        for begin, end in zip(asked["answers"], ends, strict=True):
            wanted[begin:end] = True
        self.wanted = torch.from_numpy(wanted).to(device)
        self.device = device
        self.random = torch.Generator(device).manual_seed(seed)

    def batch(self, rows: int, length: int, from_documents: float) -> Batch:
        """Rows of documents from anywhere, rows of chats from the beginning of one."""
        plain = round(rows * from_documents)
        anywhere = self._draw(len(self.documents) - length, plain)
        in_reach = int((self.starts < len(self.chats) - length).sum())
        chosen = self.starts[self._draw(in_reach, rows - plain)]
        reach = torch.arange(length, device=self.device)
        text, asked = anywhere[:, None] + reach, chosen[:, None] + reach
        tokens = torch.cat((self.documents[text], self.chats[asked]))
        wanted = torch.cat((torch.ones_like(text, dtype=torch.bool), self.wanted[asked]))
        return Batch(tokens, wanted)

    def _draw(self, below: int, count: int) -> Tensor:
        return torch.randint(below, (count,), generator=self.random, device=self.device)


def _on(values: NDArray[np.generic], device: str) -> Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(device)
