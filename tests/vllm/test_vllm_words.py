"""What vLLM prints: what may stand in a log, and why it ended. Lines as 0.32.0 prints them."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import pytest

from llmtp.engine.vllm.speech import VllmSpeech

SPEECH = VllmSpeech()
SERVES = b"INFO:     Application startup complete."
USELESS = (
    "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above. "
    "Failed core proc(s): {'EngineCore': 1}"
)
CAUSES = [
    (["OSError: [Errno 98] Address already in use"], "port-taken", None),
    (
        [
            "(EngineCore pid=9) ERROR 11-29 09:31:20 [core.py:1] ValueError: Free memory on device "
            "cuda:0 (3.2/79.2 GiB) on startup is less than desired GPU memory utilization",
            USELESS,
        ],
        "out-of-memory", "device memory",
    ),
    (["(Worker pid=9) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"],
     "out-of-memory", "device memory"),
    (
        ["ValueError: To serve at least one request with the models's max seq len (32768), (5 GiB "
         "KV cache is needed, which is larger than the available KV cache memory (2 GiB)."],
        "out-of-memory", "the cache",
    ),
    (["ValueError: Available memory on node 0 (2.17/23.54 GiB) on startup is less than desired"],
     "out-of-memory", "RAM"),
    (["  Value error, User-specified max_model_len (8192) is greater than the derived "
      "max_model_len (max_position_embeddings=4096.0 or x). To allow"], "ctx", None),
    (["vllm: error: unrecognized arguments: --no-such-flag"], "engine-flags", None),
    (["vllm serve: error: argument --speculative-config/-sc: Value {x} cannot be converted"],
     "engine-flags", None),
    (["NotImplementedError: Unsupported speculative method: 'mtp'"], "engine-too-old", None),
    (["NotImplementedError: Speculative Decoding with draft models or parallel drafting does not "
      "support multimodal models yet"], "engine-too-old", None),
    (["importlib.metadata.PackageNotFoundError: No package metadata was found for vllm"],
     "engine-library", None),
    (["ModuleNotFoundError: No module named 'torchvision'"], "engine-library", None),
    (["(Worker pid=9) RuntimeError: Tried to instantiate dummy base class CUDAGraph", USELESS],
     "drafter-device", None),
    (["AttributeError: 'CPUModelRunner' object has no attribute 'drafter'"], "drafter-device",
     None),
    (
        ["(Worker pid=9) RuntimeError: The expanded size of the tensor (96) must match the "
         "existing size (64) at non-singleton dimension 1.  Target sizes: [7, 96]."],
        "pair", None,
    ),
    (["AssertionError: All drafting layers should belong to the same kv cache group"], "pair",
     None),
    (["  Value error, Invalid repository ID or local directory specified: 'google/x'."],
     "bad-file", None),
    (["(EngineCore pid=9) ERROR Worker proc VllmWorker-0 died unexpectedly (exit code: -4)."],
     "engine-cpu", None),
    (["(EngineCore pid=9) ERROR Worker proc VllmWorker-0 died unexpectedly (exit code: -9)."],
     "killed", None),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "rule", "out_of"), CAUSES)
def test_why_it_ended_is_known(lines: Sequence[str], rule: str, out_of: str | None) -> None:
    told = [line for line in lines if SPEECH.is_telling(line)]
    assert told
    cause = SPEECH.explain(1, told)
    assert (cause.rule, cause.out_of) == (rule, out_of)
    assert "{0}" not in cause.message


def test_an_unknown_end_is_told_by_the_first_error_of_a_worker() -> None:
    lines = [
        "(APIServer pid=7) ERROR 11-29 09:31:20 [x.py:1] ValueError: early, and of the server",
        "(Worker pid=9) ERROR 11-29 09:31:20 [y.py:2] KeyError: 'the reason'",
        "(EngineCore pid=8) ERROR 11-29 09:31:21 [z.py:3] RuntimeError: cancelled",
        USELESS,
    ]
    cause = SPEECH.explain(1, lines)
    assert cause.message == "it ended with code 1: KeyError: 'the reason'"
    assert cause.rule == "start-failed"
    alone = SPEECH.explain(1, [USELESS])
    assert "Engine core initialization failed" in alone.message


@pytest.mark.parametrize(
    ("code", "kills", "words"),
    [
        (-signal.SIGKILL, 0, "SIGKILL"),
        (-signal.SIGKILL, 1, "lack of memory"),
        (128 + signal.SIGKILL, 0, "SIGKILL"),
        (-signal.SIGABRT, 0, "SIGABRT"),
        (0, 0, "code 0"),
        (None, 0, "does not answer"),
    ],
)
def test_without_words_the_status_tells(code: int | None, kills: int, words: str) -> None:
    assert words in SPEECH.explain(code, [], oom_kills=kills).message


def test_only_who_serves_listens() -> None:
    assert SPEECH.listens(SERVES.decode())
    assert not SPEECH.listens("(APIServer pid=7) INFO Starting vLLM server on http://127.0.0.1:1")


def kept(*lines: bytes, prompts_too: bool = False) -> list[bytes]:
    return SPEECH.redactor(prompts_too=prompts_too).keep([SERVES, *lines])[1:]


def test_what_quotes_a_request_is_left_out_of_the_log() -> None:
    assert kept(
        b"(APIServer pid=7) INFO 11-29 09:32:24 [loggers.py:335] Engine 000: Running: 0 reqs",
        b'INFO:     127.0.0.1:5 - "POST /v1/completions?prompt=my-secret HTTP/1.1" 200 OK',
        b"(APIServer pid=7) ERROR 11-29 09:32:24 [x.py:1] it refuses {'prompt': 'my-secret'}",
        b"(EngineCore pid=8) INFO 11-29 09:32:24 [d.py:1] new_token_ids=[[5, 6], [7, 8]], x=1",
        b"(Worker pid=8) ERROR 11-29 09:32:24 [d.py:1] ValueError: Failed on 'my-secret'",
        b"my-secret, in a line that nobody speaks",
    ) == [
        b"(APIServer pid=7) INFO 11-29 09:32:24 [loggers.py:335] Engine 000: Running: 0 reqs",
        b'INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK',
        b"(APIServer pid=7) ERROR 11-29 09:32:24 [x.py:1] it refuses "
        b"(left out: it may quote a request)",
        b"(EngineCore pid=8) INFO 11-29 09:32:24 [d.py:1] new_"
        b"token_ids=(left out: it may quote a request)",
        b"(Worker pid=8) ERROR 11-29 09:32:24 [d.py:1] ValueError: Failed on "
        b"(left out: it may quote a request)",
    ]
    assert kept(b"my-secret", prompts_too=True) == [b"my-secret"]


def test_while_it_starts_everything_is_kept() -> None:
    line = b"Loading safetensors checkpoint shards: 100% Completed"
    assert SPEECH.redactor(prompts_too=False).keep([line]) == [line]


def test_a_look_at_an_idle_server_is_told_once() -> None:
    assert SPEECH.is_idle(b'INFO:     127.0.0.1:5 - "GET /metrics HTTP/1.1" 200 OK')
    assert not SPEECH.is_idle(b'INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK')
