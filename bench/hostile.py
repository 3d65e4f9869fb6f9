"""`python -m bench hostile`: what is left for others while hosts or DNS servers keep mail waiting.

Mailboat alone, one worker, default timeouts. docs/benchmarks.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import against, generator, interpreter, machine, process, tls_submit
from bench.fault import exit_status
from bench.hostile_hosts import KINDS, Hosts
from bench.relays.mailboat import Mailboat
from bench.relays.relay import Place
from bench.tls_submit import Certificate

_DISK = Path("/var/tmp")
_RATE = 60
"""Messages a second to the others."""
_WINDOW = 30
"""Seconds over which their share is taken."""
_OTHERS = 20
"""Their domains."""
_ATTACK_RATE = 10
"""Messages a second to the hostile domains, after one for each of them at once."""
_CASES = [(kind, domains) for kind in KINDS for domains in (1, 5, 12, 100)]
_CASES += [("silent", 1_000), ("servfail", 10_000)]


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    kind: str
    domains: int


def main(words: Sequence[str]) -> int:
    """Prints the table; 0 unless nothing could be measured."""
    options = _arguments(words)
    return exit_status(lambda: _run(options))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench hostile", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=120, metavar="N", help="seconds a case, in steps of 30 (120)")
    parser.add_argument("--only", nargs="*", metavar="KIND[=DOMAINS]", help=f"of {', '.join(KINDS)}, silent, servfail")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="cases measured at the same time (1)")
    interpreter.add_option(parser)
    against.add_option(parser)
    parser.add_argument("--work", type=Path, default=_DISK, metavar="DIR", help=f"disk for the queue ({_DISK})")
    chosen = parser.parse_args(words)
    if chosen.seconds < _WINDOW or chosen.at_once < 1:
        parser.error(f"--seconds must be {_WINDOW} or more, --at-once 1 or more")
    return chosen


def _run(options: argparse.Namespace) -> int:
    cases = [Case(*case) for case in _CASES if not options.only or _is_chosen(case, options.only)]
    with machine.scratch(options.work) as directory:
        relays = against.relays(options, interpreter.choose(options.python), directory, nodes="1")
        print("\n".join([*machine.look(directory).lines(), *(relay.version() for relay in relays)]))
        certificate = tls_submit.make_certificate(directory)
        columns = "".join(f" {relay.name} |" for relay in relays)
        print(f"\n| hostile | domains |{columns}\n|---|---:|{'---:|' * len(relays)}", flush=True)
        asyncio.run(_all(cases, relays, Setting(directory, certificate, options.seconds), options.at_once))
        return 0


def _is_chosen(case: tuple[str, int], only: Sequence[str]) -> bool:
    return case[0] in only or f"{case[0]}={case[1]}" in only


@dataclass(frozen=True, slots=True)
class Setting:
    """What all cases share."""

    directory: Path
    certificate: Certificate
    seconds: int


async def _all(cases: Sequence[Case], relays: Sequence[Mailboat], setting: Setting, at_once: int) -> None:
    places = asyncio.Semaphore(at_once)

    async def one(case: Case) -> None:
        async with places:
            shares = await asyncio.gather(*(_measure(case, relay, setting) for relay in relays))
        cells = "".join(f" {min(share):.0%} |" for share in shares)
        print(f"| {case.kind} | {case.domains:,} |{cells}", flush=True)

    await asyncio.gather(*map(one, cases))


async def _measure(case: Case, relay: Mailboat, setting: Setting) -> list[float]:
    """The share of the others' mail that was delivered, in each 30 seconds."""
    directory = setting.directory / f"{case.kind}-{case.domains}-{relay.name}".replace(" ", "-")
    directory.mkdir()
    port = process.free_port()
    place = Place(directory, process.free_port(), port, setting.certificate, {})
    hosts = Hosts()
    async with hosts.serve(port) as dns:
        service = relay.start(place, f"dns_servers=127.0.0.1:{dns}\nmx_port={port}\n")
        try:
            await asyncio.to_thread(process.wait_for_greeting, service, place.port)
            return await _drive(case, hosts, place.port, setting.seconds)
        finally:
            await asyncio.to_thread(relay.stop, place, service)


async def _drive(case: Case, hosts: Hosts, port: int, seconds: int) -> list[float]:
    attack = [f"u@a{number}.{case.kind}.test" for number in range(case.domains)]
    await generator.send(port, iter(attack), sessions=10, size=1024)
    began = time.monotonic()
    sending = set()
    for tick in range(seconds * 10):
        await asyncio.sleep(max(0.0, began + tick / 10 - time.monotonic()))
        several = _RATE // 10
        good = [f"u@g{number % _OTHERS + 1}.good.test" for number in range(tick * several, (tick + 1) * several)]
        bad = [attack[tick % len(attack)]] * (_ATTACK_RATE // 10)
        sending.add(asyncio.ensure_future(generator.send(port, iter([*good, *bad]), sessions=1, size=1024)))
    end = began + seconds
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    await asyncio.gather(*sending)
    windows = range(seconds // _WINDOW)
    counts = [sum(began + w * _WINDOW <= at < began + (w + 1) * _WINDOW for at in hosts.arrived) for w in windows]
    return [min(1.0, count / (_RATE * _WINDOW)) for count in counts]
