"""What the harness asks of a relay under test, and what it gives it.

Knows no relay. Implemented by the other files here, called by `bench.measure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.process import Service
from bench.tls_submit import Certificate


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how one relay runs for one measurement."""

    directory: Path
    """Its own, empty, on the disk that is measured: configuration, queue and logs go here."""
    port: int
    """It takes mail on this port of 127.0.0.1, offering STARTTLS."""
    next_hop: int
    """It hands all mail to this port of 127.0.0.1, with STARTTLS where that is offered."""
    certificate: Certificate
    preload: Mapping[str, str]
    """Environment that all its processes must see; empty, or that of the slow disk."""
    keys: Sequence[Path] = ()
    """DKIM keys that sign all mail, PEM; each file is named `SELECTOR._domainkey.DOMAIN.pem`."""


class Relay(Protocol):
    """A relay that the harness can run."""

    @property
    def name(self) -> str:
        """As the table shows it."""
        ...

    @property
    def signs(self) -> frozenset[str]:
        """The algorithms of DKIM keys that it can be given."""
        ...

    def prepare(self) -> None:
        """Makes sure that it is installed; raises BenchError with what to do when it is not."""
        ...

    def version(self) -> str:
        """Its version and that of what it runs on, for the record."""
        ...

    def start(self, place: Place) -> Service:
        """Starts it with an empty queue; the service's process is the root of all its processes."""
        ...

    def stop(self, place: Place, service: Service) -> None:
        """Stops all its processes."""
        ...
