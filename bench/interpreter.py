"""Which Python runs Mailboat: the machine's own where that is the faster build, else the one of this environment.

Pythons that are compiled on the spot (pyenv, some images) are often built without profile-guided optimisation, and
run the same code markedly slower than a distribution's; the peers are distribution and release builds. Knows nothing
of relays or rows. Called by the benchmarks that run Mailboat; `install.environment` makes what is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import install, process
from bench.fault import BenchError

_SYSTEM = Path("/usr/bin/python3")
_OLDEST = (3, 11)
_TURNS = 5
_PROBE = """
import time
class Point:
    def __init__(self, at): self.at = at
    def moved(self, by): return Point(self.at + by)
def work():
    began, point, seen = time.process_time(), Point(0), {}
    for number in range(100_000):
        point = point.moved(number)
        seen[number & 255] = b"%d\\r\\n" % point.at
    return time.process_time() - began
print(min(work() for _ in range(3)))
"""
"""What a relay's code is made of: calls, objects, small byte strings, look-ups; prints seconds."""
_FACTS = """
import json, sqlite3, sys
print(json.dumps([list(sys.version_info[:3]), sqlite3.sqlite_version]))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that Mailboat is installed for."""

    command: Path
    """Its `mailboat`."""
    described: str
    """Version, place, how it was chosen, and the SQLite that it brings; for the record."""
    python: Path
    """With the packages that Mailboat needs."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--python`."""
    parser.add_argument(
        "--python", type=Path, metavar="PATH", help=f"what runs Mailboat (the faster of {_SYSTEM} and this one)"
    )


def choose(wanted: Path | None = None) -> Interpreter:
    """`wanted`, or else the faster Python; raises BenchError when it is too old or cannot be set up."""
    if wanted is not None:
        return _of(wanted, "as asked for")
    here = Path(sys.executable)
    if not _SYSTEM.exists() or not _new_enough(_SYSTEM):
        return _of(here, "")
    system, ours = compare(_SYSTEM, here)
    if system >= ours:
        return _of(here, f"{system / ours:.2f} times as fast as {_SYSTEM}")
    return _of(_SYSTEM, f"{ours / system:.2f} times as fast as this environment's")


def compare(one: Path, other: Path) -> tuple[float, float]:
    """Seconds of CPU time of the same work under each, the best of turns taken alternately."""
    times: dict[Path, list[float]] = {one: [], other: []}
    for _ in range(_TURNS):
        for python, taken in times.items():
            taken.append(float(process.run([python, "-I", "-c", _PROBE])))
    return min(times[one]), min(times[other])


def _new_enough(python: Path) -> bool:
    version, _ = _facts(python)
    return version >= _OLDEST


def _of(python: Path, why: str) -> Interpreter:
    """Mailboat under `python`: in place if there is a `mailboat` beside it, otherwise in a separate environment."""
    if not python.exists():
        raise BenchError(f"there is no {python}")
    version, sqlite = _facts(python)
    if version < _OLDEST:
        raise BenchError(f"{python} is Python {'.'.join(map(str, version))}: Mailboat needs 3.11 or later")
    command = python.parent / "mailboat"
    if not command.exists():
        command = install.environment(python) / "bin" / "mailboat"
    shown = "this environment's" if python == Path(sys.executable) else str(python)
    origin = ", ".join(word for word in (shown, why) if word)
    described = f"Python {'.'.join(map(str, version))} ({origin}), SQLite {sqlite}"
    return Interpreter(command, described, command.parent / "python")


def _facts(python: Path) -> tuple[tuple[int, ...], str]:
    """Python's version and SQLite's."""
    version, sqlite = json.loads(process.run([python, "-I", "-c", _FACTS]))
    return tuple(version), sqlite
