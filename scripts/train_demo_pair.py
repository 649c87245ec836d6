#!/usr/bin/env python3
"""Train the pair that ships as `demo`: a small real Gemma 4 and its assistant.

    train_demo_pair.py prepare FOLDER    fetch the texts, learn a vocabulary, write tokens (CPU)
    train_demo_pair.py main FOLDER       train the main model, write demo.gguf (GPU)
    train_demo_pair.py draft FOLDER      train both together, write mtp-demo.gguf too (GPU)
    train_demo_pair.py reference FOLDER  write what both say in PyTorch (CPU, a minute)

Each of the first three takes 8 minutes or so, on an H100 or H200 where it says GPU. The last one
makes reference.json, which is `tests/demo_reference.json`: what the tests compare a real engine
with. Needs `pip install torch tokenizers gguf`, which llmtp itself does not. Fetching the texts
runs the builds of their packages. The same seed gives about the same figures, not the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from demo_pair import corpus, data
from demo_pair.files import read, write_assistant, write_main
from demo_pair.model import Assistant, Main
from demo_pair.reference import reference
from demo_pair.shape import DEMO
from demo_pair.tokens import Vocabulary
from demo_pair.training import ALONE, TOGETHER, train_both, train_main

SEED = 4
CHATS = 250_000
MAIN_FILE, DRAFT_FILE, REFERENCE_FILE = "demo.gguf", "mtp-demo.gguf", "reference.json"
#: Prompts of each kind in the reference.
COMPARED = 2


def prepare(folder: Path) -> None:
    sources = folder / "sources"
    corpus.fetch(sources)
    data.prepare(sources, folder, DEMO, SEED, CHATS)


def train_the_main_model(folder: Path, device: str) -> None:
    model = Main(DEMO).to(device)
    texts = data.Corpus(folder, device, SEED)
    train_main(model, texts, ALONE)
    write_main(folder / MAIN_FILE, model, _vocabulary(folder))


def train_the_assistant(folder: Path, device: str) -> None:
    """Beside the main model, which learns a little more and is written anew."""
    main, draft = _main_model(folder).to(device), Assistant(DEMO).to(device)
    texts = data.Corpus(folder, device, SEED)
    train_both(main, draft, texts, TOGETHER)
    write_main(folder / MAIN_FILE, main, _vocabulary(folder))
    write_assistant(folder / DRAFT_FILE, draft, _vocabulary(folder))


def write_reference(folder: Path) -> None:
    draft = Assistant(DEMO)
    draft.load(read(folder / DRAFT_FILE))
    asked: dict[str, list[str]] = {}
    for chat in corpus.held_out():
        asked.setdefault(chat.kind, []).append(chat.prompt)
    prompts = [prompt for kind in asked.values() for prompt in kind[:COMPARED]]
    answers = reference(_main_model(folder), draft, _vocabulary(folder), prompts)
    (folder / REFERENCE_FILE).write_text(json.dumps(answers) + "\n")


def _main_model(folder: Path) -> Main:
    main = Main(DEMO)
    main.load(read(folder / MAIN_FILE))
    return main


def _vocabulary(folder: Path) -> Vocabulary:
    return Vocabulary.load(folder / data.VOCABULARY)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("stage", choices=["prepare", "main", "draft", "reference"])
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.stage == "prepare":
        prepare(args.folder)
    elif args.stage == "main":
        train_the_main_model(args.folder, device)
    elif args.stage == "draft":
        train_the_assistant(args.folder, device)
    else:
        write_reference(args.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
