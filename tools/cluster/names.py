"""Mail domains of a test cluster: zones whose records tests change while it runs, signed (DNSSEC) or not.

CoreDNS rereads a zone file within about half a second after its serial number has changed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dns.dnssec
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm, DSDigest


@dataclass
class Zone:
    """The zone `test`: `mail.example.test` finds MX records that were added for `example.test`."""

    path: Path
    origin: str = "test."
    records: list[str] = field(default_factory=list)
    _serial: int = 0

    def mx(self, domain: str, *targets: str, preference: int = 10) -> None:
        """Lead a domain, such as `example.test` or `*.test`, to these hosts; they replace earlier ones."""
        self._replace(domain, "MX", [f"{preference} {target.rstrip('.')}." for target in targets])

    def address(self, host: str, *addresses: str) -> None:
        """Give a host its addresses; they replace earlier ones."""
        self._replace(host, "A", [each for each in addresses if ":" not in each])
        self._replace(host, "AAAA", [each for each in addresses if ":" in each])

    def text(self, host: str, strings: str) -> None:
        """Give a host a TXT record, its strings quoted as in a zone file; it replaces an earlier one."""
        self._replace(host, "TXT", [strings])

    def write(self) -> None:
        """Rewrite the file, with a new serial number."""
        self._serial = max(self._serial + 1, int(time.time()))
        soa = f"@ 1 IN SOA ns nobody {self._serial} 60 60 60 1"
        fresh = self.path.with_suffix(".new")
        lines = [f"$ORIGIN {self.origin}", soa, "@ 1 IN NS ns", "ns 1 IN A 10.89.0.1", *self.records]
        fresh.write_text(self._finished("\n".join(lines) + "\n"))
        fresh.rename(self.path)

    def _finished(self, text: str) -> str:
        return text

    def _replace(self, name: str, kind: str, values: Sequence[str]) -> None:
        head = f"{name.rstrip('.')}. 1 IN {kind} "
        self.records = [record for record in self.records if not record.startswith(head)]
        self.records += [head + value for value in values]
        self.write()


class SignedZone(Zone):
    """A zone that a key of its own signs, for a resolver that validates; its parent, if any, vouches for the key."""

    def __init__(self, path: Path, origin: str, parent: SignedZone | None = None) -> None:
        super().__init__(path, origin)
        self.unsigned: list[str] = []
        """Records that are added after signing: a validator takes them for forged."""
        self._parent = parent
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._dnskey = dns.dnssec.make_dnskey(self._key.public_key(), Algorithm.ECDSAP256SHA256, flags=257)

    @property
    def ds(self) -> str:
        """The record that vouches for the key: in the parent, or as a trust anchor."""
        return f"{self.origin} 1 IN DS {dns.dnssec.make_ds(self.origin, self._dnskey, DSDigest.SHA256)}"

    def write(self) -> None:
        """Rewrite the file, and that of the parent."""
        super().write()
        if self._parent:
            self._parent.records = [f"{self.origin} 1 IN NS ns.{self.origin}", self.ds]
            self._parent.write()

    def _finished(self, text: str) -> str:
        zone = dns.zone.from_text(text, origin=self.origin, relativize=False)
        dns.dnssec.sign_zone(zone, keys=[(self._key, self._dnskey)], dnskey_ttl=1, lifetime=86_400)
        return "\n".join([zone.to_text(relativize=False), *self.unsigned, ""])
