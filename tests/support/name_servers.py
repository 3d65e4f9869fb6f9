"""The name servers of test zones, in a thread of their own, for tests that wait for other processes.

The first one is the resolver too. All have one port, as name servers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from tests.support.dns_server import DnsServer, Zone

HOSTS = ("127.0.0.1", "127.0.0.2")


class NameServers:
    """Two name servers, each with what it knows."""

    def __init__(self) -> None:
        self.zones = [Zone(ttl=1, negative_ttl=1, authoritative=True) for _ in HOSTS]
        self.servers: list[DnsServer] = []
        self.port = 0
        self._up, self._down = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()

    def delegate(self, domain: str) -> None:
        """Make a domain a zone of both."""
        for zone in self.zones:
            zone.add(domain, "SOA", f"ns1.{domain}. hostmaster.{domain}. 1 3600 600 86400 1")
            zone.add(domain, "NS", f"ns1.{domain}.", f"ns2.{domain}.")
            for number, host in enumerate(HOSTS, 1):
                zone.a(f"ns{number}.{domain}", host)

    def publish(self, name: str, value: str, servers: tuple[int, ...] = (0, 1)) -> None:
        """Have servers show a TXT record, in place of other ones of that name."""
        for number in servers:
            text = " ".join(f'"{value[at : at + 255]}"' for at in range(0, len(value), 255))
            self.zones[number].records.setdefault(name, {})["TXT"] = [text]

    def remove(self, name: str) -> None:
        """Have no server show anything of a name."""
        for zone in self.zones:
            zone.forget(name)

    def run(self) -> None:
        """Serve until the end."""
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for zone, host in zip(self.zones, HOSTS, strict=True):
                server = await stack.enter_async_context(DnsServer.start(zone, host, self.port))
                self.servers.append(server)
                self.port = server.endpoint.port
            self._up.set()
            await self._down.wait()
        await asyncio.sleep(0)  # for the sockets of what was closed to be closed: the loop ends now

    def wait_until_up(self) -> None:
        """Return when it serves."""
        assert self._up.wait(30)

    def end(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._down.set)


@contextlib.contextmanager
def name_servers() -> Iterator[NameServers]:
    """Servers that run."""
    servers = NameServers()
    thread = threading.Thread(target=servers.run, daemon=True)
    thread.start()
    servers.wait_until_up()
    try:
        yield servers
    finally:
        servers.end()
        thread.join(30)
