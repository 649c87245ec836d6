"""Connections of another process of ours, from outside (Linux 5.6; elsewhere nothing happens)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys

import psutil

from llmtp import signals

#: `pidfd_getfd`, which has this number on every architecture.
_PIDFD_GETFD = 438
#: A machine that does not answer for a minute is gone: it lost power, or its cable.
_IDLE_S, _EVERY_S, _TRIES, _UNANSWERED_MS = 30, 5, 6, 60_000


@signals.hold()
def keep_alive(pid: int) -> None:
    """Let the kernel ask now and then whether the other ends of a process are still there, and end
    the connection to one that is not; as far as it lets us."""
    if sys.platform != "linux":
        return
    try:
        handle = os.pidfd_open(pid)
        numbers = [
            one.fd
            for one in psutil.Process(pid).net_connections("tcp")
            if one.status == psutil.CONN_ESTABLISHED
        ]
    except (OSError, psutil.Error):
        return
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, handle)
        for number in numbers:
            _ask(handle, number)


def _ask(handle: int, number: int) -> None:
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, handle, number, 0)
    if descriptor < 0:
        return
    with socket.socket(fileno=descriptor) as ours:  # the same connection: closing ours ends nothing
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_S)
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _EVERY_S)
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _TRIES)
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_MS)
