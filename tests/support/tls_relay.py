"""A whole relay that offers STARTTLS and implicit TLS, for other people's clients and next hops.

`async with TlsRelay.start(directory, outbound) as relay:` runs `mailboat relay`; at the end it must drain and exit 0.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.pem import self_signed
from tests.support.relay_process import Relay, RelayConfig, running
from tools.ports import free_ports


class TlsRelay:
    """A running relay with a self-signed certificate for `relay.test`."""

    def __init__(self, relay: Relay, smtps_port: int) -> None:
        self._relay = relay
        self.port = relay.config.smtp_port
        self.smtps_port = smtps_port

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls, directory: Path, outbound: str, files: Mapping[str, str] | None = None
    ) -> AsyncIterator[TlsRelay]:
        """Run it with this `outbound.ini` (beside `local_mx_ok`) and these further files."""
        (smtps_port,) = free_ports(1)
        config = RelayConfig(directory, 0, smtp=[f"smtps_listen=127.0.0.1:{smtps_port}"])
        key, certificate = self_signed("relay.test")
        own = {
            "tls_key.pem": key.decode(),
            "tls_cert.pem": certificate.decode(),
            "outbound.ini": f"local_mx_ok=true\n{outbound}",
        }
        for name, text in {**own, **(files or {})}.items():
            config.put(name, text)
        async with running(config) as relay:
            yield cls(relay, smtps_port)
            assert await relay.stop() == 0, "\n".join(relay.log)

    async def event(self, kind: str, **facts: Any) -> dict[str, Any]:
        """The first event of this kind with these facts, now or when it comes."""
        return (await self._relay.event(kind, **facts))[0]


def route(port: int, *more: str, domains: str = "*") -> str:
    """A section of `outbound.ini` that leads to a port of loopback."""
    name = "all" if domains == "*" else domains
    return "\n".join([f"[route:{name}]", f"domains={domains}", f"hosts=127.0.0.1:{port}", *more, ""])
