"""A DNS server in this process, on real UDP and TCP sockets, that does as its zone says: well, badly, or not at all.

Used as `async with DnsServer.start() as dns:`; a test writes `dns.zone`, points `dns.endpoint` at the resolver, and
reads `dns.queries`. A name that the zone does not hold is NXDOMAIN. Nothing here waits for time to pass: what is to be
slow is held until the test says `release`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from tests.support import tasks

from mailboat.config.settings import Endpoint


class Behaviour(Enum):
    """How a question may be answered other than rightly."""

    SERVFAIL = auto()
    REFUSED = auto()
    NXDOMAIN = auto()
    """For a type of a name that has other records."""
    FORMERR_FOR_EDNS = auto()
    """A server older than EDNS: fails any query that carries an OPT record."""
    SILENCE = auto()
    HELD = auto()
    """No answer before `DnsServer.release`."""
    TRUNCATED = auto()
    """TC and no records over UDP; all of them over TCP."""
    TRUNCATED_AND_CLOSED = auto()
    """TC over UDP, and the TCP connection ends within the answer."""
    TRUNCATED_AND_HUGE = auto()
    """TC over UDP, and an answer over TCP as long as TCP can carry."""
    GARBAGE = auto()
    """Octets that are no DNS message."""
    MALFORMED = auto()
    """The right id and question, then nonsense."""
    FORGED_FIRST = auto()
    """A lie with another id, a lie with another question, and then the truth."""
    REFERRAL = auto()
    """Points to other servers, as one does that does not recurse."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question that came in."""

    name: str
    type: str
    transport: str
    """`udp` or `tcp`."""
    edns: bool
    asks_ad: bool
    """AD is set, which asks whether the answer is authenticated (RFC 6840 5.7)."""


@dataclass
class Zone:
    """What the server knows. Names are without the final dot; texts are as in a zone file."""

    ttl: int = 300
    negative_ttl: int = 60
    secure: bool = False
    """All answers carry AD for who asks for it, as those of a validating server about a signed zone."""
    insecure: set[str] = field(default_factory=set)
    """Names whose answers do not carry it all the same, as those of an unsigned zone."""
    records: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    authoritative: bool = False
    """Answers carry AA, as those of a zone's own servers."""
    latency: float = 0.0
    """Seconds that each answer takes. For benchmarks: a test holds answers."""
    behaviours: dict[tuple[str, str], Behaviour] = field(default_factory=dict)

    def add(self, name: str, rdtype: str, *texts: str) -> None:
        """Add records; without texts, the name exists and that is all."""
        self.records.setdefault(name, {}).setdefault(rdtype, []).extend(texts)

    def mx(self, name: str, *records: tuple[int, str]) -> None:
        """Add MX records (preference, exchange); an empty exchange is the root."""
        self.add(name, "MX", *(f"{preference} {exchange}." for preference, exchange in records))

    def a(self, name: str, *addresses: str) -> None:
        """Add IPv4 addresses."""
        self.add(name, "A", *addresses)

    def aaaa(self, name: str, *addresses: str) -> None:
        """Add IPv6 addresses."""
        self.add(name, "AAAA", *addresses)

    def cname(self, name: str, target: str) -> None:
        """Make a name an alias."""
        self.add(name, "CNAME", target)

    def behave(self, name: str, behaviour: Behaviour, rdtype: str = "*") -> None:
        """Answer questions for a name and type (`*`: any) in this manner."""
        self.behaviours[name, rdtype] = behaviour

    def behaviour(self, name: str, rdtype: str) -> Behaviour | None:
        """How to answer; None: rightly."""
        return self.behaviours.get((name, rdtype)) or self.behaviours.get((name, "*"))

    def forget(self, name: str) -> None:
        """The name is gone, with its behaviour."""
        self.records.pop(name, None)
        self.behaviours = {key: value for key, value in self.behaviours.items() if key[0] != name}


