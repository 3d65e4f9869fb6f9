"""A DNS server for benchmarks: every name under `test.` has an MX, and that MX an address, made up on the spot.

`NAME.test` has the MX `mx.NAME.test`, whose address is 127.0.0.1; those of names given as `NAME=ADDRESS` have
theirs. All other types are answered "no data". UDP only, one question a query. Not a server for anything else.
Run by `bench.destinations`: `python -m bench.dns_server PORT [NAME=ADDRESS]...`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
import sys
from collections.abc import Mapping
from typing import cast

import uvloop

_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHHLH")
"""A pointer to the owner's name, type, class, TTL, length of the data (RFC 1035 4.1.3)."""
_A, _SOA, _MX, _IN = 1, 6, 15, 1
_TTL = 300
_ANSWER = 0x8580
"""A response, authoritative, recursion desired and available (RFC 1035 4.1.1)."""
_REFUSED = 0x8585
_AT_QUESTION = 0xC000 | _HEADER.size
_SOA_DATA = b"\0\0" + struct.pack("!LLLLL", 1, 3600, 600, 86400, _TTL)
_DEFAULT = ipaddress.IPv4Address("127.0.0.1")


def answer(query: bytes, addresses: Mapping[bytes, ipaddress.IPv4Address]) -> bytes | None:
    """The response to `query`, None where there is nothing to respond to; `addresses` are those of special names."""
    if len(query) < _HEADER.size + 5:
        return None
    ident, flags, questions, *_ = _HEADER.unpack_from(query)
    if flags & 0x8000 or questions != 1:
        return None
    labels, end = _name(query)
    if end is None or end + 4 > len(query):
        return None
    question = query[_HEADER.size : end + 4]
    kind, _ = struct.unpack_from("!HH", query, end)
    if len(labels) < 2 or labels[-1] != b"test":
        return _HEADER.pack(ident, _REFUSED, 1, 0, 0, 0) + question
    if kind == _MX and labels[0] != b"mx":
        data = struct.pack("!H", 10) + b"\x02mx" + struct.pack("!H", _AT_QUESTION)
    elif kind == _A and labels[0] == b"mx":
        data = addresses.get(labels[1], _DEFAULT).packed
    else:
        record = _RECORD.pack(_AT_QUESTION, _SOA, _IN, _TTL, len(_SOA_DATA)) + _SOA_DATA
        return _HEADER.pack(ident, _ANSWER, 1, 0, 1, 0) + question + record
    record = _RECORD.pack(_AT_QUESTION, kind, _IN, _TTL, len(data)) + data
    return _HEADER.pack(ident, _ANSWER, 1, 1, 0, 0) + question + record


def _name(query: bytes) -> tuple[list[bytes], int | None]:
    """Labels of the question's name in lower case, and where it ends; None where it does not."""
    labels: list[bytes] = []
    at = _HEADER.size
    while at < len(query):
        length = query[at]
        if length == 0:
            return labels, at + 1
        if length > 63:  # a pointer has no place in a question
            break
        labels.append(query[at + 1 : at + 1 + length].lower())
        at += 1 + length
    return labels, None


class _Server(asyncio.DatagramProtocol):
    def __init__(self, addresses: Mapping[bytes, ipaddress.IPv4Address]) -> None:
        self._addresses = addresses
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = answer(data, self._addresses)
        if reply is not None:
            self._transport.sendto(reply, addr)


async def serve(port: int, addresses: Mapping[bytes, ipaddress.IPv4Address]) -> None:
    """Answers on loopback until it is killed."""
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: _Server(addresses), ("127.0.0.1", port))
    await asyncio.Event().wait()


def _special(words: list[str]) -> dict[bytes, ipaddress.IPv4Address]:
    pairs = [word.split("=", 1) for word in words]
    return {name.encode(): ipaddress.IPv4Address(address) for name, address in pairs}


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), _special(sys.argv[2:])))
