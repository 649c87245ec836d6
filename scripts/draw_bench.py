#!/usr/bin/env python3
"""Draw the speed-ups of a bench as one SVG, for a page that takes no HTML, such as the README.

python scripts/draw_bench.py RECORD.json FILE.svg
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from llmtp.bench.page import pictures
from llmtp.bench.page.markup import Markup, tag
from llmtp.bench.page.svg import WIDTH
from llmtp.bench.record import read_record

_GAP, _TOP = 48, 28
_STYLE = Path(pictures.__file__).with_name("page.css")
_FONT = "svg { font-family: system-ui, sans-serif; }"


def main(record_file: str, svg_file: str) -> None:
    record = read_record(Path(record_file))
    by_cell, by_arm = pictures.ratio_drawings(record)
    captions = (f"n-max {record['best_n_max']} against off, by kind of text", "all kinds, by n-max")
    parts, bottom = [], 0.0
    for number, (chart, caption) in enumerate(zip((by_cell, by_arm), captions, strict=True)):
        x = number * (WIDTH + _GAP)
        height = float(re.search(r'viewBox="0 0 \S+ (\S+)"', chart)[1])  # type: ignore[index]  # ours
        bottom = max(bottom, _TOP + height)
        placed = f'<svg x="{x:g}" y="{_TOP}" width="{WIDTH:g}" height="{height:g}" '
        parts.append(tag("text", caption, x=x, y=14, class_="tick"))
        parts.append(Markup(chart.replace("<svg ", placed, 1)))
    width = 2 * WIDTH + _GAP
    drawn = tag(
        "svg",
        tag("style", Markup(_style())),
        tag("rect", x=-12, y=-8, width="100%", height="100%", fill="var(--paper)"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"-12 -8 {width + 24:g} {bottom + 16:g}",
        width=f"{width:g}",
    )
    Path(svg_file).write_text(drawn + "\n", encoding="utf-8")


def _style() -> str:
    """Of the page, what is for charts."""
    text = _STYLE.read_text(encoding="utf-8")
    colours = text[: text.index("* {")]
    rules = [line for line in text.splitlines() if re.match(r"svg \.?\w+", line)]
    return "\n".join((colours, _FONT, *rules))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
