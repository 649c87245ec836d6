"""Logs hold neither prompts nor keys, unless prompts were asked for."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from harness import WAIT_S, Cli, wait_until

from llmtp.engine.command import Command
from llmtp.engine.llama.redact import Redactor
from llmtp.server.process import TERM_WAIT_S, ServerProcess

PROMPT = "SECRETPROMPT"
#: Requests whose text b10068 would log, by path: a good one, and all kinds that it refuses.
REQUESTS = [
    ("/completion", f'{{"prompt": "{PROMPT}", "n_predict": 4}}'),
    ("/completion", f'{{"prompt": "{PROMPT}'),
    ("/v1/chat/completions", f'{{"messages": [{{"role": "user", "content": "a\n{PROMPT}"}}]}}'),
    ("/v1/chat/completions", f'{{"messages": [{{"content": "{PROMPT}"}}]}}'),
    ("/v1/chat/completions", f'{{"messages": [], "tools": "{PROMPT}"}}'),
    ("/v1/chat/completions",
     f'{{"messages": [{{"role": "user", "content": "x"}}], "tools": [{{"type": "{PROMPT}"}}]}}'),
    ("/v1/chat/completions",
     f'{{"messages": [{{"role": "user", "content": "x"}}], "response_format": '
     f'{{"type": "json_object", "schema": {{"type": "{PROMPT}"}}}}}}'),
    ("/completion", f'{{"prompt": "x", "grammar": "root ::= \\"{PROMPT}\\" (\\nb ::= {PROMPT}"}}'),
    ("/completion",
     f'{{"prompt": "x", "grammar": "#1 {PROMPT}\\nggml_b ::= {PROMPT}\\nnotes.py:12: {PROMPT}"}}'),
    ("/completion", f'{{"prompt": "x", "samplers": ["{PROMPT}"]}}'),
    ("/v1/responses", f'{{"input": "x", "tools": [{{"type": "{PROMPT}"}}]}}'),
]  # fmt: skip


def post(url: str, body: str, key: str) -> None:
    """Send it as it is; that it is refused is expected."""
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, body.encode(), headers)
    try:
        urllib.request.urlopen(request, timeout=WAIT_S).read()
    except urllib.error.HTTPError as refused:
        refused.close()


@pytest.mark.parametrize("asked", [False, True])
def test_no_log_quotes_a_request_or_a_key(cli: Cli, asked: bool) -> None:
    more = ["--", "-v"] if asked else []
    with cli.start("run", "crafted", "--json", "--make-key", *more) as running:
        log = Path(running.wait_event("starting")["log"])
        ready = running.wait_event("ready")
        running.wait_event("sample")
        key = Path(ready["api_key_file"]).read_text(encoding="utf-8").strip()
        for path, body in REQUESTS:
            post(f"{ready['url']}{path}", body, key)
        post(f"{ready['url']}/completion", REQUESTS[0][1], "WRONG" + key)
        running.wait_event("sample")
        assert running.interrupt() == 130
        printed = "\n".join(running.rest())
    written = log.read_text(encoding="utf-8")
    assert (PROMPT in written) is asked
    assert PROMPT not in printed
    for text in (written, printed):
        assert key not in text
        assert f"****{key[-4:]}" not in text
    assert ("got exception: (left out: it may quote a request)" in written) is not asked
    assert "unauthorized" in written or "Invalid API Key" in written


def test_a_crash_is_kept_whole() -> None:
    """What comes without a stamp while it serves is either a crash or a request."""
    crash = [
        b"/src/ggml.c:3282: GGML_ASSERT(ggml_can_mul_mat(a, b)) failed",
        b"/opt/engine/libggml-base.so.0(ggml_abort+0x152)[0x7f68e5d4fdf2]",
        b"#1  0x00007f30e094fc5b in ggml_abort () from /opt/engine/libggml-base.so.0",
        b"CUDA error: an illegal memory access was encountered",
        b"  current device: 0, in function launch at /src/ggml-cuda.cu:103",
        b"terminate called after throwing an instance of (left out: it may quote a request)",
        b"0.01.233.123 E ggml_cuda: failed to allocate 12 MiB",
    ]
    redactor = Redactor()
    serves = b"0.00.042.944 I srv  llama_server: listening on http://127.0.0.1:36755"
    assert redactor.keep([b"0.00.000.001 I a", serves]) == [b"0.00.000.001 I a", serves]
    given = [*crash, b"", b"a ::= b", b"parse: error parsing grammar"]
    given[5] = b"terminate called after throwing an instance of 'std::runtime_error'"
    assert redactor.keep(given) == crash


def test_what_comes_between_a_stamp_and_its_text_is_left_out() -> None:
    """Seen under load: the parser of grammars writes past the log of the engine."""
    redactor = Redactor()
    redactor.keep([b"0.00.1 I srv  llama_server: listening on http://127.0.0.1:1"])
    said = [
        b"0.01.2 I slot print_timing: id  0 | task 1 | draft acceptance = 0.9",
        b"0.01.2 I srv    operator(): chat format: peg-native",
        b"0.01.2 I common_memory_breakdown_print: |   - Host",
    ]
    assert redactor.keep(said) == said
    quoting = [
        b"0.01.2 I #1 SECRET", b"0.01.2 I root ::= SECRET", b"0.01.2 I SECRET",
        b"0.01.2 I notes.py:12: SECRET", b"0.01.2 W b ::= SECRET", b"0.01.2 E ggml_b ::= SECRET",
    ]  # fmt: skip
    assert b"SECRET" not in b"".join(redactor.keep(quoting))


def test_a_long_line_takes_no_longer_than_it_is() -> None:
    """What a request says must not hold up who watches."""
    redactor = Redactor()
    redactor.keep([b"0.00.1 I srv  llama_server: listening on http://127.0.0.1:1"])
    for level in (b"I", b"W"):
        for text in (b"_" * (1 << 20), b"a" * (1 << 20), b"a " * (1 << 19)):
            assert len(redactor.keep([b"0.01.2 " + level + b" " + text])) == (level == b"W")


def test_what_comes_behind_a_line_without_an_end_is_read_whole(tmp_path: Path) -> None:
    """The engine may be read in the middle of what it says."""
    go_on, lines = tmp_path / "go-on", list[bytes]()
    program = (
        "import os, sys, time\n"
        "os.write(1, b'x' * 9000 + b'listening on ht')\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
        "os.write(1, b'tp://127.0.0.1:1\\n')\n"
    )
    argv = (sys.executable, "-c", program, str(go_on))
    process = ServerProcess(Command(argv, (), {}, ()), lines.extend, TERM_WAIT_S)
    wait_until(lambda: bool(lines))
    go_on.touch()
    wait_until(lambda: process.wait_ended(0.1))
    process.stop()
    assert any(b"listening on http://127.0.0.1:1" in line for line in lines)
