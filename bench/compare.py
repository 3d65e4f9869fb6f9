"""`bench/run`: Mailboat against Postfix and Haraka, the same work in one run, one table.

The only file that prints. docs/benchmarks.md says what is measured, how, and how each relay is set up.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from bench import against, dkim, install, interpreter, machine, report, tls_submit
from bench.fault import BenchError, exit_status
from bench.load import Load
from bench.measure import WIRE, Bench, Cell, measure
from bench.relays.haraka import Haraka
from bench.relays.postfix import Postfix
from bench.relays.relay import Relay
from bench.rows import DISKS, DKIM, SESSIONS, SIZES, TLS, Row, choose

_CONTENDERS = (WIRE, "mailboat", "postfix", "haraka")
_DELAY = 0.002
"""Seconds that a sync takes longer on the slow disk: about what a network volume adds."""
_RESULTS = Path(__file__).parent / "results" / "latest.json"
_DISK = Path("/var/tmp")
"""Unlike /tmp never in memory, and open to daemons that run as another user."""

_Results = dict[Row, dict[str, list[Cell]]]


def main(words: Sequence[str]) -> int:
    """Runs what the command line asks for; 0 when every cell was measured, 1 when one failed, 2 when nothing ran."""
    options = _arguments(words)
    return exit_status(lambda: _run(options))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__.partition("\n")[0])
    parser.add_argument("--relays", type=_some_of(_CONTENDERS), default=_CONTENDERS, help=", ".join(_CONTENDERS))
    parser.add_argument("--sessions", type=_some_of(SESSIONS), default=SESSIONS, help="new, reused")
    parser.add_argument("--sizes", type=_some_of(SIZES), default=SIZES, help="4k, 100k")
    parser.add_argument("--tls", type=_some_of(TLS), default=TLS, help="off, on")
    parser.add_argument("--fsync", type=_some_of(DISKS), default=DISKS, help="plain, slow (2 ms more a sync)")
    parser.add_argument("--dkim", type=_some_of(DKIM), default=DKIM, help="off, rsa, ed25519, both: see the page")
    parser.add_argument("--parallel", type=int, default=20, metavar="N", help="SMTP sessions at once (20)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="the table shows the median (3)")
    parser.add_argument("--seconds", type=float, default=7, metavar="S", help="length of one measurement (7)")
    parser.add_argument(
        "--quick", action="store_true", help="one round of 2 s, 4 KiB, no TLS, no DKIM, unless said otherwise"
    )
    interpreter.add_option(parser)
    against.add_option(parser)
    parser.add_argument("--work", type=Path, default=_DISK, metavar="DIR", help=f"disk for the queues ({_DISK})")
    parser.add_argument("--json", type=Path, default=_RESULTS, metavar="FILE", help="where all figures go")
    chosen = parser.parse_args(words)
    if chosen.quick:
        quick = {"rounds": 1, "seconds": 2.0, "sizes": ("4k",), "tls": ("off",), "dkim": ("off",)}
        for name, value in quick.items():
            if getattr(chosen, name) == parser.get_default(name):
                setattr(chosen, name, value)
    if min(chosen.rounds, chosen.seconds, chosen.parallel) <= 0:
        parser.error("--rounds, --seconds and --parallel must be above 0")
    return chosen


def _run(options: argparse.Namespace) -> int:
    install.debian("postfix", "smtp-source")
    if "on" in options.tls:
        install.debian("stunnel4", "stunnel")
    rows = choose(options.sessions, options.sizes, options.tls, options.fsync, options.dkim)
    if not rows:
        raise BenchError("no rows: those with DKIM are without TLS and on the disk as it is")
    faults: list[str] = []
    with machine.scratch(options.work) as directory:
        contenders = _contenders(options, directory)
        versions = [relay.version() for relay in contenders.values() if relay]
        here = machine.look(directory)
        print("\n".join([*here.lines(), "; ".join(versions), ""]))
        keys = dkim.make_keys(directory)
        bench = Bench(directory, tls_submit.make_certificate(directory), options.seconds, _DELAY, keys)
        signing = report.Signing(dkim.costs(keys), here.cores)
        print(f"a signature by itself: {signing.words()}\n")
        results = _rounds(bench, options, rows, contenders, faults)
    print(
        f"\nMessages a second from the first connection until the sink has all; {options.parallel} sessions; ", end=""
    )
    print(f"median of {options.rounds} rounds. ratio: Mailboat to the better peer", end="")
    print(
        "; of possible: to what the cores allow it with the time for signatures" * (set(options.dkim) != {"off"}),
        end="",
    )
    print(f"; to {options.against}: to Mailboat at that commit.\n" if options.against else ".\n")
    print(report.markdown(results, list(contenders), signing))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report.document(results, here, signing, versions, faults), indent=2) + "\n")
    print(
        "\n".join(["", *(f"FAILED: {fault.partition(chr(10))[0]}" for fault in faults), f"all figures: {options.json}"])
    )
    return 1 if faults else 0


def _contenders(options: argparse.Namespace, directory: Path) -> dict[str, Relay | None]:
    """Name in the table -> relay, installed; the wire has none."""
    chosen: dict[str, Relay | None] = {}
    for name in options.relays:
        if name == WIRE:
            chosen[WIRE] = None
        for relay in _relays(name, options, directory):
            relay.prepare()
            chosen[relay.name] = relay
    return chosen


def _relays(name: str, options: argparse.Namespace, directory: Path) -> Sequence[Relay]:
    if name == "mailboat":
        return against.relays(options, interpreter.choose(options.python), directory)
    if name == "postfix":
        return [Postfix(dkim=set(options.dkim) != {"off"})]
    return [Haraka()] if name == "haraka" else []


def _rounds(
    bench: Bench,
    options: argparse.Namespace,
    rows: Sequence[Row],
    contenders: dict[str, Relay | None],
    faults: list[str],
) -> _Results:
    """Measures every row for every contender; their order changes with each round and row."""
    results: _Results = {row: {name: [] for name in contenders} for row in rows}
    able = _able(bench, rows, contenders, faults)
    names = list(contenders)
    for turn in range(options.rounds):
        for at, row in enumerate(rows):
            first = (turn + at) % len(names)
            for name in names[first:] + names[:first]:
                if (name, row.dkim) not in able or (name == WIRE and row.disk == "slow"):
                    continue  # on the wire is nothing that syncs
                load = Load(options.parallel, SESSIONS[row.sessions], SIZES[row.size])
                try:
                    how = {"tls": TLS[row.tls], "slow": DISKS[row.disk]}
                    cell = measure(bench, contenders[name], load, **how, dkim=DKIM[row.dkim])
                except BenchError as error:
                    faults.append(f"{name}, {row.key}, round {turn + 1}: {error}")
                    print(faults[-1], file=sys.stderr, flush=True)
                    continue
                results[row][name].append(cell)
                print(
                    f"{turn + 1}/{options.rounds} {row.key:28} {name:16} {cell.rate:8,.0f}/s",
                    file=sys.stderr,
                    flush=True,
                )
    return results


def _able(
    bench: Bench, rows: Sequence[Row], contenders: dict[str, Relay | None], faults: list[str]
) -> set[tuple[str, str]]:
    """The contenders that can be measured with each choice of DKIM keys: those that sign as configured."""
    able = {(name, "off") for name in contenders}
    for choice in dict.fromkeys(row.dkim for row in rows if row.dkim != "off"):
        for name, relay in contenders.items():
            if relay is not None and relay.signs.issuperset(DKIM[choice]):
                try:
                    dkim.check(bench, relay, DKIM[choice])
                except BenchError as error:
                    faults.append(f"{name}, DKIM {choice}: {error}")
                    print(faults[-1], file=sys.stderr, flush=True)
                else:
                    able.add((name, choice))
    return able


def _some_of(choices: Collection[str]) -> _List:
    return _List(tuple(choices))


class _List:
    """argparse type: some of these words, separated by commas."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        self._choices = choices

    def __call__(self, text: str) -> tuple[str, ...]:
        words = tuple(word.strip() for word in text.split(","))
        wrong = [word for word in words if word not in self._choices]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: choose from {', '.join(self._choices)}")
        return words
