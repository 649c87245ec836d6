"""Options of `plan` alone: cards and users that are not there."""

from __future__ import annotations

from llmtp import config
from llmtp.engine.command import Serving
from llmtp.engine.kinds import names_vllm
from llmtp.errors import UsageError
from llmtp.machine.devices import Device
from llmtp.machine.peaks import known_cards, peak_of
from llmtp.plan.sizing import DEFAULT_CTX, MOST_USERS, Demand
from llmtp.text import clean
from llmtp.units import format_count, parse_count, parse_size

_BACKENDS = {"cuda": "CUDA", "vulkan": "Vulkan", "metal": "Metal", "rocm": "ROCm"}
#: For a plan that nobody starts.
ANY_SERVING = Serving(config.LOOPBACK, 8080)


def demand(
    users: int | None,
    ctx_per_user: str | None,
    ctx: str,
    parallel: int | None,
    engine: str | None,
) -> Demand | None:
    """Of `--users 50 --ctx-per-user 16k`; None where it is not asked for."""
    if users is None:
        if ctx_per_user is not None:
            raise UsageError(
                "--ctx-per-user goes with --users",
                fix=f"add --users 8, or use --ctx {ctx_per_user}",
            )
        return None
    if not 1 <= users <= MOST_USERS:
        raise UsageError(
            f"--users {users} is not possible",
            expected=f"1 to {format_count(MOST_USERS)}",
            fix="type for example: --users 50",
        )
    if names_vllm(engine):
        raise UsageError(
            "--users counts for llama-server and for vLLM, and names the one to take",
            rule="users",
            fix="leave out --engine",
        )
    for option, is_typed in (("--ctx", ctx != "auto"), ("--parallel", parallel is not None)):
        if is_typed:
            raise UsageError(
                f"--users and {option} exclude each other",
                expected="--users for the slots, --ctx-per-user for the context of each",
                fix=f"leave out {option}",
            )
    if ctx_per_user is None:
        return Demand(users, DEFAULT_CTX, is_default=True)
    return Demand(users, parse_count(ctx_per_user, "--ctx-per-user"))


def imagined_cards(
    vram: str | None, backend: str | None, *, with_workers: bool = False
) -> list[Device] | None:
    """Empty cards for `--vram 12GiB,12GiB --backend cuda` or `--vram H100`; None plans for the real
    ones."""
    if vram is None:
        if backend is not None:
            raise UsageError("--backend goes with --vram", fix="add --vram 12GiB")
        return None
    if with_workers:
        raise UsageError(
            "--vram and --rpc exclude each other",
            expected="cards that are not there, or workers that are",
            fix="leave out --vram",
        )
    if backend is not None and backend not in _BACKENDS:
        raise UsageError(
            f"--backend {clean(backend, 40)!r} is not known",
            expected=", ".join(_BACKENDS),
            fix="leave out --backend for cuda",
        )
    cards = []
    for index, text in enumerate(vram.split(",")):
        peak = peak_of(text)
        size, kind = peak.memory_bytes, backend or peak.backend
        name = peak.name if size is not None else f"imagined card {index}"
        size = _card_size(text) if size is None else size
        cards.append(Device(f"{_BACKENDS[kind]}{index}", name, kind, size, size, "--vram"))
    return cards


def _card_size(text: str) -> int:
    try:
        return parse_size(text, "--vram")
    except UsageError as error:
        raise UsageError(
            f"--vram {clean(text, 40)!r} is neither a size nor a card that is known",
            expected=f"a size such as 12GiB, or one of {', '.join(known_cards())}",
            fix="type for example: --vram 12GiB",
        ) from error
