"""A headless Chromium, driven by its DevTools protocol through a pipe: no port, no dependency."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import select
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
          "--no-first-run", "--disable-background-networking", "--disable-component-update",
          "--disable-sync", "--force-color-profile=srgb", "--remote-debugging-pipe")  # fmt: skip
#: It reads commands at 3 and writes at 4, which a child of Python has not by itself.
_AT_3_AND_4 = (
    "import os, sys; r, w = int(sys.argv[1]), int(sys.argv[2]); "
    "os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
)
_WAIT_S = 30.0
#: What reaches beyond the right edge and cannot be scrolled to inside its own box.
_BEYOND = """
[...document.querySelectorAll('body *')].filter(one => !one.closest('.scrolled, pre, details'))
  .filter(one => one.getBoundingClientRect().right > innerWidth + 0.5)
  .map(one => one.outerHTML.slice(0, 90))
"""
#: Texts of a chart that lie on each other or leave it.
_CLASHES = """
[...document.querySelectorAll('svg')].flatMap(chart => {
  const frame = chart.getBoundingClientRect();
  const texts = [...chart.querySelectorAll('text')]
    .map(one => ({text: one.textContent, box: one.getBoundingClientRect()}));
  const out = texts.filter(({box}) => box.left < frame.left - 1.5 || box.right > frame.right + 1.5
    || box.top < frame.top - 1.5 || box.bottom > frame.bottom + 1.5);
  const over = texts.filter((a, i) => texts.slice(i + 1).some(b => a.box.left < b.box.right - 1
    && b.box.left < a.box.right - 1 && a.box.top < b.box.bottom - 4
    && b.box.top < a.box.bottom - 4));
  return [...out, ...over].map(({text}) => `${chart.querySelector('title').textContent}: ${text}`);
})
"""
#: Sizes of letters in charts, in pixels.
_LETTERS = """
Math.min(...[...document.querySelectorAll('svg text')].map(one =>
  parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a))
