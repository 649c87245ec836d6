"""Option values to what the core takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from llmtp import config
from llmtp.cli.options import KvType, parse_ctx, parse_n_max
from llmtp.engine.command import Serving
from llmtp.engine.kinds import names_vllm
from llmtp.errors import UsageError
from llmtp.machine.workers import parse_workers
from llmtp.plan.wishes import Nodes, Wishes
from llmtp.ports import free_port, is_address, is_free
from llmtp.server import access
from llmtp.text import clean
from llmtp.units import parse_size

if TYPE_CHECKING:
    from llmtp.lending import Lent

#: As in vLLM's recipes for several machines.
MASTER_PORT = 29501


def plan_wishes(
    ctx_size: str,
    n_max: str,
    draft: str,
    kv_type: KvType | None,
    parallel: int | None,
    margin: str | None,
    strict: bool,
    rpc: str | None = None,
    nodes: Nodes | None = None,
) -> Wishes:
    """The planning options of a command."""
    return Wishes(
        ctx=parse_ctx(ctx_size),
        n_max=parse_n_max(n_max),
        kv_type=kv_type and kv_type.value,
        parallel=1 if parallel is None else parallel,
        parallel_is_asked=parallel is not None,
        margin=config.margin_bytes() if margin is None else parse_size(margin, "--margin"),
        draft_is_wanted=draft not in ("auto", "off") or n_max not in ("auto", "off"),
        # Machines that each gave up something of their own would not fit each other.
        strict=strict or nodes is not None,
        nodes=nodes,
        workers=parse_workers(rpc),
    )


def _port_taken_for_worker(address: str, port: int) -> UsageError:
    from llmtp.machine.family import listener, supervisor_of

    who = listener(port)
    if who is None:
        by, fix = "is taken, or not ours to open", ""
    elif (llmtp := supervisor_of(who[0])) is not None:
        by, fix = f"is lent already, by llmtp, process {llmtp}", f"; or end that: kill {llmtp}"
    else:
        by = f"is taken by {clean(who[1], 40)}, process {who[0]}"
        fix = f"; or end that process: kill {who[0]}"
    return UsageError(
        f"port {port} on {address} {by}",
        rule="port-taken",
        fix=f"use another: llmtp worker --host {address} --port {port % 65535 + 1}{fix}",
    )


def lent(host: str, port: int, threads: int | None, engine: str | None, *, keeps: bool) -> Lent:
    """What `llmtp worker` starts."""
    from llmtp.engine.llama.find import find_engine
    from llmtp.lending import lend
    from llmtp.machine.host import usable_cores
    from llmtp.machine.interfaces import private_address

    if names_vllm(engine):
        raise UsageError(
            "vLLM has no workers of this kind",
            rule="rpc",
            expected="the RPC server that comes with llama-server",
            fix="leave out --engine",
        )
    address = private_address(host)
    if not is_free(address, port):
        raise _port_taken_for_worker(address, port)
    return lend(find_engine(engine), address, port, threads or usable_cores(), keeps=keeps)


def nodes(count: int, rank: int, master: str | None) -> Nodes | None:
    """The machines of `--nodes`; None where there is one."""
    if count == 1:
        if rank or master:
            raise UsageError(
                "--node-rank and --master are for several machines", fix="add --nodes 2"
            )
        return None
    if rank >= count:
        raise UsageError(
            f"--node-rank {rank} is not one of {count} machines",
            expected=f"0 to {count - 1}",
            fix="count them from 0",
        )
    address, colon, text = (master or "").rpartition(":")
    if not colon or is_address(master or ""):
        address, text = master or "", str(MASTER_PORT)
    address = address.removeprefix("[").removesuffix("]")
    port = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not is_address(address) or not 1 <= port <= 65535:
        raise UsageError(
            f"--master {clean(master, 60)!r} is not an address"
            if master
            else "--nodes needs --master",
            rule="master",
            expected="the IP address of machine 0 that the others reach, with or without :PORT",
            fix="type for example: --master 192.168.1.10",
        )
    return Nodes(count, rank, address, port)


def check_part(nodes: Nodes | None, ask: str | None, *, makes_key: bool) -> None:
    """Raises UsageError for what only the machine does that serves."""
    for option, is_typed in (("--ask", ask is not None), ("--make-key", makes_key)):
        if nodes is not None and nodes.rank and is_typed:
            raise UsageError(
                f"{option} is for machine 0: the others answer nobody",
                rule="nodes",
                fix=f"leave out {option} here",
            )


def _port_taken(host: str, port: int) -> UsageError:
    from llmtp.machine.family import listener
    from llmtp.server.standing import live

    who, fix = listener(port), "leave out --port for a free one, or use another"
    by = "is taken, or not ours to open"
    ours = next((one.entry for one in live() if one.entry.port == port), None)
    if ours is not None:
        by = f"is taken by {ours.id}, which llmtp runs"
        fix = f"{fix}; or end that server: llmtp stop {ours.id}"
    elif who is not None:
        by = f"is taken by {clean(who[1], 40)}, process {who[0]}"
        fix = f"{fix}; or end that process: kill {who[0]}"
    return UsageError(f"port {port} on {clean(host, 60)} {by}", rule="port-taken", fix=fix)


def serving(
    host: str | None,
    port: int | None,
    api_key_file: Path | None,
    make_key: bool,
    temp: float | None,
    *,
    is_checked: bool = True,
) -> Serving:
    """Where to listen; raises UsageError for an open host without a key and for a taken port,
    unless that is found out later."""
    if temp is not None and not math.isfinite(temp):
        raise UsageError(f"--temp {temp} is not a temperature", fix="use 0 to 5")
    if make_key and api_key_file is not None:
        raise UsageError("--make-key and --api-key-file exclude each other", fix="use one of them")
    said_by = "--host" if host is not None else config.value_of("host").origin
    host = config.host() if host is None else host
    access.check_host(host, make_key or api_key_file is not None, said_by)
    file = None if api_key_file is None else api_key_file.expanduser().resolve()
    if file is not None:
        access.read_key(file)
    if is_checked and port is not None and not is_free(host, port):
        raise _port_taken(host, port)
    try:
        chosen = port or free_port(host)
    except OSError as error:
        raise UsageError(
            f"nothing can listen on --host {clean(host, 60)}: {error.strerror}",
            fix="leave out --host for 127.0.0.1",
        ) from error
    return Serving(host, chosen, port is not None, file, temp)