class DnsServer(asyncio.DatagramProtocol):
    """The server. Answers over both transports on one port of the loopback."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.queries: list[Query] = []
        self.most_at_once = 0
        """The most queries that ever waited for their answers together."""
        self._waiting = 0
        self.endpoint = Endpoint()
        self.asked = asyncio.Condition()
        self._released = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, zone: Zone | None = None, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[DnsServer]:
        """Run until the block ends; on a port that the system chooses, where none is given."""
        self = cls(zone or Zone())
        tcp = await self._listen(host, port)
        try:
            yield self
        finally:
            await tasks.end(self._tasks)
            if self._transport is not None:
                self._transport.close()
            tcp.close()
            await tcp.wait_closed()

    def asked_for(self, name: str, rdtype: str | None = None) -> int:
        """How many queries for a name came in."""
        return sum(1 for query in self.queries if query.name == name and rdtype in (None, query.type))

    async def wait_for_query(self, name: str, rdtype: str | None = None) -> None:
        """Return when the name has been asked for; TimeoutError after 10 s."""
        async with asyncio.timeout(10), self.asked:
            await self.asked.wait_for(lambda: self.asked_for(name, rdtype))

    def release(self) -> None:
        """Answer what was held, and hold nothing any more."""
        self._released.set()

    async def _listen(self, host: str, wanted: int) -> asyncio.Server:
        """Both transports on one port: take one for TCP, and another if UDP cannot have it."""
        loop = asyncio.get_running_loop()
        while True:
            tcp = await asyncio.start_server(self._serve_tcp, host, wanted)
            port = tcp.sockets[0].getsockname()[1]
            try:
                await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
            except OSError:
                tcp.close()
                continue
            self.endpoint = Endpoint(host, port)
            return tcp

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the UDP socket."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a query by UDP."""
        self._spawn(self._serve_udp(data, addr))

    async def _serve_udp(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        for packet in await self._answers(data, "udp"):
            self._transport.sendto(packet, addr)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2), "big")
            for packet in await self._answers(await reader.readexactly(size), "tcp"):
                writer.write(packet)
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    def _soa(self) -> str:
        return f"ns.invalid. hostmaster.invalid. 1 3600 600 86400 {self.zone.negative_ttl}"

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answers(self, data: bytes, transport: str) -> list[bytes]:
        self._waiting += 1
        self.most_at_once = max(self.most_at_once, self._waiting)
        try:
            return await self._found(data, transport)
        finally:
            self._waiting -= 1

    async def _found(self, data: bytes, transport: str) -> list[bytes]:
        question = dns.message.from_wire(data)
        name = question.question[0].name.to_text(omit_final_dot=True).lower()
        rdtype = dns.rdatatype.to_text(question.question[0].rdtype)
        self.queries.append(Query(name, rdtype, transport, question.edns >= 0, bool(question.flags & dns.flags.AD)))
        async with self.asked:
            self.asked.notify_all()
        behaviour = self.zone.behaviour(name, rdtype)
        if self.zone.latency:
            await asyncio.sleep(self.zone.latency)
        if behaviour is Behaviour.HELD:
            await self._released.wait()
        response = self._right_answer(question, name, rdtype)
        if self.zone.authoritative:
            response.flags |= dns.flags.AA
        if self.zone.secure and name not in self.zone.insecure and question.flags & dns.flags.AD:
            response.flags |= dns.flags.AD
        if transport == "tcp":
            return _over_tcp(response, behaviour)
        return _over_udp(response, behaviour, question)

    def _right_answer(self, question: dns.message.Message, name: str, rdtype: str) -> dns.message.Message:
        response = dns.message.make_response(question, recursion_available=True)
        seen: set[str] = set()
        while name not in seen:
            seen.add(name)
            known = self.zone.records.get(name)
            if known is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            if texts := known.get(rdtype):
                texts = [f"{text}." for text in texts] if rdtype == "CNAME" else texts
                response.answer.append(dns.rrset.from_text_list(f"{name}.", self.zone.ttl, "IN", rdtype, texts))
                return response
            if "CNAME" not in known:
                break
            target = known["CNAME"][0]
            response.answer.append(dns.rrset.from_text(f"{name}.", self.zone.ttl, "IN", "CNAME", f"{target}."))
            if target not in self.zone.records:
                return response  # as from a server that knows the alias only
            name = target
        response.authority.append(dns.rrset.from_text(".", self.zone.negative_ttl, "IN", "SOA", self._soa()))
        return response


def _over_tcp(response: dns.message.Message, behaviour: Behaviour | None) -> list[bytes]:
    wire = response.to_wire(max_size=65_535)
    if behaviour is Behaviour.TRUNCATED_AND_CLOSED:
        return [len(wire).to_bytes(2, "big"), wire[:7]]
    if behaviour is Behaviour.TRUNCATED_AND_HUGE:
        return [b"\xff\xff", wire.ljust(65_535, b"\0")]
    return [len(wire).to_bytes(2, "big") + wire]


def _over_udp(response: dns.message.Message, behaviour: Behaviour | None, question: dns.message.Message) -> list[bytes]:
    match behaviour:
        case Behaviour.SILENCE:
            return []
        case Behaviour.GARBAGE:
            return [b"", b"\xff" * 40]
        case Behaviour.MALFORMED:
            wire = response.to_wire()
            return [wire[:-3]]
        case Behaviour.FORGED_FIRST:
            return [*_forgeries(response), response.to_wire()]
    if behaviour in {Behaviour.TRUNCATED, Behaviour.TRUNCATED_AND_CLOSED, Behaviour.TRUNCATED_AND_HUGE}:
        _empty(response)
        response.flags |= dns.flags.TC
    elif behaviour is Behaviour.REFERRAL:
        _empty(response)
        response.set_rcode(dns.rcode.NOERROR)
        response.authority.append(dns.rrset.from_text("test.", 300, "IN", "NS", "ns.invalid."))
    elif behaviour is Behaviour.FORMERR_FOR_EDNS and question.edns >= 0:
        _empty(response)
        response.set_rcode(dns.rcode.FORMERR)
        response.question.clear()
    elif behaviour is Behaviour.NXDOMAIN:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif behaviour in {Behaviour.SERVFAIL, Behaviour.REFUSED}:
        _empty(response)
        response.set_rcode(dns.rcode.SERVFAIL if behaviour is Behaviour.SERVFAIL else dns.rcode.REFUSED)
    wire = response.to_wire(max_size=65_535)
    if len(wire) > (question.payload if question.edns >= 0 else 512):
        _empty(response)
        response.flags |= dns.flags.TC
        wire = response.to_wire()
    return [wire]


def _empty(response: dns.message.Message) -> None:
    response.answer.clear()
    response.authority.clear()


def _forgeries(response: dns.message.Message) -> list[bytes]:
    """An answer of 192.0.2.66 with a wrong id, and one to a question that was not asked."""
    lie = dns.message.from_wire(response.to_wire())
    _empty(lie)
    lie.set_rcode(dns.rcode.NXDOMAIN)
    lie.id = response.id ^ 1
    other = dns.message.make_response(dns.message.make_query("other.test.", "A", id=response.id))
    other.set_rcode(dns.rcode.NXDOMAIN)
    return [lie.to_wire(), other.to_wire()]
