"""An unbound of its own for one test: validates signed zones that the test has made, and knows nothing else.

Used as `async with Unbound.start(directory, zones) as unbound:`. It answers on port 53 of a loopback address of its
own, because a resolv.conf names no port; so it needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import dns.dnssec
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support import programs

_SOA = "@ 300 IN SOA ns hostmaster 1 3600 600 86400 300\n@ 300 IN NS ns\nns 300 IN A 127.0.0.1\n"
_DAY = 86_400


@dataclass(frozen=True)
class SignedZone:
    """A zone with its signatures, and the key that they are to be validated with; without a key it is unsigned."""

    name: str
    text: str
    """A zone file (RFC 1035 5)."""
    anchor: str = ""
    """The DNSKEY record."""

    @classmethod
    def unsigned(cls, name: str, records: str) -> SignedZone:
        """A zone with these lines."""
        return cls(name, dns.zone.from_text(_SOA + records, f"{name}.").to_text())

    @classmethod
    def signed(cls, name: str, records: str, forged: str = "") -> SignedZone:
        """The same, signed (RFC 4034); then the record set `forged` takes the place of the one that was signed."""
        zone = dns.zone.from_text(_SOA + records, f"{name}.", relativize=False)
        key = ec.generate_private_key(ec.SECP256R1())
        dnskey = dns.dnssec.make_dnskey(key.public_key(), "ECDSAP256SHA256", flags=257)
        dns.dnssec.sign_zone(zone, keys=[(key, dnskey)], lifetime=_DAY, dnskey_ttl=300)
        if forged:
            owner, ttl, rdclass, rdtype, rdata = forged.split(maxsplit=4)
            lie = dns.rrset.from_text(owner, int(ttl), rdclass, rdtype, rdata)
            zone.replace_rdataset(lie.name, lie.to_rdataset())
        return cls(name, zone.to_text(), f"{name}. 300 IN DNSKEY {dnskey.to_text()}\n")


class Unbound:
    """A running instance."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"127.{secrets.randbelow(200) + 50}.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}"
        """Where it answers, on port 53."""

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, directory: Path, zones: Sequence[SignedZone]) -> AsyncIterator[Unbound]:
        """Run until the block ends."""
        if os.geteuid() != 0:
            pytest.fail("port 53 is for root only: run these tests as root")
        self = cls(directory)
        config = self._write(zones)
        process = await asyncio.create_subprocess_exec(
            *(programs.find("unbound"), "-d", "-c", config), stderr=asyncio.subprocess.PIPE
        )
        try:
            await self._started(process)
            yield self
        finally:
            await programs.stop(process)

    async def _started(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        said = b""
        async with asyncio.timeout(programs.PATIENCE):
            while line := await process.stderr.readline():
                said += line
                if b"start of service" in line:
                    return
        pytest.fail(f"unbound does not start: {said.decode(errors='replace')}")

    def _write(self, zones: Sequence[SignedZone]) -> Path:
        """Write its configuration, which is returned, and the zones."""
        self.directory.mkdir()
        config = self.directory / "unbound.conf"
        config.write_text("\n".join(self._lines(zones)) + "\n")
        return config

    def _lines(self, zones: Sequence[SignedZone]) -> list[str]:
        """unbound.conf(5)."""
        lines = [
            "server:",
            f'interface: "{self.address}"',
            *('username: ""', 'chroot: ""', 'pidfile: ""', f'directory: "{self.directory}"'),
            *("use-syslog: no", 'logfile: ""', "verbosity: 1", "do-daemonize: no", "do-ip6: no"),
            *('module-config: "validator iterator"', 'local-zone: "test." nodefault', "do-not-query-localhost: no"),
        ]
        clauses = []
        for zone in zones:
            (self.directory / f"{zone.name}.zone").write_text(zone.text)
            if zone.anchor:
                (self.directory / f"{zone.name}.key").write_text(zone.anchor)
                lines.append(f'trust-anchor-file: "{zone.name}.key"')
            else:
                lines.append(f'domain-insecure: "{zone.name}"')
            clauses += ["auth-zone:", f'name: "{zone.name}."', f'zonefile: "{zone.name}.zone"']
            clauses += ["for-downstream: no", "for-upstream: yes"]
        return [*lines, *clauses, "remote-control:", "control-enable: no"]
