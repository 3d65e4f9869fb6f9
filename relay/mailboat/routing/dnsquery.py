"""One query to one DNS server: UDP first, TCP if the answer is truncated.

dnspython parses answers; the sockets are our own: one connected UDP socket for each query, so that the kernel chooses a
new port, drops packets from other hosts, and reports at once if no server listens. Knows nothing of caches, retries or
mail. Called by `resolver`, which limits its time.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from dataclasses import dataclass, replace
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.wire

from mailboat.config.settings import Endpoint
from mailboat.routing.records import MALFORMED_TLSA, MxRecord, RecordType, TlsaRecord

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_PLAIN = dns.flags.RD
_FLAGS = dns.flags.RD | dns.flags.AD
"""AD in a query asks for AD in the answer (RFC 6840 5.7), without the signatures that DO would bring."""
_IN = 1
_MAX_UDP = 1232  # what EDNS offers: fits an IPv6 packet that is never fragmented (RFC 9715 3.1)
_OPT = struct.pack("!BHHIH", 0, 41, _MAX_UDP, 0, 0)  # RFC 6891 6.1.2, no options, no flags
_MAX_MESSAGE = 16_384
"""Octets of an answer over TCP that are still parsed. Some 400 MX fit; a longer one is only an attack."""
_MAX_RECORDS = 1000
_NO_EDNS = frozenset({dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS})
_UNANSWERABLE = frozenset({dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED})


class BadResponse(Exception):  # noqa: N818 - the name that it has in DNS libraries
    """The server's answer to this query cannot be used."""


class InvalidName(ValueError):  # noqa: N818 - what it says, not what went wrong here
    """The DNS cannot hold such a name (RFC 1035 2.3.4)."""


@dataclass(frozen=True, slots=True)
class Response:
    """The answer of one server. One of `records`, `alias` and `failure` is set, or none: there is no such record."""

    records: tuple[str | MxRecord | TlsaRecord, ...] = ()
    ttl: float = 0
    """Seconds that the answer is valid; for a negative answer, by the SOA (RFC 2308 5)."""
    exists: bool = True
    """False: NXDOMAIN."""
    alias: str = ""
    """The target of a CNAME without records in the response: query that."""
    aliases: tuple[str, ...] = ()
    """The targets of all CNAMEs in the response, including `alias`."""
    secure: bool = False
    """Whether the server sets AD (authenticated). `resolver` decides whether to trust it."""
    failure: str = ""
    """SERVFAIL and similar: this server cannot answer; another may."""


async def query(server: Endpoint, name: str, rdtype: RecordType) -> Response:
    """Send a query. Raises OSError if the server cannot be reached, `BadResponse` or `InvalidName`.

    Waits without a limit: the caller sets the timeout.
    """
    question = encode_name(name) + _QUESTION.pack(rdtype, _IN)
    message = await _ask(server, question, _OPT, rdtype)
    if message.rcode() in _NO_EDNS:
        # RFC 6891 7: servers older than EDNS say so by such an answer; without OPT, and without AD, they can be asked.
        message = await _ask(server, question, b"", rdtype)
    response = _read(message, rdtype)
    return replace(response, secure=True) if message.flags & dns.flags.AD else response


def encode_name(name: str) -> bytes:
    """An absolute name on the wire (RFC 1035 3.1), `.` the root. Raises `InvalidName`."""
    if name == ".":
        return b"\0"
    if not name.isascii():
        raise InvalidName("not in A-labels")
    labels = name.encode().split(b".")
    if not all(0 < len(label) < 64 for label in labels):
        raise InvalidName("a label is empty or longer than 63 octets")
    wire = b"".join(len(label).to_bytes(1, "big") + label for label in labels) + b"\0"
    if len(wire) > 255:
        raise InvalidName("longer than 255 octets")
    return wire


async def _ask(server: Endpoint, question: bytes, opt: bytes, rdtype: RecordType) -> dns.message.Message:
    # RFC 5452 9.2: an unpredictable id, in addition to the kernel's choice of port.
    header = _HEADER.pack(secrets.randbits(16), _FLAGS if opt else _PLAIN, 1, 0, 0, 1 if opt else 0)
    wire = header + question + opt
    data = await _over_udp(server, wire, question)
    if data[2] & 0x02:  # TC: RFC 2181 9, the rest is to be had by TCP
        data = await _over_tcp(server, wire, question)
    return _parse(data, rdtype)


async def _over_udp(server: Endpoint, wire: bytes, question: bytes) -> bytes:
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()

    def readable() -> None:
        try:
            data = sock.recv(65_535)
        except BlockingIOError:
            return
        except OSError as error:
            if not answer.done():
                answer.set_exception(error)
            return
        # Anything else is forged or late: keep waiting, so that an attacker cannot end the look-up.
        if is_answer(data, wire, question) and not answer.done():
            answer.set_result(data)

    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((server.host, server.port))
        sock.send(wire)
        loop.add_reader(sock.fileno(), readable)
        try:
            return await answer
        finally:
            loop.remove_reader(sock.fileno())


