"""A domain with an MTA-STS policy, all on loopback: its DNS, its policy server, its MX hosts, and a relay's directory.

`async with StsDomain.start(tmp_path) as domain:` makes `example.test` with the MX hosts `mx1.example.test` (127.0.0.2)
and `mx2.example.test` (127.0.0.3), both with good certificates; `domain.publish(...)` announces a policy.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.authority import Authority
from tests.support.dns_server import DnsServer
from tests.support.policy_server import PolicyServer, policy_text
from tests.support.relay_process import RelayConfig
from tests.support.scripted_mx import ScriptedMx

NAME = "example.test"
MX1, MX2 = f"mx1.{NAME}", f"mx2.{NAME}"


class MxConfig(RelayConfig):
    """A configuration directory without routes: mail goes where the MX records say."""

    tls: tuple[str, ...] = ()
    """Lines of tls.ini [outbound]."""

    def write(self) -> None:
        """Write the files anew."""
        super().write()
        self.put("tls.ini", "\n".join(["[outbound]", *self.tls, ""]))

    def route(self) -> list[str]:
        """None."""
        return []


class StsDomain:
    """The domain."""

    def __init__(self, authority: Authority, dns: DnsServer, server: PolicyServer, hosts: list[ScriptedMx]) -> None:
        self.authority = authority
        self.dns = dns
        self.server = server
        self.mx1, self.mx2 = hosts
        self._ids = itertools.count(1)

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, *names: str) -> AsyncIterator[StsDomain]:
        """Run until the block ends. `names`: further domains that the policy server has a certificate for."""
        authority = Authority()
        async with contextlib.AsyncExitStack() as stack:
            dns = await stack.enter_async_context(DnsServer.start())
            server = await stack.enter_async_context(PolicyServer.start(authority, NAME, *names))
            mx1 = await stack.enter_async_context(ScriptedMx.start(ip="127.0.0.2"))
            mx2 = await stack.enter_async_context(ScriptedMx.start(ip="127.0.0.3", port=mx1.port))
            dns.zone.ttl = dns.zone.negative_ttl = 1
            dns.zone.mx(NAME, (1, MX1), (2, MX2))
            for name, mx in ((MX1, mx1), (MX2, mx2)):
                dns.zone.a(name, mx.ip)
                mx.starttls(authority.context(name))
            yield cls(authority, dns, server, [mx1, mx2])

    def publish(self, *mx: str, mode: str = "enforce", domain: str = NAME, max_age: int = 86_400) -> None:
        """Announce a policy, in place of the one before."""
        self.dns.zone.forget(f"_mta-sts.{domain}")
        self.dns.zone.add(f"_mta-sts.{domain}", "TXT", f'"v=STSv1; id=id{next(self._ids)};"')
        if f"mta-sts.{domain}" not in self.dns.zone.records:
            self.dns.zone.a(f"mta-sts.{domain}", "127.0.0.1")
        self.server.answers[domain] = policy_text(*mx, mode=mode, max_age=max_age)

    def config(
        self, directory: Path, *tls: str, outbound: tuple[str, ...] = (), allow_private: bool = True
    ) -> MxConfig:
        """A relay's directory for it, with further lines of tls.ini [outbound] and of outbound.ini."""
        own = f"dns_servers={self.dns.endpoint.host}:{self.dns.endpoint.port}"
        lines = [own, f"mx_port={self.mx1.port}", "inet_prefer=v4-only", *outbound]
        config = MxConfig(directory, 0, outbound=lines)
        config.put("roots.pem", self.authority.root)
        private = f"sts_allow_private={str(allow_private).lower()}"
        config.tls = ("ca=roots.pem", "sts_ca=roots.pem", private, f"sts_port={self.server.port}", *tls)
        config.write()
        return config
