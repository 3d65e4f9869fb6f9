"""Mail without end while something happens to the relays, and the books of it.

    with load(cluster, kubectl, "service/relay", 25) as books:
        …                                  # delete a pod, change the configuration
    settle(books, sink)                    # everything that was answered 250 has arrived, or the test fails

Clients run in a thread of their own; see `tests.support.ledger` for what they send and note.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from tests.e2e.sink import Sink
from tests.support.ledger import Arrival, Ledger
from tools.cluster.kubectl import Kubectl, until
from tools.cluster.use import Cluster

CLIENTS = 4
PACE = 0.1
"""Seconds between two connections of a client, each of ten messages."""


@contextlib.contextmanager
def load(cluster: Cluster, kubectl: Kubectl, target: str, port: int, clients: int = CLIENTS) -> Iterator[Ledger]:
    """Clients that submit to a service or a pod meanwhile; it begins when the first message has been accepted."""
    with cluster.reach(kubectl, target, port) as (host, reached):
        books = Ledger(host=host, pace=PACE)
        stop = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(_run(books, reached, clients, stop)), name="load")
        thread.start()
        try:
            until(lambda: len(books.promised), bool)
            yield books
        finally:
            stop.set()
            thread.join()


async def _run(books: Ledger, port: int, clients: int, stop: threading.Event) -> None:
    running = asyncio.create_task(books.clients(port, clients))
    await asyncio.to_thread(stop.wait)
    running.cancel()
    await asyncio.wait([running])


def more(books: Ledger, count: int) -> None:
    """Wait until so many more messages have been accepted."""
    wanted = len(books.promised) + count
    until(lambda: len(books.promised), lambda now: now >= wanted)


def settle(books: Ledger, sink: Sink, patience: float = 120) -> None:
    """Wait until the sink has everything that was promised; raises Failed with what is missing."""

    def missing() -> set[tuple[str, str]]:
        books.arrivals = {}
        for mail in sink.mails():
            for recipient in mail.recipients:
                key = (mail.subject, recipient.rpartition("@")[2])
                books.arrivals.setdefault(key, []).append(Arrival(0, 0.0))
        return books.missing()

    until(missing, lambda lost: not lost, patience)