async def _over_tcp(server: Endpoint, wire: bytes, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(wire).to_bytes(2, "big") + wire)
        size = int.from_bytes(await reader.readexactly(2), "big")
        if size > _MAX_MESSAGE:
            raise BadResponse(f"an answer of {size} octets")
        data = await reader.readexactly(size)
    except EOFError as error:
        raise BadResponse("the connection ended within the answer") from error
    finally:
        writer.transport.abort()
    if not is_answer(data, wire, question):
        raise BadResponse("an answer to another question")
    return data


def is_answer(data: bytes, wire: bytes, question: bytes) -> bool:
    """Whether a packet answers our query: same id, a response, same question (RFC 5452 9.1)."""
    if len(data) < _HEADER.size or data[:2] != wire[:2] or data[2] & 0xF8 != 0x80:
        return False
    if data[4:6] == b"\0\0":
        # Servers that could not parse the question leave it out; their answer is then an error.
        return data[3] & 0x0F in _UNANSWERABLE
    return data[4:6] == b"\0\1" and data[12 : 12 + len(question)].lower() == question.lower()


def _parse(data: bytes, rdtype: RecordType = RecordType.A) -> dns.message.Message:
    counts = _HEADER.unpack_from(data)
    if sum(counts[3:]) > _MAX_RECORDS:
        raise BadResponse(f"an answer of {sum(counts[3:])} records")
    try:
        # A malformed TLSA record is unusable, but not absent (RFC 7672 2.2): `errors` reports it.
        message = dns.message.from_wire(data, continue_on_error=rdtype is RecordType.TLSA)
        if message.errors:
            _check_errors(message, data)
    except Exception as error:  # whatever a packet makes the parser raise, the packet is at fault
        raise BadResponse(f"{type(error).__name__}: {error}") from error
    return message


def _check_errors(message: dns.message.Message, data: bytes) -> None:
    """Raises unless each error is what one record of the answer section holds, in a packet that is otherwise sound."""
    _, _, questions, answers, *others = _HEADER.unpack_from(data)
    parser = dns.wire.Parser(data, _HEADER.size)
    for _ in range(questions):
        parser.get_name(decompress=True)
        parser.get_bytes(_QUESTION.size)
    for _ in range(answers + sum(others)):
        parser.get_name(decompress=True)
        parser.get_bytes(8)  # type, class and TTL
        parser.get_counted_bytes(2)
    read: int = sum(len(rrset) for rrset in message.answer)
    if read + len(message.errors) != answers:
        raise message.errors[0].exception


def _read(message: dns.message.Message, rdtype: RecordType) -> Response:
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Response(failure=dns.rcode.to_text(rcode))
    if not isinstance(message, dns.message.QueryMessage):
        raise BadResponse("no answer to a query")
    try:
        chain = message.resolve_chaining()
    except dns.exception.DNSException as error:  # an alias that goes round, records for a name that is not
        raise BadResponse(f"{type(error).__name__}: {error}") from error
    ttl = chain.minimum_ttl
    aliases = tuple(_text(rrset[0].target) for rrset in chain.cnames)
    if chain.answer is not None or message.errors:
        records = [_record(rdata, rdtype) for rdata in chain.answer or ()]
        return Response((*records, *[MALFORMED_TLSA] * bool(message.errors)), ttl, aliases=aliases)
    if rcode == dns.rcode.NXDOMAIN:
        return Response(ttl=ttl, exists=False)
    authority = {rrset.rdtype for rrset in message.authority}
    if dns.rdatatype.SOA not in authority:
        if aliases:
            return Response(ttl=ttl, alias=aliases[-1], aliases=aliases)
        if dns.rdatatype.NS in authority:
            # RFC 2308 2.2: a referral says nothing about the name. It comes from a server that does not recurse;
            # reading it as "no such record" would bounce mail.
            return Response(failure="a referral: the server does not recurse")
    return Response(ttl=ttl)


def _record(rdata: dns.rdata.Rdata, rdtype: RecordType) -> str | MxRecord | TlsaRecord:
    """One record as a value of our own."""
    record: Any = rdata  # dnspython's classes of records are found by type, not named
    match rdtype:
        case RecordType.MX:
            return MxRecord(record.preference, _text(record.exchange))
        case RecordType.CNAME | RecordType.NS:
            return _text(record.target)
        case RecordType.TXT:
            # RFC 7208 3.3, RFC 6376 3.6.2.2: the strings of one record are one text.
            return b"".join(record.strings).decode("utf-8", "replace")
        case RecordType.TLSA:
            return TlsaRecord(record.usage, record.selector, record.mtype, record.cert)
    return str(record.address)


def _text(name: dns.name.Name) -> str:
    """A name as text, lower case; empty for the root."""
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")
