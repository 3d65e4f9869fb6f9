"""Connects a socket: to a numeric address or a unix socket, from the chosen source address.

Knows no SMTP. Used by `delivery.client`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl

from mailboat.delivery.source import BindSource, SourceMissing
from mailboat.delivery.verdict import FaultKind, PeerTrouble, Trouble
from mailboat.model.outcome import Stage
from mailboat.routing.answers import Target

# Linux: choose the port at connect, so that connections of one source address to different peers may share ports.
_IP_BIND_ADDRESS_NO_PORT = 24
_OUT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def label(target: Target) -> str:
    """A target in words for people."""
    return target.path or f"{target.host}[{target.ip}]:{target.port}"


def describe(error: BaseException) -> str:
    """An error in words for people, without error numbers and source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message or str(error)
    if isinstance(error, ssl.SSLError):
        reason: str | None = getattr(error, "reason", None)
        return reason.lower().replace("_", " ") if reason else str(error)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()  # its own text differs between event loops
    return str(error) or type(error).__name__


async def dial(target: Target, source: BindSource, timeout: float) -> socket.socket:
    """A connected, non-blocking socket.

    Raises:
        SourceMissing: the source address is not on this machine. PeerTrouble: the connection failed, or took longer
        than `timeout` seconds.
    """
    family = _family(target)
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # too many open files, or no IPv6 in this kernel
        kind = FaultKind.LOCAL if error.errno in _OUT_OF else FaultKind.CONNECT
        raise PeerTrouble(Trouble(Stage.CONNECT, kind, f"no socket: {describe(error)}")) from error
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _bind(sock, source)
        async with asyncio.timeout(timeout):
            address = target.path or (target.ip, target.port)
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            text = f"no connection within {timeout:g} s"
            raise PeerTrouble(Trouble(Stage.CONNECT, FaultKind.TIMEOUT, text)) from error
        if isinstance(error, OSError):
            raise PeerTrouble(Trouble(Stage.CONNECT, FaultKind.CONNECT, describe(error))) from error
        raise
    return sock


def _family(target: Target) -> socket.AddressFamily:
    if target.path:
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in target.ip else socket.AF_INET


def _bind(sock: socket.socket, source: BindSource) -> None:
    if not source.address:
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((source.address, 0))
    except OSError as error:
        reason = f"cannot send from {source.address}: {describe(error)}"
        raise SourceMissing(source.address, reason) from error
