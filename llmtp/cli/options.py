"""Options that more than one command has, named once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from llmtp.cli import complete
from llmtp.errors import UsageError
from llmtp.text import clean
from llmtp.units import parse_count

_PLANNING = "Planning"
_SERVING = "Serving"

ModelArg = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=complete.models,
        help="A profile such as gemma-4-12b, a .gguf file, or hf:OWNER/REPO[:QUANT][@REVISION].",
    ),
]
ExtraArg = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- ENGINE ARGS]", help="Flags for the engine, behind --."),
]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
QuietOpt = Annotated[bool, typer.Option("-q", "--quiet", help="Only results, warnings and errors.")]
VerboseOpt = Annotated[
    bool, typer.Option("-v", "--verbose", help="Also compare planned and real memory.")
]
LastStartOpt = Annotated[
    bool, typer.Option("-v", "--verbose", help="Also tell what the last such start took.")
]
DraftOpt = Annotated[
    str,
    typer.Option(
        "--draft",
        metavar="auto|off|PATH",
        autocompletion=complete.drafters,
        help="The MTP drafter (also hf:OWNER/REPO), or none.",
    ),
]
QuantOpt = Annotated[
    str | None,
    typer.Option(
        "--quant",
        metavar="auto|NAME",
        help="Q8_0, UD-Q4_K_XL, qat, qat-Q4_0, ... Default: what is on this disk, or else the best "
        "that fits.",
    ),
]
MmprojOpt = Annotated[
    str,
    typer.Option(
        "--mmproj", metavar="off|auto|PATH", help="The vision projector, to talk about images."
    ),
]
OfflineOpt = Annotated[
    bool, typer.Option("--offline", help="Do with what is on this disk; use no network.")
]
CtxOpt = Annotated[
    str,
    typer.Option(
        "--ctx",
        metavar="auto|max|N",
        help="Total context: 32k where it fits, the largest that fits, or N (8192, 32k).",
    ),
]
NMaxOpt = Annotated[
    str, typer.Option("--n-max", metavar="auto|off|N", help="Tokens to draft at a time, 1 to 16.")
]
ParallelOpt = Annotated[
    int | None,
    typer.Option(
        "--parallel",
        metavar="N",
        help="Requests at a time. Default: 1; with vLLM as many as its cache holds.",
    ),
]
MarginOpt = Annotated[
    str | None,
    typer.Option(
        "--margin",
        metavar="SIZE",
        help="Memory to leave free. Default: 256 MiB on a GPU, 1 GiB of RAM.",
    ),
]
StrictOpt = Annotated[
    bool, typer.Option("--strict", help="Give up nothing: fail where the first plan does not fit.")
]
EngineOpt = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="llama-server|vllm|PATH",
        help="What serves. Default: the first llama-server found.",
    ),
]


class KvType(StrEnum):
    """Types of the K and V caches that llama-server takes."""

    f32 = "f32"
    f16 = "f16"
    bf16 = "bf16"
    q8_0 = "q8_0"
    q5_1 = "q5_1"
    q5_0 = "q5_0"
    q4_1 = "q4_1"
    q4_0 = "q4_0"
    iq4_nl = "iq4_nl"


KvTypeOpt = Annotated[
    KvType | None,
    typer.Option(
        "--kv-type",
        help="Type of the K and V caches. Default: f16, or q8_0 where memory is short.",
    ),
]
HostOpt = Annotated[
    str | None,
    typer.Option(
        "--host", help="Address to listen on; wider needs a key. Default: 127.0.0.1, this machine."
    ),
]
PortOpt = Annotated[
    int | None, typer.Option("--port", min=1, max=65535, help="Port. Default: a free one.")
]
ApiKeyFileOpt = Annotated[
    Path | None,
    typer.Option("--api-key-file", metavar="FILE", help="Keys that clients must send, one a line."),
]
MakeKeyOpt = Annotated[
    bool, typer.Option("--make-key", help="Make a new key file and say where it is.")
]
TempOpt = Annotated[
    float | None, typer.Option("--temp", min=0, max=5, help="Default sampling temperature.")
]


RpcOpt = Annotated[
    str | None,
    typer.Option(
        "--rpc",
        metavar="HOST:PORT[=SIZE][,...]",
        help="Also use devices of these workers (llmtp worker), of each at most SIZE.",
    ),
]
NodesOpt = Annotated[
    int,
    typer.Option(
        "--nodes", metavar="N", min=1, max=64, help="Machines that serve together, with vLLM."
    ),
]
NodeRankOpt = Annotated[
    int, typer.Option("--node-rank", metavar="R", min=0, help="Which of them this one is, from 0.")
]
MasterOpt = Annotated[
    str | None,
    typer.Option(
        "--master",
        metavar="ADDRESS[:PORT]",
        help="Where machine 0 waits for the others, in a network of your own.",
    ),
]


def parse_ctx(text: str) -> Literal["auto", "max"] | int:
    """`auto`, `max`, or a number of tokens."""
    if text == "auto":
        return "auto"
    if text == "max":
        return "max"
    return parse_count(text, "--ctx")


def parse_n_max(text: str) -> int | None:
    """None for auto, 0 for off."""
    if text == "auto":
        return None
    if text == "off":
        return 0
    if text in map(str, range(1, 17)):
        return int(text)
    raise UsageError(
        f"--n-max {clean(text, 40)!r} is not possible",
        expected="auto, off, or 1 to 16",
        fix="leave out --n-max for a good start",
    )
