"""A program that stands for a llama-server that cannot be had: old, broken, or with a GPU.

Made executable by the tests with a mode in its environment (FAKE_ENGINE), it answers `--help`,
`--list-devices` and HTTP as the real one does, and fails as the real one fails.
"""

from __future__ import annotations

import http.server
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

HELP = """----- common params -----
-m,    --model FNAME                    model path to load
-t,    --threads N                      number of CPU threads
-c,    --ctx-size N                     size of the prompt context
-np,   --parallel N                     number of server slots
-ub,   --ubatch-size N                  physical maximum batch size
-ctk,  --cache-type-k TYPE              KV cache data type for K
-ctv,  --cache-type-v TYPE              KV cache data type for V
-dev,  --device <dev1,dev2,..>          devices to use for offloading
--list-devices                          print list of available devices and exit
-ngl,  --gpu-layers, --n-gpu-layers N   layers to store in VRAM
--fit, -fit [on|off]                    adjust unset arguments
--host HOST                             ip address to listen
--port PORT                             port to listen
--metrics                               enable prometheus compatible metrics endpoint
--temp, --temperature N                 temperature
--api-key-file FNAME                    path to file containing API keys
--spec-draft-n-max N                    number of tokens to draft
--spec-draft-device, -devd, --device-draft <dev1,dev2,..>
                                        devices for the draft model
--spec-draft-ngl, -ngld, --gpu-layers-draft, --n-gpu-layers-draft N
                                        layers of the draft model in VRAM
--spec-draft-model, -md, --model-draft FNAME
                                        draft model for speculative decoding
-sm,   --split-mode {none,layer,row,tensor}
-ts,   --tensor-split N0,N1,N2,...      fraction of the model to offload to each GPU
-ncmoe, --n-cpu-moe N                   keep experts of the first N layers in the CPU
--spec-type none,draft-simple,draft-mtp,ngram-mod
                                        types of speculative decoding to use
"""
DEVICES = """Available devices:
  CUDA0: NVIDIA Imaginary 4090 (24564 MiB, 24000 MiB free)
  BLAS: OpenBLAS (0 MiB, 0 MiB free)
"""
TWINS = """Available devices:
  CUDA0: NVIDIA Twin (24564 MiB, 2000 MiB free)
  CUDA1: NVIDIA Twin (24564 MiB, 24000 MiB free)
"""
MODE = os.environ.get("FAKE_ENGINE", "ok")
FLOOD = 2 << 20
TIMINGS: dict[str, dict[str, int]] = {
    "never-drafts": {"predicted_n": 18},
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if "FAKE_ENGINE_ASKED" in os.environ:
            with Path(os.environ["FAKE_ENGINE_ASKED"]).open("a") as asked:
                asked.write(self.path + "\n")
        if self.path == "/slots" and MODE == "hangs":
            threading.Event().wait()
        if self.path == "/slots":
            self.answer([{"id": 0, "speculative": MODE != "never-drafts", "id_task": 0}])
        elif self.path == "/metrics":
            self.answer("llamacpp:tokens_predicted_total 18\n")
        else:
            self.answer({"status": "ok"})
            if MODE == "dies-when-ready":
                os.kill(os.getpid(), signal.SIGKILL)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asks_for_a_stream = b'"stream": true' in body or b'"stream":true' in body
        if MODE == "dies-at-request":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.path == "/v1/chat/completions":
            if MODE == "fails-requests":
                self.answer({"error": {"message": "no luck"}}, status=500)
            else:
                self.stream()
            return
        if self.path == "/completion" and MODE == "untimed" and self.asks_for_a_stream:
            self.stream_untimed()
            return
        good = {"predicted_n": 18, "predicted_ms": float(os.environ.get("FAKE_ENGINE_MS", "200")),
                "draft_n": 20, "draft_n_accepted": 10}  # fmt: skip
        drifts = MODE == "drifts" and "--spec-type" in sys.argv
        tokens = [1, 2, 4] if drifts else [1, 2, 3]
        timings = TIMINGS.get(MODE, good)
        self.answer({"content": "eighteen", "tokens": tokens, "timings": timings})

    def stream(self) -> None:
        """A thinking answer, as chunks of a chat completion."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for delta in ({"role": "assistant", "content": None}, {"reasoning_content": "Hm, let me"},
                      {"content": "The "}, {"content": "answer"}):  # fmt: skip
            self.chunk({"choices": [{"delta": delta, "finish_reason": None}]})
        if MODE == "dies-while-answering":
            os.kill(os.getpid(), signal.SIGKILL)
        done = {"choices": [{"delta": {}, "finish_reason": "stop"}], "timings": {"predicted_n": 5}}
        self.chunk(done)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def stream_untimed(self) -> None:
        """A completion without timings in its chunks."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for word in ("one ", "two "):
            self.chunk({"content": word, "stop": False})
        self.chunk({"content": "", "stop": True})
        self.close_connection = True

    def chunk(self, body: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(body).encode() + b"\n\n")
        self.wfile.flush()

    def answer(self, body: Any, status: int = 200) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def next_line(variable: str) -> str | None:
    """Take the first line of the file that a variable names: each start has one of its own."""
    file = os.environ.get(variable)
    lines = Path(file).read_text().splitlines() if file else []
    if not file or not lines:
        return None
    Path(file).write_text("\n".join(lines[1:]))
    return lines[0]


def main() -> int:
    argv = sys.argv[1:]
    if MODE == "missing-library":
        say("llama-server: error while loading shared libraries: libcudart.so.13: cannot open")
        return 127
    if "--help" in argv:
        sys.stdout.write(HELP.replace(",draft-mtp", "") if MODE == "no-mtp" else HELP)
        return 0
    if "--list-devices" in argv:
        listed = {"gpu": DEVICES, "twins": TWINS}
        sys.stdout.write(listed.get(MODE, "Available devices:\n"))
        return 0
    if MODE == "no-gemma4":
        say("E error loading model: unknown model architecture: 'gemma4-assistant'")
        return 1
    if MODE == "illegal-instruction":
        os.kill(os.getpid(), signal.SIGILL)
    # From here on it is asked to serve; the demo pair of the first look is always served well.
    real = argv[argv.index("--ctx-size") + 1] != "512"
    ending = next_line("FAKE_ENGINE_FAILS") if real else None
    if ending == "crash":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), signal.SIGSEGV)
    if ending:
        sys.stderr.write(Path(ending).read_text())
        return 1
    if real and (takes := next_line("FAKE_ENGINE_TAKES")):
        Path(os.environ["FAKE_ENGINE_TAKES"] + ".now").write_text(takes)
    if real and MODE == "unknown-end":
        say("0.01 E srv  load_model: the moon is in the wrong \x1b[31mphase")
        return 3
    if real and MODE == "ignores-term":
        signal.signal(signal.SIGTERM, lambda *_: say("0.00.1 I srv  operator(): TERM is ignored"))
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    if real and MODE == "forks":
        # In a session of its own, where a signal to the group does not reach it.
        code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
        left = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        say(f"forked {left.pid}")
    if real and MODE == "exits-at-once":
        return 0
    if real and MODE == "floods":
        for _ in range(15):
            sys.stderr.write(f"0.00.001 I {'tokens ' * 27}\n" * (FLOOD // 200))
    if real and MODE == "writes-no-newline":
        for _ in range(15):
            sys.stderr.write("no newline " * (FLOOD // 11))
        sys.stderr.write("\n")  # what it says next is a line of its own
    if real and MODE == "never-ready":
        signal.pause()
    port = int(argv[argv.index("--port") + 1])
    if real and MODE == "mute":
        silent = socket.create_server(("127.0.0.1", port))
        say(f"srv  llama_server: listening on http://127.0.0.1:{port}")
        signal.pause()
        silent.close()
    if real and MODE.startswith("robbed"):
        # Somebody else takes the port, and answers there.
        say(f"my port is {port}")
        Path(os.environ["FAKE_ENGINE_WAITS"]).read_text()
        if MODE == "robbed-and-mute":
            return 1
        say(f"srv  llama_server: listening on http://127.0.0.1:{port}")
        signal.pause()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    sys.stderr.write(os.environ.get("FAKE_ENGINE_LOG", ""))
    say(f"srv  llama_server: listening on http://127.0.0.1:{port}")
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