"""
#: The least contrast of a text with the paper behind it, by WCAG.
_CONTRAST = """
(() => {
  const luminance = colour => colour.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const texts = [...document.querySelectorAll('body *')].filter(one =>
    [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())
    && !one.closest('title'));
  return Math.min(...texts.map(one => {
    const style = getComputedStyle(one);
    const own = luminance(one.closest('svg') ? style.fill : style.color);
    return (Math.max(own, paper) + 0.05) / (Math.min(own, paper) + 0.05);
  }));
})()
"""


@dataclass
class Browser:
    """One page of it. `requests` are the addresses that it asked for since the last `open`."""

    _write: int
    _read: int
    requests: list[str] = field(default_factory=list)
    _session: str | None = None
    _count: int = 0
    _rest: bytes = b""
    _events: list[dict[str, Any]] = field(default_factory=list)

    def attach(self) -> None:
        """To a new page."""
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def open(self, path: Path, width: int, height: int, scheme: str = "light") -> None:
        """A file, at a size in CSS pixels, in `light` or `dark`."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height,
                deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        self.do("Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
        self.requests.clear()
        self._events.clear()
        self.do("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._take(self._message())

    def evaluate(self, expression: str) -> Any:
        """Ours, not the page's: its policy does not hold for it."""
        answer = self.do("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def logged(self) -> list[str]:
        """What the browser complains of."""
        return [
            event["params"]["entry"]["text"]
            for event in self._events
            if event["method"] == "Log.entryAdded"
        ]

    def screenshot(self, *, whole: bool = False) -> bytes:
        """PNG of what is seen, or of the whole page."""
        return base64.b64decode(
            self.do("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        )

    def pdf(self) -> bytes:
        """As printed, on A4."""
        return base64.b64decode(
            self.do("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"]
        )

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        """A command and its result."""
        self._count += 1
        command: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._write, json.dumps(command).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._count:
                assert "error" not in message, message
                result = message["result"]
                assert isinstance(result, dict)
                return result
            self._take(message)

    def _take(self, event: dict[str, Any]) -> None:
        if "method" in event:
            self._events.append(event)
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])

    def _message(self) -> dict[str, Any]:
        deadline = time.monotonic() + _WAIT_S
        while b"\0" not in self._rest:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._read], [], [], max(left, 0))
            assert ready, "the browser does not answer"
            piece = os.read(self._read, 1 << 20)
            assert piece, "the browser has ended"
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        value = json.loads(text)
        assert isinstance(value, dict)
        return value


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Its own, with a profile in that folder; fails with one line where there is none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.fail(f"--browser needs one of {', '.join(NAMES)} on PATH", pytrace=False)
    ours_read, its_write = os.pipe()
    its_read, ours_write = os.pipe()
    high = [_high(fd) for fd in (its_read, its_write)]
    process = subprocess.Popen(
        [sys.executable, "-c", _AT_3_AND_4, *map(str, high), program, *_FLAGS,
         f"--user-data-dir={folder}"],
        pass_fds=high, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for fd in high:
        os.close(fd)
    try:
        opened = Browser(ours_write, ours_read)
        opened.attach()
        yield opened
    finally:
        os.close(ours_write)  # which ends it
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(ours_read)


def assert_fits(opened: Browser, path: Path, width: int, height: int) -> None:
    """Nothing beyond an edge or on each other, and nothing asked for but the file."""
    opened.open(path, width, height)
    assert opened.requests == [path.as_uri()]
    assert opened.logged() == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.evaluate(_BEYOND) == []
    assert opened.evaluate(_CLASHES) == []
    assert opened.evaluate(_LETTERS) >= 10


def assert_harmless(opened: Browser, path: Path) -> None:
    """A page of hostile texts runs and loads nothing, and fits."""
    opened.open(path, 360, 800)
    assert opened.requests == [path.as_uri()]
    assert opened.evaluate("document.scripts.length + document.images.length") == 0
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360


def assert_light_and_dark(opened: Browser, path: Path) -> None:
    """Both are drawn, and can be read."""
    papers = []
    for scheme in ("light", "dark"):
        opened.open(path, 360, 800, scheme)
        rows = pixels(opened.screenshot())
        paper = rows[0][:3]
        assert sum(row[i : i + 3] != paper for row in rows for i in range(0, len(row), 3)) > 5000
        papers.append(sum(paper) / 3)
        assert opened.evaluate(_CONTRAST) >= 4.5
    light, dark = papers
    assert light > 220
    assert dark < 50


def assert_prints(opened: Browser, path: Path) -> int:
    """On white, with nothing beside the paper; how many sheets."""
    opened.open(path, 718, 1000, "dark")
    printed = opened.pdf()
    assert printed.startswith(b"%PDF-")
    opened.do("Emulation.setEmulatedMedia", media="print")
    paper = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert opened.evaluate("document.documentElement.scrollWidth") <= 718
    return len(re.findall(rb"/Type\s*/Page\b", printed))


def _high(fd: int) -> int:
    """The same pipe at a number that is not in the way of 3 and 4."""
    number = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return number


def pixels(png: bytes) -> list[bytes]:
    """Rows of RGB, three bytes a pixel, of the 8-bit PNG that a browser makes."""
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        kind = png[place + 4 : place + 8]
        chunks[kind] = chunks.get(kind, b"") + png[place + 8 : place + 8 + length]
        place += 12 + length
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    size = {2: 3, 6: 4}[colour]
    assert depth == 8
    data, rows, above = zlib.decompress(chunks[b"IDAT"]), [], bytearray(width * size)
    for number in range(height):
        start = number * (width * size + 1)
        row = bytearray(data[start + 1 : start + 1 + width * size])
        _unfilter(data[start], row, above, size)
        above = row
        rows.append(bytes(row) if size == 3 else bytes(b for i, b in enumerate(row) if i % 4 < 3))
    return rows


def _unfilter(kind: int, row: bytearray, above: bytearray, size: int) -> None:
    """As the PNG specification has it, in place."""
    for i in range(len(row)):
        left = row[i - size] if i >= size else 0
        up, corner = above[i], above[i - size] if i >= size else 0
        match kind:
            case 1:
                row[i] = (row[i] + left) & 255
            case 2:
                row[i] = (row[i] + up) & 255
            case 3:
                row[i] = (row[i] + (left + up) // 2) & 255
            case 4:
                near = left + up - corner
                best = min((left, up, corner), key=lambda one: abs(near - one))
                row[i] = (row[i] + best) & 255
