"""A million deferred messages in the queue: time to the first attempt, memory, and the rate of new mail.

The store by itself, without a relay around it; `bench.backlog` measures the whole relay. Forgets the file cache, and
then measures in fresh processes, the long queue and an empty one in turns; everything is removed afterwards.
`python -m bench store --messages 1000000`.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench import long_queue, process
from mailboat.model.address import Address
from mailboat.model.clock import SystemClock
from mailboat.model.envelope import Draft
from mailboat.model.observer import Observer
from mailboat.queue.commit import SWITCH_INTERVAL
from mailboat.queue.opening import open_store
from mailboat.queue.store import AttemptRecord, Store

NEW_BODY = 4096
IN_FLIGHT = 40


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One process with one queue."""

    first_due: float
    """Seconds from the call of `open_store` until the first batch of due entries is there."""
    accepted: float
    """Messages a second that were accepted and settled."""
    memory: int
    """Most octets of resident memory."""


def main(words: Sequence[str]) -> int:
    """Prints both queues beside each other; 0."""
    options = _options().parse_args(words)
    sys.setswitchinterval(SWITCH_INTERVAL)
    if options.trial:
        print(json.dumps(dataclasses.asdict(uvloop.run(_trial(options.trial, options.new)))))
        return 0
    root = Path(tempfile.mkdtemp(prefix="mailboat-scale-", dir=options.directory))
    try:
        _compare(root, options.messages, options.new, options.rounds)
    finally:
        shutil.rmtree(root)
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench store", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, help="deferred messages (default: a million)")
    parser.add_argument("--new", type=int, default=20_000, help="messages accepted in each trial")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", default="/var/tmp", help="on a disk, not in memory")
    parser.add_argument("--trial", default="", help=argparse.SUPPRESS)
    return parser


def _compare(root: Path, messages: int, new: int, rounds: int) -> None:
    full, empty = root / "full", root / "empty"
    began = time.monotonic()
    octets = asyncio.run(long_queue.fill(full, messages))
    print(f"filled with {messages:,} deferred messages in {time.monotonic() - began:.0f} s: {octets / 2**30:.2f} GiB")
    trials: dict[Path, list[Trial]] = {full: [], empty: []}
    for number in range(rounds):
        for queue in (full, empty) if number % 2 else (empty, full):
            long_queue.forget(queue)
            trials[queue].append(_run(queue, new))
    _report(trials[empty], trials[full])


def _report(empty: Sequence[Trial], full: Sequence[Trial]) -> None:
    def median(trials: Sequence[Trial], field: str) -> float:
        return statistics.median(float(getattr(trial, field)) for trial in trials)

    rates = median(empty, "accepted"), median(full, "accepted")
    print(f"{'':32}{'empty':>12}{'full':>12}")
    for title, field, unit in (
        ("open to first due batch, cold, ms", "first_due", 1e-3),
        (f"accepted and settled, {NEW_BODY} B, /s", "accepted", 1.0),
        ("resident memory, MiB", "memory", 2**20),
    ):
        print(f"{title:36}{median(empty, field) / unit:>8.0f}{median(full, field) / unit:>12.0f}")
    print(f"acceptance with the full queue: {100 * rates[1] / rates[0]:.0f} % of that with an empty one")


def _run(queue: Path, new: int) -> Trial:
    command = [sys.executable, "-m", "bench", "store", "--trial", str(queue), "--new", str(new)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return Trial(**json.loads(answer.stdout))


async def _trial(directory: str, new: int) -> Trial:
    began = time.monotonic()
    store = await open_store(directory, 0, 1, SystemClock(), Observer())
    await store.due(time.time(), long_queue.DUE)
    first_due = time.monotonic() - began
    accepted = await _accept(store, new)
    await store.close()
    # Not getrusage: its maximum begins with that of the process that started this one.
    return Trial(first_due, accepted, process.peak_resident(os.getpid()))


async def _accept(store: Store, new: int) -> float:
    """Clients wait until their message is stored; no client waits for the record of a delivery."""
    body = os.urandom(NEW_BODY)
    left = iter(range(new))
    settled: list[asyncio.Future[None]] = []

    async def client() -> None:
        for n in left:
            domain = f"d{n % long_queue.DOMAINS}.test"
            (entry,) = await store.accept(Draft(long_queue.SENDER, [Address(f"new{n}", domain, domain)], body))
            await store.body(entry)
            settled.append(store.record(entry, AttemptRecord(None)))

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    await asyncio.gather(*settled)
    return new / (time.monotonic() - began)
