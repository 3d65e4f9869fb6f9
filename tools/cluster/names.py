"""Mail domains of a test cluster: a zone whose MX and address records tests change while it runs.

CoreDNS rereads the zone file within about half a second after its serial number has changed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Zone:
    """The zone `test`: `mail.example.test` finds MX records that were added for `example.test`."""

    path: Path
    records: list[str] = field(default_factory=list)
    _serial: int = 0

    def mx(self, domain: str, *targets: str, preference: int = 10) -> None:
        """Lead a domain, such as `example.test` or `*.test`, to these hosts; they replace earlier ones."""
        self._replace(domain, "MX", [f"{preference} {target.rstrip('.')}." for target in targets])

    def address(self, host: str, *addresses: str) -> None:
        """Give a host its addresses; they replace earlier ones."""
        self._replace(host, "A", [each for each in addresses if ":" not in each])
        self._replace(host, "AAAA", [each for each in addresses if ":" in each])

    def write(self) -> None:
        """Rewrite the file, with a new serial number."""
        self._serial = max(self._serial + 1, int(time.time()))
        soa = f"@ 1 IN SOA ns.test. nobody.test. {self._serial} 60 60 60 1"
        fresh = self.path.with_suffix(".new")
        fresh.write_text(
            "\n".join(["$ORIGIN test.", soa, "@ 1 IN NS ns.test.", "ns 1 IN A 10.89.0.1", *self.records]) + "\n"
        )
        fresh.rename(self.path)

    def _replace(self, name: str, kind: str, values: Sequence[str]) -> None:
        head = f"{name.rstrip('.')}. 1 IN {kind} "
        self.records = [record for record in self.records if not record.startswith(head)]
        self.records += [head + value for value in values]
        self.write()
