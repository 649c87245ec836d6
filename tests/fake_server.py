"""A server of any kind, in the test itself: it answers each path with the bytes that it is told."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Status, headers, body. A body that is called gets the handler, and writes what it likes.
Answer = tuple[int, Mapping[str, str], bytes | Callable[[BaseHTTPRequestHandler], None]]


class FakeServer:
    """`answers` may change while it runs; `asked` has the paths, `keys` what came as a key."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.keys: list[str | None] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(self.path)
                fake.keys.append(self.headers["Authorization"])
                status, headers, body = fake.answers.get(self.path, (404, {}, b"nothing here"))
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                    if callable(body):
                        body(self)
                    else:
                        self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> FakeServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nobody listens there any more."""
        self._http.shutdown()
        self._http.server_close()


def text(body: str) -> Answer:
    """An answer as it should be."""
    return 200, {}, body.encode()


def told(value: Any) -> Answer:
    """The same, of JSON."""
    return text(json.dumps(value))


#: What a llama-server says of itself.
PROPS = told({"total_slots": 1, "build_info": "b11434-abc", "model_path": "/models/gemma.gguf",
              "default_generation_settings": {"n_ctx": 4096}})  # fmt: skip


def slot(task: int = 1, decoded: int = 0, *, busy: bool = False, **more: Any) -> dict[str, Any]:
    """One of `/slots`."""
    known = {"id": 0, "id_task": task, "n_ctx": 4096, "speculative": True, "is_processing": busy,
             "n_prompt_tokens": 100 + decoded, "next_token": [{"n_decoded": decoded}]}  # fmt: skip
    return known | more


def dripping(seconds: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """A body that never ends, a byte at a time."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        pause = threading.Event()
        for _ in range(int(seconds / 0.1)):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            pause.wait(0.1)

    return write


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A body of 1 GiB."""
    for _ in range(1 << 10):
        handler.wfile.write(b"x" * (1 << 20))
